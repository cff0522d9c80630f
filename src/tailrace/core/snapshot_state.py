"""The snapshots of a pipeline's tables, folded from the checkpoint topic."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final, TypeVar

import msgspec

from tailrace.core.checkpoint import (
    Claim,
    SegmentKey,
    SegmentRecord,
    SegmentRef,
    SegmentState,
    SnapshotClaimKey,
    SnapshotControl,
    SnapshotControlKey,
    SnapshotKey,
    SnapshotRecord,
    SnapshotResult,
    SnapshotResultKey,
    TopicKey,
    TopicRecord,
    Write,
)

_K = TypeVar("_K")
_V = TypeVar("_V")

SNAPSHOT_KEYS: Final = (SnapshotKey, SnapshotControlKey, SnapshotResultKey, SnapshotClaimKey, SegmentKey)


class SnapshotProgress(msgspec.Struct, frozen=True):
    """How far a snapshot is, over all of its segments."""

    done: int
    failed: int
    rows: int
    stale: int
    deletes: int
    size_bytes: int
    read_units: float
    at_ms: int
    """When it last progressed, or began."""


class _Segments:
    """The segments of one snapshot, counted as their records come: there may be 100,000 of them."""

    def __init__(self) -> None:
        self.records: dict[SegmentRef, SegmentRecord] = {}
        self.counts: Counter[SegmentState] = Counter()
        self.not_done: Counter[int] = Counter()
        """How many are not done, by the number of their export; 0 for those of a table."""
        self.last_ms = 0
        """When one of them was last written."""

    def put(self, segment: SegmentRef, record: SegmentRecord | None) -> None:
        """Take in a segment's record; None: it was deleted."""
        self._count(segment, self.records.get(segment), -1)
        self._count(segment, record, 1)
        _put(self.records, segment, record)
        if record is not None:
            self.last_ms = max(self.last_ms, record.at_ms)

    def _count(self, segment: SegmentRef, record: SegmentRecord | None, by: int) -> None:
        if record is not None:
            self.counts[record.state] += by
            if record.state != "done":
                self.not_done[segment.export_number] += by


_NONE: Final = _Segments()


