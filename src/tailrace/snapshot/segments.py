"""The segments of a snapshot worker's lanes: what is read next, what waits at the barrier, what may be published."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Literal, NamedTuple

import msgspec

from tailrace.core.checkpoint import (
    SegmentKey,
    SegmentRecord,
    SegmentRef,
    SnapshotControlKey,
    SnapshotKey,
    SnapshotRecord,
    SnapshotResultKey,
    TopicKey,
    Write,
)
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.pacing import Backoff
from tailrace.core.page import Outgoing, SetAside
from tailrace.core.ports import ReadError, ReadFailure, TableFacts
from tailrace.core.read_rate import ReadRate
from tailrace.core.snapshot_state import SnapshotState
from tailrace.errors import WorldError
from tailrace.process.host import Host
from tailrace.snapshot.chunk import Chunk
from tailrace.snapshot.export_window import ExportWindow
from tailrace.snapshot.observer import SnapshotNotice, SnapshotNoticeKind, SnapshotObserver
from tailrace.snapshot.parts import SnapshotParts
from tailrace.snapshot.publisher import NotPublished, Published
from tailrace.snapshot.rows import RowReader
from tailrace.snapshot.window import Mark, RowKey, Window

logger = logging.getLogger("tailrace.snapshot")

READS_PER_READER = 2
"""Reads that wait for a reader, so that none is idle."""
_READ_BACKOFF = Backoff(base_ms=200, max_ms=20_000)
_REFUSED_BACKOFF = Backoff(base_ms=15_000, max_ms=300_000)
_FACTS_RETRY_MS = 5_000
_ENDED_AT_ONCE: Final = 1_000
"""Most segments that are cancelled in one transaction."""


class Read(msgspec.Struct, frozen=True):
    """A read to be carried out."""

    reader: RowReader
    segment: SegmentRef
    record: SegmentRecord
    mark: Mark


class Failed(msgspec.Struct, frozen=True):
    """A read that failed."""

    segment: SegmentRef
    mark: Mark
    failure: ReadFailure
    reason: str


@dataclass
class _Segment:
    """One unfinished segment."""

    record: SegmentRecord
    """As it is committed; the checkpoint state may show it later."""
    lane: int
    reading: Mark | None = None
    """The mark of the read that is awaited."""
    not_before_ms: int = 0
    failures: int = 0


@dataclass
class _Refused:
    """What the broker refused of a segment's next chunk."""

    too_large: dict[RowKey, SetAside] = field(default_factory=dict)
    times: int = 0
    """How often in a row it refused a topic."""
    not_before_ms: int = 0


@dataclass
class _Table:
    """A table whose rows are read."""

    snapshot: SnapshotRecord
    facts: TableFacts
    reader: RowReader
    rate: ReadRate
    window: Window
    segments: dict[SegmentRef, _Segment] = field(default_factory=dict)
    reading: set[SegmentRef] = field(default_factory=set)
    """The segments with a read that is awaited."""


class _Task(NamedTuple):
    """What is to be done with the segments of a table's snapshot."""

    snapshot: SnapshotRecord
    does: Literal["read", "cancel"]
    turn: int | None


