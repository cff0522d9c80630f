"""Whatever bytes come as an answer of GetRecords: no record is lost or passed over, and nothing else is raised."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support.fuzz import broken, examples, refusal_of, with_unknown_fields
from tailrace.convert.converter import Converter
from tailrace.core.page import Page
from tailrace.core.ports import ReadError, ReadFailure, SourcePage
from tailrace.core.shard import ShardRef
from tailrace.formats import make_format
from tailrace.sources.dynamodb.stream_record import decode_page

SHARD = ShardRef("arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2024", "shardId-1")
DEAD_LETTERS = "shop.dead-letters"
CONVERTER = Converter(
    make_format("debezium", pipeline="shop", numbers="exact").encode,
    pipeline="shop",
    topic_of=lambda table, *_: f"shop.{table}",
    dead_letters_topic=DEAD_LETTERS,
    tombstones=False,
    errors_fail=False,
)


def record(number: int) -> dict[str, Any]:
    return {
        "eventID": f"e{number}",
        "eventName": "MODIFY",
        "userIdentity": {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"},
        "dynamodb": {
            "ApproximateCreationDateTime": 1_714_557_600,
            "Keys": {"id": {"S": "a"}},
            "NewImage": {"id": {"S": "a"}, "n": {"N": "2"}, "b": {"B": "AQI="}},
            "OldImage": {"id": {"S": "a"}, "l": {"L": [{"NULL": True}, {"SS": ["é"]}]}},
            "SequenceNumber": str(10**20 + number),
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
    }


PAGE: dict[str, Any] = {"Records": [record(1), record(2), record(3)], "NextShardIterator": "next"}


def decode(body: bytes) -> SourcePage:
    return decode_page(body, shard=SHARD, table="orders", region="eu-west-1")


def read_liberally(body: bytes) -> list[Any] | None:
    """Return the records of an answer as the most patient of readers finds them; None when it is no page at all."""
    try:
        page = json.loads(body.decode(errors="surrogateescape"), strict=False, parse_int=str)
    except (ValueError, RecursionError):
        return None
    records = page.get("Records") if isinstance(page, dict) else None
    return records if isinstance(records, list) else None


def converted(page: SourcePage) -> Page:
    return CONVERTER.convert(SHARD, page, 0)


@examples(1200)
@given(broken(PAGE))
@example(b'{"Records":[],"NextShardIterator":"\\ud800"}')
def test_an_answer_gives_all_of_its_records_or_is_asked_for_again(body: bytes) -> None:
    refusal = refusal_of(lambda: decode(body), ReadError)
    if isinstance(refusal, ReadError):
        assert refusal.failure is ReadFailure.UNAVAILABLE
        assert refusal.hint
        return
    page = decode(body)
    sent = read_liberally(body)
    assert sent is not None
    assert len(page.records) == len(sent)
    for read, record in zip(page.records, sent, strict=True):
        assert (read.change is None) == (read.error is not None)
        own = record.get("dynamodb", {}) if isinstance(record, dict) else {}
        if read.change is not None:
            assert read.origin.sequence == own["SequenceNumber"]
        if read.error is not None:
            assert str(read.error).isprintable()
    msgspec.json.encode({"ShardIterator": page.next_iterator})

    sequences = [int(each.origin.sequence) for each in page.records]
    assert sequences == sorted(sequences)
    outgoing = converted(page)
    assert len(outgoing.changes) == len(outgoing.records) == len(sent)
    assert outgoing.last_sequence == (page.records[-1].origin.sequence if sent else None)
    for letter, read in zip(outgoing.records, page.records, strict=True):
        assert letter.value is not None
        if read.change is None:
            assert letter.topic == DEAD_LETTERS
            assert sum(len(value) for _, value in letter.headers or []) < 2000


@examples(200)
@given(with_unknown_fields(PAGE))
def test_fields_that_nobody_has_heard_of_change_nothing(page: dict[str, Any]) -> None:
    for new, old in zip(page["Records"], PAGE["Records"], strict=True):
        for image in ("Keys", "NewImage", "OldImage"):
            new["dynamodb"][image] = old["dynamodb"][image]  # in an item every name is an attribute's
    read, good = decode(json.dumps(page).encode()), decode(json.dumps(PAGE).encode())
    assert [each.change for each in read.records] == [each.change for each in good.records]
    assert read.next_iterator == good.next_iterator


@given(st.permutations([1, 2, 3]).filter(lambda order: order != [1, 2, 3]))
def test_a_page_whose_records_are_out_of_order_is_asked_for_again(order: list[int]) -> None:
    with pytest.raises(ReadError, match=r"is out of order: 10{19}\d stands behind 10{19}\d; it is asked for again"):
        decode(json.dumps({"Records": [record(number) for number in order]}).encode())


def test_a_page_of_more_records_than_can_be_is_asked_for_again() -> None:
    with pytest.raises(ReadError, match="has more than 10000 records"):
        decode(b'{"Records":[' + b"{}," * 10_000 + b"{}]}")
