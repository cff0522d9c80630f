"""A page gives its changes in order; what cannot be understood is set aside alone, with its place."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tailrace.core.change import Change
from tailrace.core.ports import ReadError, ReadFailure, SourcePage
from tailrace.core.shard import ShardRef
from tailrace.errors import RecordError
from tailrace.formats.attribute_value import to_json
from tailrace.sources.dynamodb.stream_record import decode_page

SHARD = ShardRef("arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2024", "shardId-1")


def record_of(number: int = 1, *, body: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """Return a record as GetRecords sends it; a field that is None is left out."""
    stream_record = {
        "ApproximateCreationDateTime": 1.714557600e9,
        "Keys": {"id": {"S": "a"}},
        "NewImage": {"id": {"S": "a"}, "n": {"N": "2"}},
        "OldImage": {"id": {"S": "a"}, "n": {"N": "1"}},
        "SequenceNumber": f"{100_000_000_000_000_000_000 + number}",
        "SizeBytes": 26,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
        **(body or {}),
    }
    record = {
        "eventID": f"e{number}",
        "eventName": "MODIFY",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-west-1",
        "dynamodb": {name: value for name, value in stream_record.items() if value is not None},
        **fields,
    }
    return {name: value for name, value in record.items() if value is not None}


def decode(*records: Any, **envelope: Any) -> SourcePage:
    return decode_body(json.dumps({"Records": records, **envelope}).encode())


def decode_body(body: bytes) -> SourcePage:
    return decode_page(body, shard=SHARD, table="orders", region="eu-west-1")


def change_in(record: Any) -> Change:
    change = decode(record).records[0].change
    assert change is not None
    return change


def test_a_record_of_get_records_becomes_a_change() -> None:
    page = decode(record_of(), NextShardIterator="next")
    assert page.next_iterator == "next"
    assert page.size_bytes == len(json.dumps({"Records": [record_of()], "NextShardIterator": "next"}))
    assert not page.full
    (record,) = page.records
    assert json.loads(record.origin.raw) == record_of()
    assert (record.origin.sequence, record.origin.created_ms, record.error) == (
        "100000000000000000001",
        1_714_557_600_000,
        None,
    )
    assert record.change == Change(
        op="u",
        table="orders",
        keys=b'{"id": {"S": "a"}}',
        before=b'{"id": {"S": "a"}, "n": {"N": "1"}}',
        after=b'{"id": {"S": "a"}, "n": {"N": "2"}}',
        created_ms=1_714_557_600_000,
        event_id="e1",
        sequence="100000000000000000001",
        shard_id="shardId-1",
        stream_arn=SHARD.stream,
        region="eu-west-1",
        view_type="NEW_AND_OLD_IMAGES",
    )


def test_a_lambda_event_gives_the_same_changes() -> None:
    sent_to_lambda = record_of(
        body={"ApproximateCreationDateTime": 1714557600}, eventSourceARN=SHARD.stream, somethingNew={"a": [1]}
    )
    assert change_in(sent_to_lambda) == change_in(record_of())


def test_an_image_does_not_keep_the_page_in_memory() -> None:
    change = change_in(record_of())
    assert [type(image) for image in (change.keys, change.before, change.after)] == [bytes, bytes, bytes]


@pytest.mark.parametrize("next_iterator", [{}, {"NextShardIterator": None}])
def test_an_empty_page_at_the_shards_end(next_iterator: dict[str, Any]) -> None:
    page = decode(**next_iterator)
    assert (page.records, page.next_iterator, page.full) == ([], None, False)


@pytest.mark.parametrize(("event_name", "op"), [("INSERT", "c"), ("MODIFY", "u"), ("REMOVE", "d")])
def test_event_names_are_operations(event_name: str, op: str) -> None:
    assert change_in(record_of(eventName=event_name)).op == op


@pytest.mark.parametrize("view_type", ["NEW_AND_OLD_IMAGES", "NEW_IMAGE", "OLD_IMAGE", "KEYS_ONLY"])
def test_a_stream_carries_the_images_of_its_view_type(view_type: str) -> None:
    absent = {name: None for name in ("NewImage", "OldImage") if view_type not in {name_of(name), "NEW_AND_OLD_IMAGES"}}
    change = change_in(record_of(body={"StreamViewType": view_type, **absent}))
    assert change.view_type == view_type
    assert (change.after is None, change.before is None) == ("NewImage" in absent, "OldImage" in absent)


def name_of(image: str) -> str:
    return {"NewImage": "NEW_IMAGE", "OldImage": "OLD_IMAGE"}[image]


def test_a_null_image_is_no_image() -> None:
    body = json.dumps({"Records": [record_of(body={"NewImage": 0})]}).replace('"NewImage": 0', '"NewImage": null')
    change = decode_body(body.encode()).records[0].change
    assert change is not None
    assert change.after is None


@pytest.mark.parametrize(
    ("created", "milliseconds"),
    [
        (1714557600, 1_714_557_600_000),
        (1.7145576e9, 1_714_557_600_000),
        (1714557600.001, 1_714_557_600_001),
        (1714557600.999, 1_714_557_600_999),
        (1088985364.409, 1_088_985_364_409),
        (0, 0),
        (None, 0),
        ("2024-05-01T10:00:00Z", 1_714_557_600_000),
        ("2024-05-01T10:00:00.125Z", 1_714_557_600_125),
        ("2024-05-01T12:00:00+02:00", 1_714_557_600_000),
        ("2024-05-01T10:00:00", 1_714_557_600_000),
    ],
)
def test_the_creation_time_is_exact_to_the_millisecond(created: Any, milliseconds: int) -> None:
    page = decode(record_of(body={"ApproximateCreationDateTime": created}))
    assert (page.records[0].error, page.records[0].origin.created_ms) == (None, milliseconds)


SERVICE = "dynamodb.amazonaws.com"


@pytest.mark.parametrize(
    ("event_name", "identity", "expired"),
    [
        ("REMOVE", {"type": "Service", "principalId": SERVICE}, True),
        ("REMOVE", {"Type": "Service", "PrincipalId": SERVICE}, True),
        ("REMOVE", {"Type": "Service", "PrincipalId": "other.amazonaws.com"}, False),
        ("REMOVE", {"Type": "Root", "PrincipalId": SERVICE}, False),
        ("REMOVE", {}, False),
        ("REMOVE", None, False),
        ("MODIFY", {"type": "Service", "principalId": SERVICE}, False),
    ],
)
def test_a_delete_by_time_to_live_is_marked(event_name: str, identity: Any, expired: bool) -> None:
    assert change_in(record_of(eventName=event_name, userIdentity=identity)).expired is expired


def test_a_page_is_full_at_1000_records_or_about_1_mb() -> None:
    assert not decode(*map(record_of, range(999))).full
    assert decode(*map(record_of, range(1000))).full
    assert decode(record_of(body={"NewImage": {"id": {"S": "x" * 900_000}}})).full


POISON = [
    ({"eventName": "TRUNCATE"}, "TRUNCATE"),
    ({"eventName": None}, "eventName"),
    ({"eventName": 1}, "eventName"),
    ({"eventID": None}, "eventID"),
    ({"userIdentity": "me"}, "userIdentity"),
    ({"body": {"Keys": None}}, "Keys"),
    ({"body": {"Keys": "a"}}, "Keys is not a JSON object"),
    ({"body": {"NewImage": [1]}}, "NewImage is not a JSON object"),
    ({"body": {"OldImage": "text"}}, "OldImage is not a JSON object"),
    ({"body": {"StreamViewType": "EVERYTHING"}}, "EVERYTHING"),
    ({"body": {"StreamViewType": None}}, "StreamViewType"),
    ({"body": {"ApproximateCreationDateTime": "yesterday"}}, "yesterday"),
    ({"body": {"ApproximateCreationDateTime": -1}}, "ApproximateCreationDateTime is not a time in seconds"),
    ({"body": {"ApproximateCreationDateTime": 1714557600000}}, "ApproximateCreationDateTime is not a time in seconds"),
    ({"body": {"ApproximateCreationDateTime": 1e308}}, "infinity"),
    ({"body": {"ApproximateCreationDateTime": [1]}}, "ApproximateCreationDateTime"),
]


@pytest.mark.parametrize(("wrong", "reason"), POISON)
def test_only_the_record_that_cannot_be_understood_is_set_aside(wrong: dict[str, Any], reason: str) -> None:
    poison = record_of(2, **wrong)
    first, bad, last = decode(record_of(1), poison, record_of(3)).records
    assert first.change is not None
    assert last.change is not None
    assert bad.change is None
    assert bad.origin.sequence == "100000000000000000002"
    assert json.loads(bad.origin.raw) == poison
    assert isinstance(bad.error, RecordError)
    assert str(bad.error).startswith(
        "record 100000000000000000002 of shard shardId-1 of table orders cannot be understood: "
    )
    assert reason in str(bad.error)
    assert bad.error.hint


def test_poison_keeps_its_creation_time() -> None:
    assert decode(record_of(eventName="TRUNCATE")).records[0].origin.created_ms == 1_714_557_600_000
    wrong_time = record_of(body={"ApproximateCreationDateTime": "yesterday"})
    assert decode(wrong_time).records[0].origin.created_ms == 0


@pytest.mark.parametrize(
    "unplaced",
    [
        record_of(2, body={"SequenceNumber": None}),
        record_of(2, body={"SequenceNumber": "12a"}),
        record_of(2, body={"SequenceNumber": ""}),
        record_of(2, body={"SequenceNumber": "-5"}),
        record_of(2, body={"SequenceNumber": "²"}),
        record_of(2, body={"SequenceNumber": "1" * 41}),
        record_of(2, body={"SequenceNumber": [1]}),
        record_of(2, dynamodb="gone"),
        record_of(2, dynamodb=None),
        None,
        7,
        "text",
        [],
    ],
)  # fmt: skip
def test_poison_without_a_sequence_number_has_that_of_the_record_before_it(unplaced: Any) -> None:
    first, bad, again, last = decode(record_of(1), unplaced, unplaced, record_of(3)).records
    assert [record.origin.sequence[-1] for record in (first, bad, again, last)] == ["1", "1", "1", "3"]
    assert [record.change is None for record in (first, bad, again, last)] == [False, True, True, False]
    assert "the record after 100000000000000000001" in str(bad.error)


def test_poison_without_a_sequence_number_at_the_head_of_a_page_has_that_of_the_record_behind_it() -> None:
    bad, again, first = decode({}, {}, record_of(2)).records
    assert [record.origin.sequence[-1] for record in (bad, again, first)] == ["2", "2", "2"]
    assert "the record after the start of the page" in str(bad.error)


def test_a_page_in_which_no_record_has_a_sequence_number_is_asked_for_again() -> None:
    with pytest.raises(ReadError, match=r"no record of a page of shard .* has a sequence number") as refused:
        decode({}, 7)
    assert refused.value.failure is ReadFailure.UNAVAILABLE


@pytest.mark.parametrize("broken", [b"\\ud800", b"\\udc00\\ud800", b"\xff", b"\xed\xa0\x80", b"\x01"])
@pytest.mark.parametrize("field", ["NewImage", "eventID"])
def test_broken_text_in_one_record_does_not_spoil_its_page(broken: bytes, field: str) -> None:
    marked = {"eventID": "HERE"} if field == "eventID" else {"body": {"NewImage": {"x": {"S": "HERE"}}}}
    whole = [record_of(number, body={"NewImage": {"x": {"S": "é😀"}}}) for number in (1, 3)]
    sent = {"Records": [whole[0], record_of(2, **marked), whole[1]], "NextShardIterator": "next"}
    page = decode_body(json.dumps(sent, ensure_ascii=False).encode().replace(b"HERE", broken))

    assert page.next_iterator == "next"
    assert [record.origin.sequence[-1] for record in page.records] == ["1", "2", "3"]
    first, bad, last = page.records
    for record in (first, last):
        assert record.change is not None
        assert record.change.after is not None
        assert msgspec.json.decode(record.change.after) == {"x": {"S": "é😀"}}
    if broken == b"\x01":
        assert bad.change is not None  # JSON wants it escaped, but nothing of it is lost
    elif bad.change is not None:
        with pytest.raises(RecordError):  # an image is not looked into before it is converted
            to_json(bad.change.after or b"", "exact")
    else:
        assert bad.error is not None


def test_bytes_that_are_not_utf_8_are_never_replaced_in_silence() -> None:
    sent = {"Records": [record_of(1, body={"NewImage": {"x": {"S": "ONE"}}}), record_of(2, eventID="TWO")]}
    body = json.dumps(sent).encode().replace(b"ONE", b"\xff").replace(b"TWO", b"\x01")
    bad, whole = decode_body(body).records
    assert bad.change is None
    assert (bad.origin.sequence, whole.origin.sequence) == ("100000000000000000001", "100000000000000000002")
    assert whole.change is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Bad gateway</html>",
        b"[]",
        b"null",
        b"{}",
        b'{"Records":null}',
        b'{"Records":{}}',
        b'{"__type":"x"}',
        b'{"Records":[],"NextShardIterator":5}',
        b'{"Records":[{}',
        b"\xff\xfe",
        b'{"Records":[' + b"[" * 100_000,
        b'{"Records":"\x01"}',
        b'{"Records":["\x01"],"NextShardIterator":5}',
        b'{"Records":[],"NextShardIterator":"\\ud800"}',
    ],
)
def test_an_answer_that_is_no_page_is_asked_for_again(body: bytes) -> None:
    with pytest.raises(ReadError, match="the answer of GetRecords for shard shardId-1 of table orders") as caught:
        decode_body(body)
    assert caught.value.failure is ReadFailure.UNAVAILABLE
