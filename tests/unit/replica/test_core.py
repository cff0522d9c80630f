"""What a copy of a table is asked for, and what its answers mean."""

from __future__ import annotations

import json
from typing import Any

import pytest
from confluent_kafka import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.aws.errors import RefusedRequestError
from tailrace.connect.registered_documents import AS_WRITTEN
from tailrace.core.change import Change
from tailrace.core.ports import ReadFailure
from tailrace.errors import RecordError
from tailrace.formats import FORMATS, make_format
from tailrace.kafka.headers import LATE, REPLAYED
from tailrace.replica.answers import Verdict, refused, written
from tailrace.replica.chunks import Bounds, chunks
from tailrace.replica.records import Copy, ItemWrite, Reading
from tailrace.replica.requests import Versioned, transaction
from tailrace.replica.version import next_epoch, version_text
from tailrace.transform.expression import Expression
from tailrace.transform.steps import Filter
from tailrace.transform.transformation import Placed, Transformation

COPY = Copy("orders", "orders-dr", {"id": "S", "n": "N"}, "expires")
VERSIONED = Versioned("v", 3_600_000)
FORMAT = make_format("dynamodb-json", pipeline="shop", numbers="exact")


def record(
    item: dict[str, Any] | None, *, keys: dict[str, Any] | None = None, offset: int = 7, header: str | None = None
) -> Message:
    keys = keys or {name: item[name] for name in ("id", "n") if item and name in item}
    change = Change(
        op="d" if item is None else "u",
        table="orders",
        keys=json.dumps(keys).encode(),
        before=None,
        after=json.dumps(item).encode() if item is not None else None,
        created_ms=1,
        event_id="e",
        sequence="1",
        shard_id="s",
        stream_arn="arn:aws:dynamodb:us-east-1:1:table/orders/stream/1",
        region="us-east-1",
        view_type="NEW_AND_OLD_IMAGES",
    )
    value = FORMAT.encode(change, 0).value
    return Message(
        topic="t",
        partition=0,
        offset=offset,
        value=value,
        headers=[(header, b"true")] if header else [],
        timestamp=(1, 5),
    )


def reading(transformation: Transformation | None = None) -> Reading:
    return Reading(FORMATS["dynamodb-json"], AS_WRITTEN, lambda _: transformation)


def write_of(message: Message) -> ItemWrite:
    found = reading().write_of(message, COPY)
    assert found is not None
    return found


ITEM = {"id": {"S": "a"}, "n": {"N": "1"}, "tags": {"SS": ["x"]}}


# Versions


@given(
    st.tuples(st.integers(0, 10**11), st.integers(0, 2**63 - 1)), st.tuples(st.integers(0, 10**11), st.integers(0, 9))
)
def test_versions_compare_as_text_like_epoch_and_offset(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert (version_text(*one) < version_text(*other)) == (one < other)
    assert one >= other or version_text(*one, deleted=True) < version_text(*other)


@pytest.mark.parametrize(("last", "now_s", "epoch"), [(None, 5, 5), (5, 9, 9), (9, 9, 10), (9, 3, 10)])
def test_an_epoch_is_beyond_the_last_one_whatever_the_clock_shows(last: int | None, now_s: int, epoch: int) -> None:
    assert next_epoch(last, now_s) == epoch


# Records


def test_an_item_keeps_its_types_and_its_key_is_one_however_it_is_written() -> None:
    write = write_of(record(ITEM))
    assert json.loads(write.item or b"") == ITEM
    same = write_of(record(ITEM | {"n": {"N": "1.0"}}))
    assert write.identity == same.identity
    assert write.identity != write_of(record(ITEM | {"n": {"N": "2"}})).identity


def test_a_delete_is_known_by_its_keys() -> None:
    write = write_of(record(None, keys={"id": {"S": "a"}, "n": {"N": "1"}}))
    assert write.item is None
    assert write.identity == write_of(record(ITEM)).identity


def test_what_stands_behind_newer_records_and_tombstones_ask_for_nothing() -> None:
    for message in (
        record(ITEM, header=REPLAYED),
        record(ITEM, header=LATE),
        Message(topic="t", partition=0, offset=1, value=None),
    ):
        assert reading().write_of(message, COPY) is None


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (record({"id": {"S": "a"}}, keys={"id": {"S": "a"}}), "the item has no attribute n, which is in the key of"),
        (record(ITEM | {"n": {"S": "1"}}), "the key attribute n is S, and orders-dr takes N"),
        (Message(topic="t", partition=0, offset=1, value=b"{}"), "the record is no change of an item"),
    ],
)
def test_a_record_that_is_no_item_of_the_copy_is_refused(message: Message, sentence: str) -> None:
    with pytest.raises(RecordError, match=sentence):
        reading().write_of(message, COPY)


def test_an_item_that_the_filter_does_not_take_is_deleted_from_the_copy() -> None:
    only_x = Transformation([Placed("replica.filter", Filter(Expression("item.kind == 'x'", is_condition=True)))])
    taken, left_out = (reading(only_x).write_of(record(ITEM | {"kind": {"S": kind}}), COPY) for kind in ("x", "y"))
    assert taken is not None
    assert taken.item is not None
    assert left_out is not None
    assert left_out.item is None


