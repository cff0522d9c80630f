"""Decodes items with the native transcoder: most come out as the message that Kafka takes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tailrace.core.change import Headers, Message, Origin
from tailrace.core.ports import Rows, SourceRecord
from tailrace.sources.dynamodb.export_lines import decode_line, decode_lines, parse_json
from tailrace.sources.dynamodb.rows import RowsOf, cursor_of, decode_item, decode_scan, units_of

if TYPE_CHECKING:
    from tailrace_native import RowColumns, Table, Transcoder  # an optional package

logger = logging.getLogger("tailrace.worker")


class NativeScanDecoder:
    """A `ScanDecoder`. What the transcoder hands back, an item or a whole page, is decoded in Python."""

    def __init__(
        self, transcoder: Transcoder, headers: Headers | None, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """`headers` are those of every message; `clock_ns` gives the processing time, nanoseconds since the epoch."""
        self._scan = transcoder.scan
        self._headers = headers
        self._clock_ns = clock_ns

    def __call__(self, body: bytes, rows_of: RowsOf) -> Rows:
        """Return the page's rows in their order. Raises `ReadError`, as `decode_scan` does."""
        try:
            scanned = self._scan(body, _table(rows_of), now_ns=self._clock_ns())
        except RuntimeError:
            _log_defect(rows_of)
            scanned = None
        if scanned is None:
            return decode_scan(body, rows_of)
        columns, last_key, capacity = scanned
        try:
            cursor = cursor_of(body[slice(*last_key)] if last_key else b"")
            units = units_of(body[slice(*capacity)] if capacity else b"")
        except ValueError:
            return decode_scan(body, rows_of)  # which says what is wrong
        return Rows(_records(body, columns, rows_of, decode_item, self._headers), cursor, len(body), units)


class NativeLinesDecoder:
    """A `LinesDecoder`. A line that the transcoder hands back is decoded in Python."""

    def __init__(
        self, transcoder: Transcoder, headers: Headers | None, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """As those of `NativeScanDecoder`."""
        self._lines = transcoder.export_lines
        self._headers = headers
        self._clock_ns = clock_ns

    def __call__(self, lines: Sequence[bytes], rows_of: RowsOf) -> list[SourceRecord]:
        """Return a row for each line."""
        body = b"".join([each for line in lines for each in (line, b"\n")])
        try:
            columns = self._lines(body, _table(rows_of), now_ns=self._clock_ns())
        except RuntimeError:
            _log_defect(rows_of)
            return decode_lines(lines, rows_of)
        return _records(body, columns, rows_of, _decode_line, self._headers)


def _decode_line(line: bytes, rows_of: RowsOf) -> SourceRecord:
    return decode_line(line, parse_json, rows_of, incremental=False)


def _log_defect(rows_of: RowsOf) -> None:
    """Log the exception of a transcoder that panicked."""
    logger.exception("decoding rows of %s in Python; this is a defect of tailrace-native", rows_of.facts.table)


def _table(rows_of: RowsOf) -> Table:
    facts = rows_of.facts
    return {
        "name": facts.table,
        "region": rows_of.region,
        "arn": facts.arn,
        "key_names": list(facts.key_types),
        "snapshot": rows_of.mark,
        "read_ms": rows_of.read_ms,
    }


def _records(
    body: bytes,
    columns: RowColumns,
    rows_of: RowsOf,
    decode: Callable[[bytes, RowsOf], SourceRecord],
    headers: Headers | None,
) -> list[SourceRecord]:
    """Return the records of the columns; `decode` takes what was handed back."""
    table, read_ms = rows_of.facts.table, rows_of.read_ms
    return [
        decode(body[start:end], rows_of)
        if key is None
        else SourceRecord(Origin(table, "", read_ms, body, start, end), None, None, Message(key, value, headers))
        for key, value, start, end in zip(*columns, strict=True)
    ]
