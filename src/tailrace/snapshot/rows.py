"""Reads the rows of a segment and makes the records of them that are to be published."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Final

import msgspec

from tailrace.convert.converter import Converter
from tailrace.core.change import SnapshotMark
from tailrace.core.checkpoint import SegmentRecord, SegmentRef, SegmentState, SnapshotRecord
from tailrace.core.page import Outgoing, Page, empty_page
from tailrace.core.ports import (
    ReadError,
    ReadFailure,
    Rows,
    SourcePage,
    SourceRecord,
    SpoiledExportError,
    TableFacts,
    TableReader,
)
from tailrace.core.shard import ShardRef
from tailrace.errors import RecordError, WorldError
from tailrace.snapshot.chunk import Chunk, marked
from tailrace.snapshot.deletes import Deletes
from tailrace.snapshot.exports import Exports
from tailrace.snapshot.window import Mark
from tailrace.transform import change as transform_change
from tailrace.transform.rows import row_condition

KEYS_PER_CHUNK = 500
_CONVERTING: Final = Lock()
"""Held while rows are converted: only one thread of the process runs Python at a time, and a lane's thread that has to
wait for all readers in turn would publish its changes late."""
_NO_ROWS = Rows([], None, size_bytes=0, read_units=0.0)


class RowReader:
    """Reads one snapshot. Safe for many threads."""

    def __init__(
        self,
        snapshot: SnapshotRecord,
        facts: TableFacts,
        tables: TableReader,
        converter: Converter,
        exports: Exports,
        *,
        deletes: Deletes | None = None,
        now_ms: Callable[[], int],
        time_ns: Callable[[], int],
    ) -> None:
        """Make the reader; with `deletes` it also finds what the table does not have any more."""
        self._deletes = deletes
        self._shard = ShardRef(facts.arn, f"snapshot {snapshot.id}")
        self._snapshot = snapshot
        self._facts = facts
        self._tables = tables
        self._converter = converter
        self._exports = exports
        self._now_ms = now_ms
        self._time_ns = time_ns
        self._filter = row_condition(snapshot.filter) if snapshot.filter else None
        self._mark: SnapshotMark = "true" if snapshot.reason == "initial" else "incremental"

    def read(self, segment: SegmentRef, record: SegmentRecord, mark: Mark) -> Chunk:
        """Read the next chunk of a segment; one that says that the segment failed if no attempt will help.

        Raises ReadError.
        """
        if segment.deletes_in is not None and self._deletes is not None:
            return self._read_deletes(self._deletes, segment, record, mark)
        try:
            rows, follows = self._read(segment, record)
        except (SpoiledExportError, WorldError) as error:
            rows, follows = _NO_ROWS, msgspec.structs.replace(record, state="failed", detail=str(error))
        kept = self._filtered(rows.records)
        source = SourcePage(kept, None, rows.size_bytes, full=False)
        with _CONVERTING:
            try:
                page = self._converter.convert(self._shard, source, self._time_ns())
            except WorldError as error:  # as of a schema registry: the rows are read again
                raise ReadError(error.message, ReadFailure.UNAVAILABLE, hint=error.hint) from error
        following = msgspec.structs.replace(
            follows,
            at_ms=self._now_ms(),
            size_bytes=record.size_bytes + rows.size_bytes,
            read_units=record.read_units + rows.read_units,
        )
        if page.stop is not None:
            page, following = _stopped(page, record, self._now_ms())
        read_ms = self._exports.exported_ms(segment) if self._snapshot.source == "export" else self._now_ms()
        page = msgspec.structs.replace(page, records=marked(page.records, self._snapshot.id))
        chunk = Chunk(segment, record, page, following, mark, read_ms=read_ms)
        if self._deletes is None or not record.keys or following.state == "failed":
            return chunk
        present = [row.change.keys for row in rows.records if row.change is not None]
        asked = [key.encode() for key in record.keys[:KEYS_PER_CHUNK]]
        return self._with_deletes(chunk, self._deletes.of_keys(asked, present))

    def _read_deletes(self, deletes: Deletes, segment: SegmentRef, record: SegmentRecord, mark: Mark) -> Chunk:
        """Read what the table does not have any more; the chunks before it are behind their barriers already."""
        found, cursor = deletes.in_partition(segment, record.cursor)
        state: SegmentState = "done" if cursor is None else "running"
        following = msgspec.structs.replace(record, state=state, cursor=cursor, at_ms=self._now_ms())
        return self._with_deletes(Chunk(segment, record, empty_page(self._shard), following, mark), found)

    def _with_deletes(self, chunk: Chunk, deletes: list[Outgoing]) -> Chunk:
        changes = list({id(delete.origin): delete.origin for delete in deletes}.values())
        page = msgspec.structs.replace(
            chunk.page,
            changes=[*chunk.page.changes, *changes],
            records=[*chunk.page.records, *marked(deletes, self._snapshot.id)],
            tables=frozenset({self._facts.table}),
        )
        return msgspec.structs.replace(chunk, page=page, deletes=frozenset(map(id, changes)))

    def leave(self, segment: SegmentRef) -> None:
        """Forget what was kept for the next read of a segment."""
        if self._deletes is not None:
            self._deletes.leave(segment)

    def close(self) -> None:
        """Close what is read from for this snapshot alone."""
        if self._deletes is not None:
            self._deletes.close()
        self._exports.close()

    def _read(self, segment: SegmentRef, record: SegmentRecord) -> tuple[Rows, SegmentRecord]:
        if self._snapshot.source == "keys":
            keys, left = record.keys[:KEYS_PER_CHUNK], record.keys[KEYS_PER_CHUNK:]
            rows = self._tables.get(self._facts, [key.encode() for key in keys], mark=self._mark)
            return rows, msgspec.structs.replace(record, keys=left, state="running" if left else "done")
        if self._snapshot.source == "export":
            rows = self._exports.read(self._facts, segment, record.cursor, mark=self._mark)
        else:
            rows = self._tables.scan(
                self._facts, int(segment.name), self._snapshot.segments, record.cursor, mark=self._mark, limit=None
            )
        state = "done" if rows.next_cursor is None else "running"
        return rows, msgspec.structs.replace(record, cursor=rows.next_cursor, state=state)

    def _filtered(self, records: list[SourceRecord]) -> list[SourceRecord]:
        return records if self._filter is None else [each for each in map(self._judged, records) if each is not None]

    def _judged(self, record: SourceRecord) -> SourceRecord | None:
        """Return the record if the filter takes it; with the filter's error if that cannot be told."""
        if record.change is None or self._filter is None:
            return record
        try:
            return record if self._filter.is_true(transform_change.read(record.change)) else None
        except RecordError as error:
            return msgspec.structs.replace(record, change=None, error=error)


def _stopped(page: Page, record: SegmentRecord, now_ms: int) -> tuple[Page, SegmentRecord]:
    """Stop the segment before the page, which is read again when the operator resumes the snapshot."""
    failed = msgspec.structs.replace(record, state="failed", at_ms=now_ms, detail=page.stop)
    return empty_page(page.shard), failed
