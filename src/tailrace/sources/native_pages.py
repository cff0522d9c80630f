"""Decodes pages with the native transcoder: most records come out as the message that Kafka takes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tailrace.core.change import Headers, Message
from tailrace.core.ports import SourcePage, SourceRecord
from tailrace.core.shard import ShardRef
from tailrace.sources.stream_record import decode_page, decode_record, source_page

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
        """Give the page's records in their order. Raises `ReadError`, as `decode_page` does."""
        try:
            page = self._transcode(
                body,
                table=table,
                region=region,
                stream_arn=shard.stream_arn,
                shard_id=shard.shard_id,
                now_ns=self._clock_ns(),
            )
        except RuntimeError:
            logger.exception("decoding a page of %s in Python; this is a defect of tailrace-native", shard.shard_id)
            page = None
        if page is None:
            return decode_page(body, shard=shard, table=table, region=region)
        headers = self._headers
        records: list[SourceRecord] = []
        sequence = ""
        for made in page[0]:
            if isinstance(made, tuple):
                key, value, created_ms, sequence, deletes, raw = made
                message = Message(key, value, headers)
                records.append(SourceRecord(sequence, created_ms, raw, None, None, message, deletes))
            else:
                record = decode_record(bytes(made), sequence, shard, table, region)
                sequence = record.sequence
                records.append(record)
        return source_page(records, page[1], len(body), shard, table)