class SnapshotState:
    """The last snapshot of each table, and its segments."""

    def __init__(self, lane_count: int) -> None:
        self._lane_count = lane_count
        self.snapshots: dict[str, SnapshotRecord] = {}
        """By table; ended ones too."""
        self.controls: dict[str, SnapshotControl] = {}
        self.results: dict[str, SnapshotResult] = {}
        self.claims: dict[int, Claim] = {}
        self._segments: dict[tuple[str, str], _Segments] = defaultdict(_Segments)

    def apply(self, partition: int, key: TopicKey, record: TopicRecord | None) -> bool:
        """Fold in one committed record of these kinds; return whether it can change what is to be done."""
        match key, record:
            case SnapshotClaimKey(), Claim() | None:
                _put(self.claims, partition, record)
            case SegmentKey(), SegmentRecord() | None:
                if key.home_lane(self._lane_count) == partition:
                    self._put_segment(key.segment, record)
            case _ if partition != 0:
                return False
            case SnapshotKey(), SnapshotRecord() | None:
                _put(self.snapshots, key.table, record)
                return True
            case SnapshotControlKey(), SnapshotControl() | None:
                _put(self.controls, key.table, record)
                return True
            case SnapshotResultKey(), SnapshotResult() | None:
                _put(self.results, key.table, record)
                return True
        return False

    def shows(self, write: Write) -> bool:
        """Return whether `write` is the last record that was seen of its key."""
        match write.key:
            case SnapshotClaimKey():
                return self.claims.get(write.partition) == write.record
            case SegmentKey():
                return self._segments_of(write.key.segment).records.get(write.key.segment) == write.record
            case SnapshotKey():
                return self.snapshots.get(write.key.table) == write.record
            case SnapshotControlKey():
                return self.controls.get(write.key.table) == write.record
            case SnapshotResultKey():
                return self.results.get(write.key.table) == write.record
        return False

    def result_of(self, table: str) -> SnapshotResult | None:
        """Return how the table's last snapshot ended; None while it has not, or when there is none."""
        snapshot, result = self.snapshots.get(table), self.results.get(table)
        return result if snapshot is not None and result is not None and result.id == snapshot.id else None

    def order_of(self, table: str) -> str:
        """Return what the operator last ordered of the table's last snapshot: `run`, `pause` or `cancel`.

        Nothing is ordered any more once a segment was cancelled.
        """
        snapshot, control = self.snapshots.get(table), self.controls.get(table)
        if self.counts_of(table)["cancelled"]:
            return "cancel"
        return control.order if snapshot is not None and control is not None and control.id == snapshot.id else "run"

    def is_unfinished(self, table: str) -> bool:
        """Return whether the table has a snapshot that has not ended, a paused one too."""
        return table in self.snapshots and self.result_of(table) is None

    def is_running(self, table: str) -> bool:
        """Return whether rows of the table are being published."""
        return self.is_unfinished(table) and self.order_of(table) == "run"

    @property
    def running(self) -> list[str]:
        """The tables whose rows are being published."""
        return [table for table in self.snapshots if self.is_running(table)]

    def being_read(self, tables_max: int | None) -> list[str]:
        """Return the tables whose rows are read now, in the order in which they were started; the others wait.

        `tables_max` is how many at the same time; None: all. A table keeps its place while it has segments to be read.
        """
        places = sorted(self.running, key=lambda table: (self.snapshots[table].id, table))
        if tables_max is None:
            return places
        return list(islice((table for table in places if not self._has_failed(table)), tables_max))

    def _has_failed(self, table: str) -> bool:
        """Return whether nothing is left of the table but segments that have failed."""
        if not self.counts_of(table)["failed"]:
            return False
        is_in_turn = self.is_in_turn(table)
        return not any(
            is_in_turn(segment) and self.is_to_be_read(table, record)
            for segment, record in self.segments_of(table).items()
        )

    @property
    def unfinished(self) -> list[str]:
        """The tables with a snapshot that has not ended."""
        return [table for table in self.snapshots if self.is_unfinished(table)]

    @property
    def cancelling(self) -> list[str]:
        """The tables whose snapshot is cancelled and has not ended: its segments are to end, each by its owner."""
        return [table for table in self.unfinished if self.order_of(table) == "cancel"]

    def segments_of(self, table: str) -> Mapping[SegmentRef, SegmentRecord]:
        """Return the segments of the table's last snapshot."""
        return self._last_segments(table).records

    def counts_of(self, table: str) -> Counter[SegmentState]:
        """Return how many segments of the table's last snapshot are in each state."""
        return self._last_segments(table).counts

    def have_ended(self, table: str) -> bool:
        """Return whether every segment of the table's last snapshot is done or cancelled; those unseen are not.

        Segments and snapshots lie in different partitions, and are read in any order.
        """
        snapshot, counts = self.snapshots[table], self.counts_of(table)
        ended, total = counts["done"] + counts["cancelled"], counts.total()
        of_deletes = sum(map(len, snapshot.offsets.values()))
        return ended == total and total in {snapshot.segments, snapshot.segments + of_deletes}

    def is_to_be_read(self, table: str, record: SegmentRecord) -> bool:
        """Return whether a segment is unfinished; one that failed is, once the operator has resumed the snapshot."""
        control = self.controls.get(table)
        is_resumed = control is not None and control.order == "run" and control.at_ms > record.at_ms
        return record.state == "running" or (record.state == "failed" and is_resumed)

    def turn_of(self, table: str) -> int | None:
        """Return the number of the export that is read now: it waits for those that are older. None: no export does."""
        if len(self.snapshots[table].exports) < 2:
            return None
        return min((number for number, left in self._last_segments(table).not_done.items() if left), default=0)

    def is_in_turn(self, table: str) -> Callable[[SegmentRef], bool]:
        """Return what tells whether a segment of the table may be read."""
        turn = self.turn_of(table)
        return lambda segment: turn is None or segment.export_number == turn

    def leftovers(self, before_ms: int) -> Iterator[SegmentRef]:
        """Yield the segments of snapshots that have ended or were replaced, or never began, last written before."""
        for (table, snapshot_id), segments in self._segments.items():
            is_left = not self.is_unfinished(table) or self.snapshots[table].id != snapshot_id
            if is_left and segments.last_ms < before_ms:
                yield from segments.records

    def has_segment(self, segment: SegmentRef) -> bool:
        """Return whether a segment has a record."""
        return segment in self._segments_of(segment).records

    def progress_of(self, table: str) -> SnapshotProgress:
        """Return how far the table's last snapshot is. Raises KeyError when there is none."""
        records, counts = self.segments_of(table).values(), self.counts_of(table)
        return SnapshotProgress(
            done=counts["done"],
            failed=counts["failed"],
            rows=sum(each.rows for each in records),
            stale=sum(each.stale for each in records),
            deletes=sum(each.deletes for each in records),
            size_bytes=sum(each.size_bytes for each in records),
            read_units=sum(each.read_units for each in records),
            at_ms=max((each.at_ms for each in records), default=self.snapshots[table].at_ms),
        )

    def _put_segment(self, segment: SegmentRef, record: SegmentRecord | None) -> None:
        segments = self._segments[segment[:2]]
        segments.put(segment, record)
        if not segments.records:
            del self._segments[segment[:2]]

    def _segments_of(self, segment: SegmentRef) -> _Segments:
        return self._segments.get(segment[:2], _NONE)

    def _last_segments(self, table: str) -> _Segments:
        snapshot = self.snapshots.get(table)
        return _NONE if snapshot is None else self._segments.get((table, snapshot.id), _NONE)


def new_snapshot_id(now_ms: int, random: float) -> str:
    """Return a name that sorts by time; `random` lies in [0, 1)."""
    return f"{now_ms:011x}-{int(random * 0x10000):04x}"


def _put(records: dict[_K, _V], name: _K, record: _V | None) -> None:
    if record is None:
        records.pop(name, None)
    else:
        records[name] = record
