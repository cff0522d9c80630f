"""What the owner of snapshot lane 0 does beside its segments: starts snapshots, and ends them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from tailrace.core.barrier import is_of_another_table, stream_of
from tailrace.core.checkpoint import (
    AcceptKey,
    SegmentKey,
    SegmentRecord,
    SegmentRef,
    SnapshotControl,
    SnapshotControlKey,
    SnapshotKey,
    SnapshotOutcome,
    SnapshotReason,
    SnapshotRecord,
    SnapshotResult,
    SnapshotResultKey,
    Write,
)
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.discovery import unended_elsewhere
from tailrace.core.gaps import acceptance_of
from tailrace.core.ports import ReadError
from tailrace.core.snapshot_state import new_snapshot_id
from tailrace.errors import WorldError
from tailrace.snapshot.observer import SnapshotNotice, SnapshotNoticeKind, SnapshotObserver
from tailrace.snapshot.parts import SnapshotParts

logger = logging.getLogger("tailrace.snapshot")

LEFTOVER_AGE_MS = 600_000
"""Segments without a snapshot are deleted once they are so old: whoever starts one writes its segments first."""
RETRY_MS = 10_000
SHOWN_WITHIN_MS = 30_000
"""After that an operator's record has surely taken the place of one that is awaited."""
WRITES_MAX = 1_000
"""Most records in one transaction."""


def has_work(parts: SnapshotParts, checkpoint_state: CheckpointState, now_ms: int) -> bool:
    """Return whether a snapshot is unfinished, is to be started, or has left something behind."""
    snapshots = checkpoint_state.snapshots
    if snapshots.unfinished or any(snapshots.leftovers(now_ms - LEFTOVER_AGE_MS)):
        return True
    if any(_to_repair(parts, checkpoint_state)):
        return True
    return any(_is_to_begin(parts, checkpoint_state, table) for table in _tables(parts, checkpoint_state))


def _entries(parts: SnapshotParts, checkpoint_state: CheckpointState) -> list[str]:
    """Return what the file reads and snapshots can be taken of: tables, or streams that carry several."""
    return sorted(filter(parts.reads, checkpoint_state.snapshot_tables(parts.named_tables)))


def _tables(parts: SnapshotParts, checkpoint_state: CheckpointState) -> set[str]:
    """Return the tables of which snapshots can be started, those that the file names in streams of several too."""
    return {table for entry in _entries(parts, checkpoint_state) for table in parts.tables_of(entry)}


def _to_repair(parts: SnapshotParts, checkpoint_state: CheckpointState) -> Iterator[str]:
    """Yield what has a gap that snapshots repair: tables, or streams that carry several."""
    for entry in _entries(parts, checkpoint_state):
        if parts.resnapshots(entry) and acceptance_of(checkpoint_state, entry, 0) is not None:
            yield entry


def _is_to_begin(parts: SnapshotParts, checkpoint_state: CheckpointState, table: str) -> bool:
    """Return whether the first snapshot of a table is to be started."""
    if table in checkpoint_state.snapshots.snapshots or not parts.begins_with_snapshot(table):
        return False
    entries = checkpoint_state.entries_with(table, parts.policy)
    records = [checkpoint_state.tables.get(entry) for entry in entries]  # Lambda keeps none
    return all(record is None or record.state == "streaming" for record in records)


def _is_seen(checkpoint_state: CheckpointState, write: Write) -> bool:
    """Return whether a record was read back; of a segment, maybe a later one: its owner goes on at once.

    An order need not be: to give it again is harmless, and the operator's own may take its place.
    """
    if isinstance(write.key, SnapshotControlKey):
        return True
    if isinstance(write.key, SegmentKey) and write.record is not None:
        return checkpoint_state.snapshots.has_segment(write.key.segment)
    return checkpoint_state.shows(write)


