"""What a snapshot worker tells of itself while it works."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

from tailrace.core.checkpoint import SegmentState
from tailrace.core.ports import ReadFailure
from tailrace.core.snapshot_state import SnapshotState


class SnapshotNoticeKind(StrEnum):
    """What an operator should know."""

    TAKEN = "snapshot lane taken"
    LOST = "snapshot lane lost"
    STARTED = "snapshot started"
    CANCELLED = "snapshot cancelled"
    DONE = "snapshot done"
    SEGMENT_DONE = "segment done"
    SEGMENT_FAILED = "segment failed"
    READ_FAILED = "rows not read"


class SnapshotNotice(msgspec.Struct, frozen=True):
    """Inform the operator (log, metric). No answer."""

    kind: SnapshotNoticeKind
    detail: str
    lane: int | None = None
    table: str | None = None
    segment: str | None = None


class SnapshotReport(msgspec.Struct, frozen=True):
    """A table's last snapshot at this moment."""

    table: str
    is_running: bool
    """It has not ended, is not paused and not cancelled."""
    segments: dict[SegmentState, int]
    """How many segments are in each state."""


class SnapshotObserver(Protocol):
    """Hears of what happens. Called from several threads; must neither block nor raise."""

    def chunk_published(
        self, table: str, *, rows: int, stale: int, deletes: int, size_bytes: int, read_units: float, seconds: float
    ) -> None:
        """Record a committed chunk, and the `seconds` since its read was asked for.

        `rows` were published as rows, `deletes` as deletes; `stale` were left out, as the topic has newer changes.
        """
        ...

    def chunk_aborted(self, table: str, stale: int) -> None:
        """Record a transaction that was aborted because `stale` of its rows had become stale."""
        ...

    def read_failed(self, table: str, failure: ReadFailure, seconds: float) -> None:
        """Record a read of rows that failed."""
        ...

    def notice(self, notice: SnapshotNotice) -> None:
        """Take a notice to the operator."""
        ...


def reports_of(snapshots: SnapshotState) -> list[SnapshotReport]:
    """Describe the last snapshot of each table."""
    return [
        SnapshotReport(
            table,
            snapshots.is_running(table),
            {state: count for state, count in snapshots.counts_of(table).items() if count},
        )
        for table in snapshots.snapshots
    ]
