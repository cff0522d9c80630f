"""The ways to make the page that a lane publishes of a page's bytes: pure Python, and native where it is there."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.page_server import STREAM_ARN, TABLE, Stream
from tailrace.core.page import Page
from tailrace.core.shard import ShardRef
from tailrace.formats import FormatName, make_format
from tailrace.runtime.converter import Converter
from tailrace.sources.stream_arn import table_of
from tailrace.sources.stream_record import decode_page

Transcode = Callable[[bytes], Page]

SHARD = ShardRef(STREAM_ARN, Stream().shard_ids()[0])


def converter(topic: str, format_name: FormatName = "debezium") -> Converter:
    """Make the converter of a pipeline whose table has this topic."""
    return Converter(
        make_format(format_name, pipeline="bench", numbers="exact"),
        pipeline="bench",
        topic_of=lambda _table: topic,
        table_of=table_of,
        dead_letters_topic="bench.dead-letters",
        tombstones=True,
        errors_fail=False,
    )


def transcoders(topic: str, format_name: FormatName = "debezium") -> dict[str, Transcode]:
    """Give each way that this environment has, by name."""
    convert = converter(topic, format_name).convert

    def pure(body: bytes) -> Page:
        return convert(SHARD, decode_page(body, shard=SHARD, table=TABLE, region="us-east-1"), time.time_ns())

    return {"pure": pure}
