"""Lets records that are brought follow on what is read of a shard again."""

from __future__ import annotations

from tailrace.core.ports import LogPage, LogReader, LogRecord
from tailrace.core.shard import Position, ShardRef, is_after

_GOES_ON = "brought"
"""The iterator of a shard whose records are brought: it is never read to its end."""


class DeliveredLog(LogReader):
    """Reads tails from the stream, and behind them what was brought. For one thread, and one shard at a time."""

    def __init__(self, log: LogReader) -> None:
        """`log` reads the stream."""
        self._log = log
        self._shard: ShardRef | None = None
        self._sequence: str | None = None
        self._brought: LogPage | None = None

    @property
    def has_more(self) -> bool:
        """What was brought has not been read yet."""
        return self._brought is not None

    def bring(self, shard: ShardRef, sequence: str | None, records: list[LogRecord], size_bytes: int) -> None:
        """Bring records of a shard; up to `sequence` all is published, and may be read again."""
        self._shard, self._sequence = shard, sequence
        self._brought = LogPage(records, _GOES_ON, size_bytes, full=False)

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> LogPage:
        """Read the next page of a tail, or what was brought. Raises `ReadError`."""
        if shard != self._shard:
            return self._log.read(shard, position, iterator)
        if position.kind == "AFTER_SEQUENCE_NUMBER" or self._sequence is None:
            brought = self._brought
            assert brought is not None, "what was brought is read once"
            self._brought = None
            return brought
        page = self._log.read(shard, position, iterator)
        sequences = [record.record.origin.sequence for record in page.records]
        count = sum(not is_after(each, self._sequence) for each in sequences)
        # The tail ends with the last record that is published, not with a page that shows no more.
        has_met = bool(sequences) and not is_after(self._sequence, sequences[-1])
        is_over = has_met or page.next_iterator is None
        return LogPage(page.records[:count], page.next_iterator or _GOES_ON, page.size_bytes, full=not is_over)
