"""How far the snapshots of a pipeline are, read from its checkpoint topic."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from tailrace.config import LoadedPipeline
from tailrace.core.checkpoint import SegmentRecord, SnapshotReason, SnapshotRecord, SnapshotResult, SnapshotSource
from tailrace.core.snapshot_state import SnapshotProgress, SnapshotState
from tailrace.errors import WorldError
from tailrace.kafka import checkpoint_topic, membership
from tailrace.operations import preconditions
from tailrace.operations.severity import Severity
from tailrace.operations.snapshot_estimate import BYTES_A_READ_UNIT
from tailrace.remedy import Remedy, ResumeSnapshot, StartSnapshot

SnapshotPhase = Literal["running", "waiting", "paused", "cancelling", "done", "cancelled"]
"""`waiting`: for other tables, as the file says how many are read at the same time.

`cancelling`: ordered, and the snapshot workers have not ended all of its segments yet.
"""

_SHOWN_FAILURES: Final = 10
_SHARE_MAX: Final = 0.99
"""Before all segments are read: what the table holds is an estimate."""


class FailedSegment(msgspec.Struct, frozen=True):
    """A segment that cannot go on, and why."""

    segment: str
    detail: str | None
    at_ms: int


class SnapshotStatus(msgspec.Struct, frozen=True):
    """A table's last snapshot."""

    table: str
    id: str
    phase: SnapshotPhase
    source: SnapshotSource
    reason: SnapshotReason
    filter: str | None
    started_ms: int
    progressed_ms: int
    """When a chunk was last committed; when it was started, before the first."""
    ended_ms: int | None
    segments: int
    """Segments of rows."""
    segments_done: int
    segments_failed: int
    failed: tuple[FailedSegment, ...]
    """The first ten that failed."""
    finds_deletes: bool
    """Once all rows are read, deletes are looked for."""
    partitions: int
    """Partitions in which deletes are looked for; 0 until then."""
    partitions_done: int
    rows: int
    """Rows published."""
    stale: int
    """Rows left out, as the topic has a newer change."""
    deletes: int
    """Deletes found and published."""
    size_bytes: int
    """Bytes read."""
    read_units: float
    """Read capacity units used."""
    items_expected: int
    """What the table held when it was started: an estimate of DynamoDB's; exact for keys and exports."""
    bytes_expected: int
    share: float | None
    """How much is read, 0 to 1, as an estimate; None when not even that is known."""
    rows_per_s: float | None
    """Rows read a second, since it was started."""
    bytes_per_s: float | None
    read_units_per_s: float | None
    time_left_s: float | None
    """At the rate since it was started; None when it does not run or nothing is known."""
    remedy: Remedy | None = None

    @property
    def severity(self) -> Severity:
        """How bad it stands."""
        return "error" if self.segments_failed else "ok"


class SnapshotsStatus(msgspec.Struct, frozen=True):
    """The snapshots of a pipeline at a moment, by table."""

    pipeline: str
    at_ms: int
    workers: tuple[str, ...]
    """Whoever reads rows: the pipeline's workers, and those that do nothing else."""
    snapshots: tuple[SnapshotStatus, ...]


