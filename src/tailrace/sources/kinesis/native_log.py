"""Decodes pages of Kinesis with the native transcoder: most change records come out as the message that Kafka takes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tailrace.core.change import Headers, Message, Origin
from tailrace.core.ports import LogPage, LogRecord, SourceRecord
from tailrace.core.shard import ShardRef
from tailrace.sources.kinesis.log_page import PAGE_RECORDS_MAX, LogDecoder, LogPageDecoder, log_page
from tailrace.sources.kinesis.stream_ref import parse

if TYPE_CHECKING:
    from tailrace_native import Transcoder  # an optional package

logger = logging.getLogger("tailrace.worker")


class NativeLogDecoder(LogDecoder):
    """What the transcoder hands back, a record or a whole page, is decoded in Python."""

    def __init__(
        self,
        transcoder: Transcoder,
        headers: Headers | None,
        python: LogPageDecoder,
        transformation_of: Callable[[str], object | None],
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`headers` are those of every message; `python` decodes what is handed back; a table of which
        `transformation_of` gives a transformation needs changes; `clock_ns` gives the processing time, nanoseconds
        since the epoch.
        """
        self._transcode = transcoder.log_page
        self._headers = headers
        self._python = python
        self._transformation_of = transformation_of
        self._clock_ns = clock_ns
        self._left = frozenset[str]()
        """The tables with a transformation that were met."""

    def __call__(self, body: bytes, *, shard: ShardRef) -> LogPage:
        """Return the page's records in their order. Raises `ReadError`, as `LogPageDecoder` does."""
        try:
            page = self._transcode(
                body,
                region=parse(shard.stream).region,
                stream_arn=shard.stream,
                shard_id=shard.shard_id,
                left=list(self._left),
                now_ns=self._clock_ns(),
            )
        except RuntimeError:
            logger.exception("decoding a page of %s in Python; this is a defect of tailrace-native", shard.shard_id)
            page = None
        if page is None:
            return self._python(body, shard=shard)
        columns, next_iterator, full = page
        if len(columns[0]) > PAGE_RECORDS_MAX:
            return self._python(body, shard=shard)  # which refuses it
        headers = self._headers
        records: list[LogRecord] = []
        known: str | None = None
        for key, value, table, sequence, deletes, created_us, arrived_ms, identity, item, start, end in zip(
            *columns, strict=True
        ):
            if (
                key is None
                or table is None
                or sequence is None
                or deletes is None
                or created_us is None
                or arrived_ms is None
                or identity is None
                or item is None
            ):
                records += self._python.decode_record(body, start, end, shard)
                continue
            if table != known:
                if self._transformation_of(table) is not None:
                    self._left |= {table}
                    return self(body, shard=shard)
                known = table
            origin = Origin(table, sequence, created_us // 1000, body, start, end)
            record = SourceRecord(origin, None, None, Message(key, value, headers), deletes)
            records.append(LogRecord(record, arrived_ms, identity, item, created_us))
        return log_page(records, next_iterator=next_iterator, size_bytes=len(body), full=full, shard=shard)
