"""The exports to S3 that a snapshot reads, each opened when its first row is wanted."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from tailrace.core.change import SnapshotMark
from tailrace.core.checkpoint import SegmentRef, SnapshotRecord
from tailrace.core.ports import ExportReader, ReadError, ReadFailure, Rows, TableFacts


class Exports:
    """The exports of one snapshot. Safe for many threads, each at another segment."""

    def __init__(self, snapshot: SnapshotRecord, open_export: Callable[[str], ExportReader]) -> None:
        """`open_export(location)` makes the reader of an export."""
        self._exports = snapshot.exports
        self._open_export = open_export
        self._lock = Lock()
        self._opened: dict[int, ExportReader] = {}
        self._is_closed = False

    def read(self, facts: TableFacts, segment: SegmentRef, cursor: str | None, *, mark: SnapshotMark) -> Rows:
        """Read the next rows of a segment. Raises ReadError, and WorldError when an export cannot be read at all."""
        number, file = segment.in_export
        with self._lock:
            if self._is_closed:
                raise ReadError("the snapshot is no longer read here", ReadFailure.UNAVAILABLE)
            if number not in self._opened:
                self._opened[number] = self._open_export(self._exports[number].location)
            export = self._opened[number]
        return export.read(facts, file, cursor, mark=mark)

    def exported_ms(self, segment: SegmentRef) -> int:
        """Return as of when a segment's rows are."""
        return self._exports[segment.in_export[0]].exported_ms

    def close(self) -> None:
        """Close those that are open; no other is opened after that."""
        with self._lock:
            self._is_closed = True
            for export in self._opened.values():
                export.close()
            self._opened.clear()
