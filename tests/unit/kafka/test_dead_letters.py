"""Dead letters and the marks of those that were published again, as they stand in their topic."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from support.lanes import origin
from tailrace.core.page import Outgoing
from tailrace.core.redrive import DeadLetter, Place
from tailrace.core.shard import ShardRef
from tailrace.kafka.dead_letters import dead_letter, read, redriven_mark

SHARD = ShardRef("arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/1", "shard-1")


def letter(sequence: str = "100", **changes: Any) -> Outgoing:
    fields: dict[str, Any] = {
        "pipeline": "shop",
        "shard": SHARD,
        "origin": origin(sequence, created_ms=5000),
        "key": None,
        "value": b"{}",
        "intended_topic": "shop.orders",
        "stage": "TRANSFORMATION",
        "exception": "RecordError",
        "message": "no",
    }
    return dead_letter("letters", **{**fields, **changes})


def stored(record: Outgoing, partition: int, offset: int) -> Message:
    return Message(
        topic=record.topic,
        partition=partition,
        offset=offset,
        key=record.key,
        value=record.value,
        headers=[*(record.headers or [])],
        timestamp=(TIMESTAMP_CREATE_TIME, record.timestamp_ms),
    )


def test_what_is_written_is_read() -> None:
    assert read(stored(letter(), 2, 17), "shop") == DeadLetter(
        place=Place(2, 17),
        table="orders",
        shard=SHARD,
        sequence="100",
        created_ms=5000,
        stage="TRANSFORMATION",
        exception="RecordError",
        message="no",
        size_bytes=2,
    )


def test_a_mark_names_its_dead_letter_and_goes_to_the_same_partition() -> None:
    found = read(stored(letter(), 2, 17), "shop")
    assert isinstance(found, DeadLetter)
    mark = redriven_mark("letters", found, pipeline="shop", outcome="published", now_ms=9000)
    assert mark.partition == 2
    assert mark.value is None
    assert read(stored(mark, mark.partition, 30), "shop") == Place(2, 17)


@pytest.mark.parametrize(
    "record",
    [
        letter(pipeline="another"),
        letter(sequence="none"),
        letter(sequence="²"),
        letter(sequence="9" * 5000),
        Outgoing("letters", None, b"{}", None, 0, origin("")),
        Outgoing("letters", None, b"{}", [("tailrace.redriven.offset", b"x")], 0, origin("")),
        Outgoing("letters", None, b"{}", [("tailrace.redriven.offset", b"9" * 5000)], 0, origin("")),
        Outgoing("letters", None, b"{}", [("tailrace.sequence", b"\xff")], 0, origin("")),
    ],
)
def test_what_is_not_the_pipelines_is_nothing(record: Outgoing) -> None:
    assert read(stored(record, 0, 1), "shop") is None
