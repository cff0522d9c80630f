"""Decodes pages with the native transcoder: most records come out as the message that Kafka takes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tailrace.core.change import Headers, Message, Origin
from tailrace.core.ports import SourcePage, SourceRecord
from tailrace.core.shard import ShardRef
from tailrace.sources.dynamodb.stream_record import PAGE_RECORDS_MAX, decode_page, decode_record, source_page

if TYPE_CHECKING:
    from tailrace_native import Transcoder  # an optional package

logger = logging.getLogger("tailrace.worker")


class NativeDecoder:
    """A `PageDecoder`. What the transcoder hands back, a record or a whole page, is decoded in Python."""

    def __init__(
        self, transcoder: Transcoder, headers: Headers | None, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """`headers` are those of every message; `clock_ns` gives the processing time, nanoseconds since the epoch."""
        self._transcode = transcoder.page
        self._headers = headers
        self._clock_ns = clock_ns

    def __call__(self, body: bytes, *, shard: ShardRef, table: str, region: str) -> SourcePage:
        """Return the page's records in their order. Raises `ReadError`, as `decode_page` does."""
        try:
            page = self._transcode(
                body,
                table=table,
                region=region,
                stream_arn=shard.stream,
                shard_id=shard.shard_id,
                now_ns=self._clock_ns(),
            )
        except RuntimeError:
            logger.exception("decoding a page of %s in Python; this is a defect of tailrace-native", shard.shard_id)
            page = None
        if page is None:
            return decode_page(body, shard=shard, table=table, region=region)
        columns, next_iterator = page
        if len(columns[0]) > PAGE_RECORDS_MAX:
            return decode_page(body, shard=shard, table=table, region=region)  # which refuses it
        headers = self._headers
        records: list[SourceRecord] = []
        previous_sequence = ""
        for key, value, created_ms, sequence, deletes, start, end in zip(*columns, strict=True):
            if key is None or created_ms is None or sequence is None or deletes is None:
                record = decode_record(body[start:end], previous_sequence, shard, table, region)
            else:
                origin = Origin(table, sequence, created_ms, body, start, end)
                record = SourceRecord(origin, None, None, Message(key, value, headers), deletes)
            previous_sequence = record.origin.sequence
            records.append(record)
        return source_page(records, next_iterator, len(body), shard, table)