class Coordinator:
    """Decides what to write next. For one thread."""

    def __init__(self, parts: SnapshotParts, observer: SnapshotObserver, random: Callable[[], float]) -> None:
        self._parts = parts
        self._observer = observer
        self._random = random
        self._unshown: tuple[Write, ...] = ()
        self._wrote_ms = 0
        self._not_before_ms: dict[str, int] = {}
        self._carried: dict[str, tuple[int, tuple[str, ...]]] = {}
        """The tables of streams with a gap, and when they were asked for."""

    def forget(self) -> None:
        """Begin again from what the checkpoint state shows: the lane was lost."""
        self._unshown = ()

    def next_writes(self, checkpoint_state: CheckpointState, now_ms: int, whole_ms: int) -> tuple[Write, ...]:
        """Return the next records to write in one transaction; none while there is nothing to do.

        The checkpoint state shows all that was committed up to `whole_ms`: partitions become visible one by one, so
        what is missing is judged by that, not by the clock.
        """
        is_awaited = whole_ms < self._wrote_ms + SHOWN_WITHIN_MS
        if is_awaited and not all(_is_seen(checkpoint_state, write) for write in self._unshown):
            return ()
        self._unshown, self._wrote_ms = next(self._transactions(checkpoint_state, now_ms, whole_ms), ()), now_ms
        return self._unshown

    def _transactions(
        self, checkpoint_state: CheckpointState, now_ms: int, whole_ms: int
    ) -> Iterator[tuple[Write, ...]]:
        snapshots = checkpoint_state.snapshots
        for table in snapshots.unfinished:
            what = f"the snapshot of table {table} could not be taken further"
            if writes := self._tried(self._ended, what, checkpoint_state, table, now_ms):
                yield writes
        leftovers = islice(snapshots.leftovers(whole_ms - LEFTOVER_AGE_MS), WRITES_MAX)
        if writes := tuple(self._segment(each, None) for each in leftovers):
            yield writes
        for entry in _to_repair(self._parts, checkpoint_state):
            what = f"the gap of {entry} could not be repaired"
            if writes := self._tried(self._repaired, what, checkpoint_state, entry, now_ms):
                yield writes
        for table in sorted(_tables(self._parts, checkpoint_state)):
            if not _is_to_begin(self._parts, checkpoint_state, table):
                continue
            what = f"the snapshot of table {table} could not be started"
            if writes := self._tried(self._begun, what, checkpoint_state, table, now_ms):
                yield writes

    def _tried(
        self,
        step: Callable[[CheckpointState, str, int], tuple[Write, ...]],
        failed: str,
        checkpoint_state: CheckpointState,
        name: str,
        now_ms: int,
    ) -> tuple[Write, ...]:
        """Return what a step writes; nothing if it fails, and for a while after that. `failed` says what fails then."""
        if now_ms < self._not_before_ms.get(failed, 0):
            return ()
        try:
            return step(checkpoint_state, name, now_ms)
        except (ReadError, WorldError) as error:
            self._not_before_ms[failed] = now_ms + RETRY_MS
            logger.warning("%s, trying again: %s", failed, error)
            return ()

    # Starting

    def _begun(self, checkpoint_state: CheckpointState, table: str, now_ms: int) -> tuple[Write, ...]:
        return self._start(table, "initial", stream_of(checkpoint_state, table, self._parts.policy), now_ms)

    def _repaired(self, checkpoint_state: CheckpointState, entry: str, now_ms: int) -> tuple[Write, ...]:
        """Accept a gap and start the snapshots that repair it, in one transaction: of every table whose changes it may
        have lost. Snapshots of these that go on are cancelled first."""
        accepted = acceptance_of(checkpoint_state, entry, now_ms)
        assert accepted is not None  # it is to be repaired
        tables = self._carried_tables(checkpoint_state, entry, now_ms)
        if not tables:
            raise WorldError(
                f"no table is known to write into stream {entry}",
                hint="name the tables in source.tables, or accept the gap by hand",
            )
        if any(map(checkpoint_state.snapshots.is_unfinished, tables)):
            return ()
        stream = None if self._parts.policy.carries_tables else accepted.stream_arn
        writes = [Write(0, AcceptKey(entry), accepted)]
        for table in tables:
            of = stream or stream_of(checkpoint_state, table, self._parts.policy)
            writes += self._start(table, "gap", of, now_ms)
        return tuple(writes)

    def _carried_tables(self, checkpoint_state: CheckpointState, entry: str, now_ms: int) -> tuple[str, ...]:
        """Return every table whose changes come with what is read by a name; asked for again after a while."""
        known = self._carried.get(entry)
        if known is None or now_ms >= known[0] + RETRY_MS:
            record = checkpoint_state.tables.get(entry)
            known = now_ms, self._parts.carried_tables(entry, (record and record.stream_arn) or "")
            self._carried[entry] = known
        return known[1]

    def _start(self, table: str, reason: SnapshotReason, stream: str | None, now_ms: int) -> tuple[Write, ...]:
        facts = self._parts.facts(table)
        count = self._parts.segment_count(facts)
        is_repair = reason == "gap"
        snapshot = SnapshotRecord(
            id=new_snapshot_id(now_ms, self._random()),
            source="scan",
            reason=reason,
            segments=count,
            at_ms=now_ms,
            filter=None if is_repair else self._parts.filter,
            finds_deletes=is_repair,
            item_count=facts.item_count,
            size_bytes=facts.size_bytes,
            stream=stream,
        )
        running = SegmentRecord(table=table, state="running", at_ms=now_ms)
        segments = [SegmentRef(table, snapshot.id, str(number)) for number in range(count)]
        detail = f"{snapshot.id}, {reason}, {count} segments"
        self._observer.notice(SnapshotNotice(SnapshotNoticeKind.STARTED, detail, table=table))
        return (*(self._segment(each, running) for each in segments), Write(0, SnapshotKey(table), snapshot))

    # Ending

    def _ended(self, checkpoint_state: CheckpointState, table: str, now_ms: int) -> tuple[Write, ...]:
        snapshots = checkpoint_state.snapshots
        snapshot, segments = snapshots.snapshots[table], snapshots.segments_of(table)
        order = snapshots.order_of(table)
        if order != "cancel" and self._is_outdated(checkpoint_state, table, now_ms):
            cancel = SnapshotControl(id=snapshot.id, order="cancel", at_ms=now_ms)
            return (Write(0, SnapshotControlKey(table), cancel),)
        if order != "cancel" and snapshot.finds_deletes and not snapshot.offsets:
            return self._offsets_noted(checkpoint_state, table, snapshot)
        if not snapshots.have_ended(table):
            return ()
        if order == "cancel":
            return self._result(checkpoint_state, table, snapshot, "cancelled", now_ms)
        if snapshot.finds_deletes and not any(each.deletes_in for each in segments):
            running = SegmentRecord(table=table, state="running", at_ms=now_ms)
            return tuple(
                self._segment(SegmentRef.for_deletes(table, snapshot.id, topic, partition), running)
                for topic, offsets in snapshot.offsets.items()
                for partition in range(len(offsets))
            )
        return self._result(checkpoint_state, table, snapshot, "done", now_ms)

    def _is_outdated(self, checkpoint_state: CheckpointState, table: str, now_ms: int) -> bool:
        """Return whether the snapshot is of a table that is gone, or has a gap which a new snapshot repairs."""
        if is_of_another_table(checkpoint_state, table):
            return True
        with_gap = _to_repair(self._parts, checkpoint_state)
        return any(table in self._carried_tables(checkpoint_state, entry, now_ms) for entry in with_gap)

    def _offsets_noted(
        self, checkpoint_state: CheckpointState, table: str, snapshot: SnapshotRecord
    ) -> tuple[Write, ...]:
        """Note behind which offsets items of the table lie, once nothing of its earlier streams is published any more.

        That is before its first row: the barrier waits for the earlier streams, too.
        """
        for entry in checkpoint_state.entries_with(table, self._parts.policy):
            stream, record = snapshot.stream, checkpoint_state.tables.get(entry)
            if stream is None and record is not None:
                if record.state != "streaming":
                    return ()  # its next stream is not known yet
                stream = record.stream_arn
            if stream is not None and unended_elsewhere(checkpoint_state, entry, stream):
                return ()
        noted = msgspec.structs.replace(snapshot, offsets=self._parts.end_offsets(self._parts.topics_of(table)))
        return (Write(0, SnapshotKey(table), noted),)

    def _result(
        self,
        checkpoint_state: CheckpointState,
        table: str,
        snapshot: SnapshotRecord,
        outcome: SnapshotOutcome,
        now_ms: int,
    ) -> tuple[Write, ...]:
        progress = checkpoint_state.snapshots.progress_of(table)
        result = SnapshotResult(
            id=snapshot.id,
            outcome=outcome,
            at_ms=now_ms,
            rows=progress.rows,
            stale=progress.stale,
            deletes=progress.deletes,
            size_bytes=progress.size_bytes,
            read_units=progress.read_units,
        )
        kind = SnapshotNoticeKind.DONE if outcome == "done" else SnapshotNoticeKind.CANCELLED
        self._observer.notice(SnapshotNotice(kind, f"{snapshot.id}, {result.rows} rows", table=table))
        return (Write(0, SnapshotResultKey(table), result),)

    def _segment(self, segment: SegmentRef, record: SegmentRecord | None) -> Write:
        key = SegmentKey(segment)
        return Write(key.home_lane(self._parts.lane_count), key, record)
