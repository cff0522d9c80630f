"""DynamoDB Streams as a log of which another source may have published the beginning (`core.handover`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from tailrace.core.change import Change
from tailrace.core.ports import LogPage, LogReader, LogRecord, SourcePage, SourceRecord
from tailrace.core.shard import Position, ShardRef
from tailrace.core.windowed_shard import WindowOptions
from tailrace.sources.windowed import WindowedReader

_NO_WINDOW: Final = WindowOptions(window_ms=0)


class StreamsLog(LogReader):
    """Nothing of it is repeated, and each item's changes come in their order; a record arrives when it is made."""

    def __init__(self, read: Callable[[ShardRef, Position, str | None], SourcePage]) -> None:
        """`read` reads a page, decoded in Python: changes are compared."""
        self._read = read

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> LogPage:
        """Read the next page; without an iterator, begin at `position`. Raises `ReadError`."""
        page = self._read(shard, position, iterator)
        records = [LogRecord(record, record.origin.created_ms) for record in page.records]
        return LogPage(records, page.next_iterator, page.size_bytes, full=page.full)


def without_published(log: StreamsLog, gone_after_ms: int) -> WindowedReader:
    """Make the reader that leaves out what was handed over; behind that its iterators are those of the log."""
    return WindowedReader(
        log, _NO_WINDOW, window_bytes=0, gone_after_ms=gone_after_ms, flagged=_flagged, change_of=_change_of
    )


def _change_of(record: SourceRecord, _shard: ShardRef) -> Change | None:
    return record.change


def _flagged(record: SourceRecord, _shard: ShardRef) -> SourceRecord:
    assert record.change is not None, "what is late is a change"
    return msgspec.structs.replace(record, change=msgspec.structs.replace(record.change, late=True))