# Requests


def test_an_item_is_written_with_its_version_unless_a_newer_one_is_there() -> None:
    payload = json.loads(VERSIONED.request(write_of(record(ITEM)), 3, 0).payload)
    version = {"S": version_text(3, 7)}
    assert payload["Item"] == ITEM | {"v": version}
    assert payload["ConditionExpression"] == "attribute_not_exists(#v) OR #v < :v"
    assert payload["ExpressionAttributeNames"] == {"#v": "v"}
    assert payload["ExpressionAttributeValues"] == {":v": version}


def test_of_a_deleted_item_key_and_version_stay_until_they_expire() -> None:
    deleted = write_of(record(None, keys={"id": {"S": "a"}, "n": {"N": "1"}}))
    payload = json.loads(VERSIONED.request(deleted, 3, 10_000).payload)
    assert payload["Item"] == {
        "id": {"S": "a"},
        "n": {"N": "1"},
        "v": {"S": version_text(3, 7, deleted=True)},
        "expires": {"N": "3610"},
    }


def test_an_attribute_of_the_items_own_is_not_written_over() -> None:
    with pytest.raises(RecordError, match="an attribute v of its own"):
        VERSIONED.request(write_of(record(ITEM | {"v": {"S": "mine"}})), 3, 0)


def test_a_transaction_has_the_items_as_they_are_and_the_position() -> None:
    deleted = write_of(record(None, keys={"id": {"S": "b"}, "n": {"N": "1"}}))
    payload = json.loads(transaction([write_of(record(ITEM)), deleted], {"TableName": "control"}).payload)
    assert payload["TransactItems"] == [
        {"Update": {"TableName": "control"}},
        {"Put": {"TableName": "orders-dr", "Item": ITEM}},
        {"Delete": {"TableName": "orders-dr", "Key": {"id": {"S": "b"}, "n": {"N": "1"}}}},
    ]


# Chunks


def _writes(*names: str) -> list[ItemWrite]:
    return [write_of(record(ITEM | {"id": {"S": name}}, offset=offset)) for offset, name in enumerate(names)]


def test_a_chunk_has_the_last_state_of_each_item() -> None:
    found = list(chunks(_writes("a", "b", "a", "c"), 9, Bounds(2, 10_000)))
    assert [([each.offset for each in chunk.writes], chunk.next_offset) for chunk in found] == [([1, 2], 3), ([3], 9)]


def test_a_chunk_is_bound_in_bytes_and_holds_one_write_at_least() -> None:
    found = list(chunks(_writes("a", "b"), 5, Bounds(10, 1)))
    assert [([each.offset for each in chunk.writes], chunk.next_offset) for chunk in found] == [([0], 1), ([1], 5)]


def test_without_writes_the_position_moves_alone() -> None:
    assert [(chunk.writes, chunk.next_offset) for chunk in chunks(_writes(), 5, Bounds(1, 1))] == [((), 5)]


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcd")), st.integers(1, 4))
def test_whenever_the_chunks_stop_each_item_is_at_its_state_of_the_position(names: list[str], items: int) -> None:
    table: dict[Any, int] = {}
    writes = _writes(*names)
    for chunk in chunks(writes, len(writes), Bounds(items, 1 << 20)):
        assert len({each.identity for each in chunk.writes}) == len(chunk.writes) <= items
        table |= {each.identity: each.offset for each in chunk.writes}
        assert table == {each.identity: each.offset for each in writes[: chunk.next_offset]}


# Answers


def _refused(code: str, *reasons: str) -> RefusedRequestError:
    body = json.dumps({"CancellationReasons": [{"Code": each} for each in reasons]}).encode()
    return RefusedRequestError("no", ReadFailure.UNAVAILABLE, code=code, body=body)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (_refused("ConditionalCheckFailedException"), Verdict.CONDITION),
        (_refused("TransactionConflictException"), Verdict.AGAIN),
        (_refused("ValidationException"), Verdict.REFUSED),
        (_refused("TransactionCanceledException", "ConditionalCheckFailed", "None"), Verdict.CONDITION),
        (_refused("TransactionCanceledException", "None", "ThrottlingError"), Verdict.THROTTLED),
        (_refused("TransactionCanceledException", "TransactionConflict", "None"), Verdict.AGAIN),
        (_refused("TransactionCanceledException", "None", "ValidationError"), Verdict.REFUSED),
    ],
)
def test_what_an_answer_means(error: RefusedRequestError, verdict: Verdict) -> None:
    assert refused(error).verdict is verdict


def test_an_answer_says_what_the_write_took() -> None:
    assert written(b'{"ConsumedCapacity":{"CapacityUnits":3.0}}').units == 3
    assert written(b'{"ConsumedCapacity":[{"CapacityUnits":3.0},{"CapacityUnits":2}]}').units == 5
    assert written(b"{}").units is None