def read_snapshots(loaded: LoadedPipeline, tables: Sequence[str] = ()) -> SnapshotsStatus:
    """Read how far the last snapshots of `tables` are, all that had one when it is empty.

    Raises WorldError when the pipeline does not exist, or has no such table or no snapshot of one.
    """
    pipeline = loaded.pipeline
    with loaded.telling("kafka", "bootstrap.servers"):
        lanes = preconditions.count_lanes(pipeline)
    checkpoint_state = checkpoint_topic.read_checkpoint_state(pipeline.kafka, pipeline.name, lanes)
    workers = {
        member
        for group in (pipeline.name, membership.snapshot_group(pipeline.name))
        for member in membership.describe(pipeline.kafka, group).members
    }
    found = snapshots_of(checkpoint_state.snapshots, pipeline.snapshot.tables_max)
    for table in tables:
        if table not in checkpoint_state.snapshots.snapshots:
            preconditions.require_tables(checkpoint_state, [table], pipeline.source.named_tables)
            raise no_snapshot(table)
    shown = tuple(each for each in found if not tables or each.table in tables)
    return SnapshotsStatus(pipeline.name, time.time_ns() // 1_000_000, tuple(sorted(workers)), shown)


def no_snapshot(table: str) -> WorldError:
    """Return the error that says that a table never had a snapshot."""
    return WorldError(f"table {table} has no snapshot", remedy=StartSnapshot(table))


def snapshots_of(state: SnapshotState, tables_max: int | None = None) -> tuple[SnapshotStatus, ...]:
    """Describe the last snapshot of each table; `tables_max` are read at the same time, None: all."""
    being_read = set(state.being_read(tables_max))
    return tuple(_snapshot(state, table, is_read=table in being_read) for table in sorted(state.snapshots))


def _snapshot(state: SnapshotState, table: str, *, is_read: bool) -> SnapshotStatus:
    record, result, segments = state.snapshots[table], state.result_of(table), state.segments_of(table)
    of_rows = [each for segment, each in segments.items() if segment.deletes_in is None]
    of_deletes = [each for segment, each in segments.items() if segment.deletes_in is not None]
    failed = sorted(
        (FailedSegment(segment.name, each.detail, each.at_ms) for segment, each in segments.items() if _failed(each)),
        key=lambda each: each.at_ms,
    )
    phase = _phase(state, table, result, is_read=is_read or bool(failed))
    done = record.segments if phase == "done" else _count_done(of_rows)
    total: SnapshotProgress | SnapshotResult = result or state.progress_of(table)
    share = 1.0 if phase == "done" else _share(record, total, of_rows, done)
    elapsed_s = (total.at_ms - record.at_ms) / 1000
    return SnapshotStatus(
        table=table,
        id=record.id,
        phase=phase,
        source=record.source,
        reason=record.reason,
        filter=record.filter,
        started_ms=record.at_ms,
        progressed_ms=total.at_ms,
        ended_ms=result.at_ms if result is not None else None,
        segments=record.segments,
        segments_done=done,
        segments_failed=len(failed),
        failed=tuple(failed[:_SHOWN_FAILURES]),
        finds_deletes=record.finds_deletes,
        partitions=len(of_deletes),
        partitions_done=_count_done(of_deletes),
        rows=total.rows,
        stale=total.stale,
        deletes=total.deletes,
        size_bytes=total.size_bytes,
        read_units=total.read_units,
        items_expected=record.item_count,
        bytes_expected=record.size_bytes,
        share=share,
        rows_per_s=_rate(total.rows + total.stale, elapsed_s),
        bytes_per_s=_rate(total.size_bytes, elapsed_s),
        read_units_per_s=_rate(total.read_units, elapsed_s),
        time_left_s=elapsed_s * (1 - share) / share if share and elapsed_s > 0 and phase == "running" else None,
        remedy=ResumeSnapshot(table) if phase == "paused" or (failed and phase == "running") else None,
    )


def _phase(state: SnapshotState, table: str, result: SnapshotResult | None, *, is_read: bool) -> SnapshotPhase:
    if result is not None:
        return result.outcome
    match state.order_of(table):
        case "pause":
            return "paused"
        case "cancel":
            return "cancelling"
    return "running" if is_read else "waiting"


def _share(
    record: SnapshotRecord, total: SnapshotProgress | SnapshotResult, segments: Sequence[SegmentRecord], done: int
) -> float | None:
    """Estimate how much is read.

    Of a scan, by what it has used: that grows with the bytes that DynamoDB looked at, whatever a filter leaves out.
    """
    if done >= record.segments:
        return 1.0
    seen = total.rows + total.stale
    known: list[float] = [done / record.segments] if done else []
    if record.source == "keys":
        left = sum(len(each.keys) for each in segments if each.state != "done")
        known = [(record.item_count - left) / record.item_count] if record.item_count else []
    elif record.source == "scan" and record.size_bytes:
        known.append(total.read_units * BYTES_A_READ_UNIT / record.size_bytes)
    if record.source != "keys" and record.filter is None and record.item_count:
        known.append(seen / record.item_count)
    return min(max(known), _SHARE_MAX) if known else None


def _count_done(records: Sequence[SegmentRecord]) -> int:
    return sum(each.state == "done" for each in records)


def _failed(record: SegmentRecord) -> bool:
    return record.state == "failed"


def _rate(amount: float, elapsed_s: float) -> float | None:
    return amount / elapsed_s if elapsed_s > 0 else None
