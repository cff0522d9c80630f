"""A source's page becomes the page to publish, and is let go."""

from __future__ import annotations

import gc
import weakref

from tailrace import formats
from tailrace.convert.converter import Converter
from tailrace.core.ports import SourcePage
from tailrace.core.shard import ShardRef
from tailrace.sources.dynamodb.stream_record import decode_page

SHARD = ShardRef("arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2024", "shardId-1")


def converter() -> Converter:
    return Converter(
        formats.make_format("debezium", pipeline="shop", numbers="exact").encode,
        pipeline="shop",
        topic_of=lambda table, *_: f"shop.{table}",
        dead_letters_topic="shop.dead-letters",
        tombstones=True,
        errors_fail=False,
    )


def page_of(*records: bytes) -> SourcePage:
    return decode_page(b'{"Records":[' + b",".join(records) + b"]}", shard=SHARD, table="orders", region="eu-west-1")


def test_a_record_that_cannot_be_understood_keeps_no_page_in_memory() -> None:
    source = page_of(b'{"dynamodb":{"SequenceNumber":"100000000000000000001"}}')
    error = source.records[0].error
    assert error is not None
    is_kept = weakref.ref(error)
    (letter,) = converter().convert(SHARD, source, 0).records
    assert letter.topic == "shop.dead-letters"
    del source, error
    gc.collect()
    assert is_kept() is None