class Segments:
    """Follows the segments of the lanes of one worker. For one thread.

    A table may have 100,000 of them: all are looked at when the worker's lanes or what is ordered change, and else only
    those whose records are new.
    """

    def __init__(
        self,
        parts: SnapshotParts,
        observer: SnapshotObserver,
        host: Host,
        on_replaced: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_replaced` hears of each Kafka client that had stopped and was replaced."""
        self._parts = parts
        self._on_replaced = on_replaced
        self._window = parts.window(on_replaced)
        """Of all tables whose rows are read now; those of an export have one of their own."""
        self._observer = observer
        self._host = host
        self._tables: dict[str, _Table] = {}
        self._in_lane: Counter[int] = Counter()
        """How many segments of the tables are in each lane."""
        self._chunks: dict[SegmentRef, Chunk] = {}
        """What was read and is not published yet."""
        self._to_cancel: defaultdict[int, dict[SegmentRef, SegmentRecord]] = defaultdict(dict)
        """By lane: the segments of cancelled snapshots that are not done."""
        self._committed: dict[SegmentRef, SegmentRecord] = {}
        """What this worker committed while it holds the lane: the checkpoint state may be behind it."""
        self._refused: dict[SegmentRef, _Refused] = {}
        self._reads = 0
        """Reads under way, also those that nobody waits for any more."""
        self._finding_deletes: set[SegmentRef] = set()
        """The segments of deletes that have begun: each keeps a consumer, and the keys of its partition on disk."""
        self._describe_ms: dict[str, int] = {}
        self._lanes: frozenset[int] = frozenset()
        self._tasks: dict[str, _Task] = {}
        self._are_tasks_new = True
        """Whether the tasks may have changed."""
        self._looked_at: dict[str, _Task] = {}
        """The tasks of which all segments were looked at, by table."""
        self._changed: defaultdict[str, set[SegmentRef]] = defaultdict(set)
        """The segments with a new record since then, by table."""

    @property
    def any(self) -> bool:
        """Whether there is anything to read or to publish."""
        return self._in_lane.total() > 0

    def are_in(self, lane: int) -> bool:
        """Return whether a lane has segments to be read or to be cancelled."""
        return self._in_lane[lane] > 0 or bool(self._to_cancel.get(lane))

    # What there is to do

    def note(self, key: TopicKey) -> None:
        """Note that the checkpoint topic has a new record: `follow` looks at what it is about."""
        match key:
            case SegmentKey():
                self._changed[key.segment.table].add(key.segment)
                self._are_tasks_new = True
            case SnapshotKey() | SnapshotControlKey() | SnapshotResultKey():
                self._looked_at.pop(key.table, None)
                self._are_tasks_new = True

    def follow(self, checkpoint_state: CheckpointState, lanes: Collection[int]) -> None:
        """Follow the snapshots, their segments in `lanes`, and the topics of what is read. Raises KafkaException."""
        snapshots = checkpoint_state.snapshots
        if self._lanes != frozenset(lanes):
            self._lanes = frozenset(lanes)
            self._looked_at.clear()
        if self._are_tasks_new:
            self._follow_tasks(snapshots)
        for name, task in self._tasks.items():
            changed = self._changed.pop(name, ())
            if self._looked_at.get(name) != task:
                if self._look(snapshots, name, snapshots.segments_of(name)):
                    self._looked_at[name] = task
            elif changed and not self._look(snapshots, name, changed):
                del self._looked_at[name]
        self._changed.clear()
        for name in [name for name, table in self._tables.items() if not table.segments]:
            self._leave(name)
        followed: dict[Window, set[str]] = {self._window: set()}
        for name, table in self._tables.items():
            followed.setdefault(table.window, set()).update(self._parts.topics_of(name))
        for window, topics in followed.items():
            window.follow(topics)

    def _follow_tasks(self, snapshots: SnapshotState) -> None:
        self._are_tasks_new = False
        self._tasks = {
            name: _Task(snapshots.snapshots[name], "read", snapshots.turn_of(name))
            for name in snapshots.being_read(self._parts.parallel_tables)
        } | {name: _Task(snapshots.snapshots[name], "cancel", None) for name in snapshots.cancelling}
        self._looked_at = {name: task for name, task in self._looked_at.items() if self._tasks.get(name) == task}
        for name in [*self._tables]:
            task = self._tasks.get(name)
            if task is None or task.does != "read" or task.snapshot != self._tables[name].snapshot:
                self._leave(name)
        for segments in self._to_cancel.values():
            for segment in [each for each in segments if not self._is_cancelled(each)]:
                del segments[segment]

    def _is_cancelled(self, segment: SegmentRef) -> bool:
        task = self._tasks.get(segment.table)
        return task is not None and task.does == "cancel" and task.snapshot.id == segment.snapshot_id

    def _look(self, snapshots: SnapshotState, name: str, segments: Iterable[SegmentRef]) -> bool:
        """Look at these segments of a table; return False if they must be looked at again later."""
        task, present = self._tasks[name], snapshots.segments_of(name)
        if name not in self._tables and self._host.now_ms() < self._describe_ms.get(name, 0):
            return False
        found: dict[SegmentRef, SegmentRecord] = {}
        for segment in segments:
            if segment in present and self._lane_of(segment) in self._lanes:
                found[segment] = self._committed.get(segment, present[segment])
        if task.does == "cancel":
            for segment, record in found.items():
                if record.state not in {"done", "cancelled"}:
                    self._to_cancel[self._lane_of(segment)][segment] = record
            return True
        is_in_turn = snapshots.is_in_turn(name)
        todo = {
            segment: record
            for segment, record in found.items()
            if is_in_turn(segment) and snapshots.is_to_be_read(name, record)
        }
        if not todo:
            return True
        table = self._tables.get(name) or self._enter(name, task.snapshot)
        if table is None:
            return False
        for segment, record in todo.items():
            if segment not in table.segments:
                lane = self._lane_of(segment)
                table.segments[segment] = _Segment(record, lane)
                self._in_lane[lane] += 1
        return True

    def restart(self, lane: int) -> None:
        """Begin again from what is committed: the lane was claimed, or given up."""
        for table in self._tables.values():
            for name in [name for name, segment in table.segments.items() if segment.lane == lane]:
                self._remove(table, name)
        for segment in [each for each in self._committed if self._lane_of(each) == lane]:
            del self._committed[segment]
        self._to_cancel.pop(lane, None)
        self._looked_at.clear()

    def _enter(self, name: str, snapshot: SnapshotRecord) -> _Table | None:
        now_ms = self._host.now_ms()
        try:
            facts = self._parts.facts(name)
            self._parts.ensure_topics(name)
        except (ReadError, WorldError) as error:
            self._describe_ms[name] = now_ms + _FACTS_RETRY_MS
            logger.warning("table %s cannot be read for its snapshot, trying again: %s", name, error)
            return None
        window = self._parts.export_window(snapshot, self._on_replaced) if snapshot.exports else self._window
        reader = self._parts.reader(snapshot, facts, self._host.now_ms)
        table = _Table(snapshot, facts, reader, ReadRate(now_ms), window)
        self._tables[name] = table
        return table

    def _leave(self, name: str) -> None:
        table = self._tables.pop(name)
        for segment in [*table.segments]:
            self._remove(table, segment)
        table.reader.close()
        if table.window is not self._window:
            table.window.close()

    def _remove(self, table: _Table, name: SegmentRef) -> None:
        self._in_lane[table.segments.pop(name).lane] -= 1
        table.reading.discard(name)
        self._drop(table, name)
        if name in self._finding_deletes:
            self._finding_deletes.remove(name)
            table.reader.leave(name)

    def _drop(self, table: _Table, name: SegmentRef) -> None:
        """Drop what was read of a segment."""
        if chunk := self._chunks.pop(name, None):
            table.window.release(chunk.mark)

    def _lane_of(self, segment: SegmentRef) -> int:
        return segment.lane(self._parts.lane_count)

    # Reading

    def reads_due(self, checkpoint_state: CheckpointState, held: Collection[int]) -> Iterator[Read]:
        """Yield the reads of segments in `held` lanes that are due, as far as readers and memory allow."""
        now_ms = self._host.now_ms()
        held_bytes = sum(chunk.page.size_bytes for chunk in self._chunks.values())
        page_bytes, most_bytes = self._parts.policy.page_bytes, self._parts.buffer_bytes
        most_reads = self._parts.reader_count * READS_PER_READER
        for table in self._tables.values():
            table.rate.allow(self._share_of(table, checkpoint_state), now_ms)
            for name, segment in table.segments.items():
                expected_bytes = held_bytes + (self._reads + 1) * page_bytes
                if self._reads >= most_reads:
                    return
                if (held_bytes or self._reads) and expected_bytes > most_bytes:
                    return
                if table.rate.wait_ms(now_ms, under_way=len(table.reading)):
                    break
                refused = self._refused.get(name)
                not_before_ms = max(segment.not_before_ms, refused.not_before_ms if refused else 0)
                is_idle = segment.reading is None and name not in self._chunks
                if is_idle and now_ms >= not_before_ms and segment.lane in held:
                    if name.deletes_in is not None and name not in self._finding_deletes:
                        if len(self._finding_deletes) >= most_reads:
                            continue
                        self._finding_deletes.add(name)
                    self._reads += 1
                    table.reading.add(name)
                    segment.reading = self._mark(table, name)
                    yield Read(table.reader, name, segment.record, segment.reading)

    def _mark(self, table: _Table, segment: SegmentRef) -> Mark:
        topics = self._parts.topics_of(segment.table)
        if not isinstance(table.window, ExportWindow):
            return table.window.mark(topics)
        return table.window.mark_export(topics, segment.export_number)

    def take_in(self, answer: Chunk | Failed) -> None:
        """Take in the answer to a read."""
        self._reads -= 1
        table = self._tables.get(answer.segment.table)
        segment = table.segments.get(answer.segment) if table is not None else None
        if table is None or segment is None or segment.reading != answer.mark:
            (table.window if table is not None else self._window).release(answer.mark)
            if table is not None and segment is None:
                table.reader.leave(answer.segment)  # the read may have begun after the segment was removed
            return
        segment.reading = None
        table.reading.discard(answer.segment)
        now_ms = self._host.now_ms()
        if isinstance(answer, Failed):
            table.window.release(answer.mark)
            self._failed(table, segment, answer, now_ms)
            return
        segment.failures = 0
        refused = self._refused.get(answer.segment)
        self._chunks[answer.segment] = answer if refused is None else _set_aside(answer, refused.too_large)
        table.rate.used(answer.next.read_units - answer.follows.read_units, now_ms)

    def _failed(self, table: _Table, segment: _Segment, failed: Failed, now_ms: int) -> None:
        segment.failures += 1
        segment.not_before_ms = now_ms + _READ_BACKOFF.pause_ms(segment.failures, self._host.random())
        if failed.failure is ReadFailure.THROTTLED:
            table.rate.throttled(now_ms)
            return
        self._tell(SnapshotNoticeKind.READ_FAILED, failed.segment, failed.reason)

    def _share_of(self, table: _Table, checkpoint_state: CheckpointState) -> float:
        """Return this worker's part of the read capacity, by its part of the unfinished segments."""
        unfinished = checkpoint_state.snapshots.counts_of(table.facts.table)["running"]
        return self._parts.read_capacity(table.facts) * min(1.0, len(table.segments) / max(1, unfinished))

    # Publishing

    def publishable(self, checkpoint_state: CheckpointState, held: Collection[int], whole_ms: int) -> list[Chunk]:
        """Return the chunks of `held` lanes whose barrier has passed, those first that were read first.

        The checkpoint state shows all that was committed up to `whole_ms`.
        """
        settle_ms = self._parts.policy.settle_ms
        until_ms: dict[str, int] = {}
        found = []
        for chunk in self._chunks.values():
            name = chunk.segment.table
            if whole_ms < chunk.read_ms or not self._tables[name].window.is_caught_up:
                continue
            if name not in until_ms:
                until_ms[name] = self._parts.published_until_ms(checkpoint_state, name, whole_ms)
            if until_ms[name] >= chunk.read_ms + settle_ms and self._lane_of(chunk.segment) in held:
                found.append(chunk)
        return sorted(found, key=lambda chunk: chunk.read_ms)

    def published(self, chunk: Chunk, answer: Published, seconds: float) -> None:
        """Take in that a chunk was committed."""
        table = self._tables[chunk.segment.table]
        table.segments[chunk.segment].record = answer.record
        self._drop(table, chunk.segment)
        self._refused.pop(chunk.segment, None)
        self._committed[chunk.segment] = answer.record
        before, after = chunk.follows, answer.record
        if answer.aborts:
            self._observer.chunk_aborted(chunk.segment.table, after.stale - before.stale)
        self._observer.chunk_published(
            chunk.segment.table,
            rows=after.rows - before.rows,
            stale=after.stale - before.stale,
            deletes=after.deletes - before.deletes,
            size_bytes=after.size_bytes - before.size_bytes,
            read_units=after.read_units - before.read_units,
            seconds=seconds,
        )
        if after.state != "running":
            self._remove(table, chunk.segment)
            failed = after.state == "failed"
            kind = SnapshotNoticeKind.SEGMENT_FAILED if failed else SnapshotNoticeKind.SEGMENT_DONE
            self._tell(kind, chunk.segment, after.detail or f"{after.rows} rows")

    def refused(self, chunk: Chunk, answer: NotPublished) -> None:
        """Take in that a chunk was not committed: rows that are too large become dead letters, bare ones if need be."""
        refusals, page = answer.lost.refusals, answer.page
        if not refusals:
            return
        refused = self._refused.setdefault(chunk.segment, _Refused())
        for refusal in refusals:
            if refusal.too_large:
                record = page.records[refusal.record]
                is_letter = record.is_dead_letter or refusal.record in page.set_aside
                refused.too_large[_named(record)] = SetAside(refusal.reason, bare=is_letter)
        if not any(each.too_large for each in refusals):
            refused.times += 1
            pause_ms = _REFUSED_BACKOFF.pause_ms(refused.times, self._host.random())
            refused.not_before_ms = self._host.now_ms() + pause_ms
            self._tell(SnapshotNoticeKind.READ_FAILED, chunk.segment, refusals[0].reason)

    # Cancelling

    def cancellations(self, lane: int) -> tuple[Write, ...]:
        """Return what cancels segments of a lane, as its owner writes it: nothing of them is published after that."""
        now_ms = self._host.now_ms()
        return tuple(
            Write(lane, SegmentKey(segment), msgspec.structs.replace(record, state="cancelled", at_ms=now_ms))
            for segment, record in islice(self._to_cancel.get(lane, {}).items(), _ENDED_AT_ONCE)
        )

    def cancelled(self, lane: int, writes: Iterable[Write]) -> None:
        """Take in that these were committed."""
        for write in writes:
            if isinstance(write.key, SegmentKey) and isinstance(write.record, SegmentRecord):
                self._committed[write.key.segment] = write.record
                self._to_cancel[lane].pop(write.key.segment, None)

    # The windows

    def read_windows(self) -> None:
        """Take in what has changed, without waiting. Raises KafkaException, WorldError."""
        for window in {self._window, *(table.window for table in self._tables.values())}:
            window.read_on()

    def window_of(self, chunk: Chunk) -> Window:
        """Return the window of a chunk's mark."""
        return self._tables[chunk.segment.table].window

    def close(self) -> None:
        """Close the windows, and what is read from."""
        for name in [*self._tables]:
            self._leave(name)
        self._window.close()

    def _tell(self, kind: SnapshotNoticeKind, segment: SegmentRef, detail: str) -> None:
        self._observer.notice(SnapshotNotice(kind, detail, table=segment.table, segment=segment.name))


def _named(record: Outgoing) -> RowKey:
    """Return what tells a record from the others of a chunk, in the next read too."""
    return record.topic, record.key or record.origin.raw


def _set_aside(chunk: Chunk, too_large: Mapping[RowKey, SetAside]) -> Chunk:
    """Return the chunk with the records marked that are too large for their topics."""
    marks = {
        index: too_large[_named(record)]
        for index, record in enumerate(chunk.page.records)
        if _named(record) in too_large
    }
    page = msgspec.structs.replace(chunk.page, set_aside=chunk.page.set_aside | marks)
    return msgspec.structs.replace(chunk, page=page)
