"""Answers of GetRecords of Kinesis: changes as by DynamoDB Streams, other data as it is, what is broken in words."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.kinesis_records import (
    ARRIVED_MS,
    SEQUENCE,
    SHARD,
    aggregate,
    answer,
    change,
    change_of_stream,
    entry,
    text,
)
from tailrace.convert.converter import Converter
from tailrace.core.change import Change
from tailrace.core.page import Page
from tailrace.core.ports import LogPage, LogRecord, ReadError, ReadFailure, SourcePage, SourceRecord
from tailrace.core.shard import ShardRef
from tailrace.formats import FORMATS, FormatName, make_format
from tailrace.sources.dynamodb.stream_record import decode_page
from tailrace.sources.kinesis.log_page import LogPageDecoder, RecordKind, late

GOLDEN = sorted((Path(__file__).parents[3] / "golden").glob("*.json"))
NOW_NS = 1_700_000_009_123_456_789
STREAMS = ShardRef("arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2024-05-01T10:00:00.000", "shardId-1")


def decode(*data: bytes, kind: RecordKind = "auto", deaggregate: bool = False) -> list[LogRecord]:
    body = answer(*(entry(each, number) for number, each in enumerate(data)))
    return LogPageDecoder(kind, deaggregate=deaggregate)(body, shard=SHARD).records


def the_change(record: LogRecord) -> Change:
    assert record.record.change is not None, record.record.error
    return record.record.change


def published(records: list[SourceRecord], name: FormatName = "debezium", shard: ShardRef = SHARD) -> Page:
    converter = Converter(
        make_format(name, pipeline="shop", numbers="exact").encode,
        pipeline="shop",
        topic_of=lambda table, *_: f"shop.{table}",
        dead_letters_topic="shop.dead-letters",
        tombstones=True,
        errors_fail=False,
    )
    return converter.convert(shard, SourcePage(records, None, 0, full=False), NOW_NS)


@pytest.mark.parametrize("path", GOLDEN, ids=[path.stem for path in GOLDEN])
@pytest.mark.parametrize("name", FORMATS)
def test_a_change_is_the_same_as_by_dynamodb_streams(path: Path, name: FormatName) -> None:
    record = json.loads(path.read_text())["record"]
    page = decode_page(json.dumps({"Records": [record]}).encode(), shard=STREAMS, table="orders", region="eu-west-1")
    (by_streams,) = page.records
    (by_kinesis,) = decode(text(change_of_stream(record)))
    assert by_streams.change is not None
    shown = ("op", "table", "created_ms", "region", "expired")
    of_streams, of_kinesis = by_streams.change, the_change(by_kinesis)
    assert [getattr(of_kinesis, field) for field in shown] == [getattr(of_streams, field) for field in shown]
    ours, theirs = published([by_kinesis.record], name), published([by_streams], name, STREAMS)
    assert len(ours.records) == len(theirs.records)
    for one, other in zip(ours.records, theirs.records, strict=True):
        assert (one.topic, one.key, one.timestamp_ms) == (other.topic, other.key, other.timestamp_ms)
        assert images(name, one.value) == images(name, other.value)


def images(name: FormatName, value: bytes | None) -> Any:
    """Return the parts of a value that are the item's, as bytes."""
    if value is None or name == "item":
        return value
    parts = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    if name in {"debezium", "trustpilot", "confluent-dynamodb"}:
        shown = {"op", "before", "after", "document"}
    else:
        parts = msgspec.json.decode(parts["data" if name == "cloudevents" else "dynamodb"], type=dict[str, msgspec.Raw])
        shown = {"before", "after", "keys", "ttl", "Keys", "NewImage", "OldImage"}
    return {each: bytes(part) for each, part in parts.items() if each in shown}


def test_what_a_change_record_says() -> None:
    (record,) = decode(text(change()))
    made = the_change(record)
    assert made.table == record.record.origin.table == "orders"
    assert (record.created_us, made.created_ms, record.arrived_ms) == (
        1_714_557_600_123_456,
        1_714_557_600_123,
        ARRIVED_MS,
    )
    assert (made.sequence, made.sequence_digits, made.view_type) == (str(SEQUENCE), 129, "NEW_AND_OLD_IMAGES")
    assert (made.stream_arn, made.shard_id, made.region) == (SHARD.stream, SHARD.shard_id, "eu-west-1")
    assert made.event_id == "b015b5f0-c095-4b50-8ad0-4279aa3d88c6"
    assert (len(record.identity), len(record.item)) == (15, 15)


@pytest.mark.parametrize(
    ("created", "precision", "created_us"),
    [
        (1_714_557_600_123, None, 1_714_557_600_123_000),
        (1_714_557_600_123, "MILLISECOND", 1_714_557_600_123_000),
        (1_714_557_600_123_999, "MICROSECOND", 1_714_557_600_123_999),
        (0, "MICROSECOND", 0),
        (None, None, 0),
    ],
)
def test_a_time_is_as_precise_as_it_says(created: int | None, precision: str | None, created_us: int) -> None:
    fields = {"ApproximateCreationDateTime": created, "ApproximateCreationDateTimePrecision": precision}
    (record,) = decode(text(change(**fields)))
    made = the_change(record)
    assert (record.created_us, made.created_ms, made.created_rest_us) == (
        created_us,
        created_us // 1000,
        created_us % 1000,
    )
    value = make_format("debezium", pipeline="shop", numbers="exact").encode(made, 0).value
    assert value is not None
    source = json.loads(value)["source"]
    assert [source[unit] for unit in ("ts_ms", "ts_us", "ts_ns")] == [created_us // 1000, created_us, created_us * 1000]


def test_a_repeat_has_the_same_identity_and_any_difference_another() -> None:
    first = change()
    keys = dict(reversed(first["dynamodb"]["Keys"].items()))
    repeats = [first, first | {"eventID": "another"}, change(Keys=keys), first | {"awsRegion": "us-east-1"}]
    others = [
        first | {"tableName": "order"},
        first | {"eventName": "INSERT"},
        change(ApproximateCreationDateTime=1_714_557_600_123_457),
        change(NewImage={"id": {"S": "a"}, "sort": {"N": "1"}, "state": {"S": "sent"}}),
        change(OldImage={"id": {"S": "a"}, "sort": {"N": "1"}, "state": {"S": "sent"}}),
        change(OldImage=None),
        change(NewImage=first["dynamodb"]["OldImage"], OldImage=first["dynamodb"]["NewImage"]),
        change(Keys={"id": {"S": "a"}, "sort": {"N": "2"}}),
    ]
    records = decode(*map(text, repeats + others))
    identities = [record.identity for record in records]
    assert len(set(identities[: len(repeats)])) == 1
    assert len(set(identities)) == 1 + len(others)
    items = [record.item for record in records]
    assert len(set(items)) == 3  # another table, another key, and the rest
    assert len({published([record.record]).records[0].key for record in records[: len(repeats)]}) == 1


def test_another_precision_of_the_same_time_is_the_same_time() -> None:
    micros = change(ApproximateCreationDateTime=1_714_557_600_123_000)
    millis = change(ApproximateCreationDateTime=1_714_557_600_123, ApproximateCreationDateTimePrecision=None)
    one, other = decode(text(micros), text(millis))
    assert one.identity == other.identity


def test_an_item_that_time_to_live_deleted() -> None:
    identity = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    expired = change(NewImage=None) | {"eventName": "REMOVE", "userIdentity": identity}
    by_user = expired | {"userIdentity": None}
    assert [the_change(record).expired for record in decode(text(expired), text(by_user))] == [True, False]


RAW: list[bytes] = [
    b"",
    b"hello",
    b"\xff\x00",
    b"{",
    b'{"a":1}',
    b'"aws:dynamodb"',
    b'{"eventSource":"aws:dynamodb","dynamodb":{}}',  # what a Lambda function may forward of DynamoDB Streams
    b'{"eventSource":"aws:s3","tableName":"orders","dynamodb":{}}',
]


@pytest.mark.parametrize("data", RAW)
def test_other_data_is_carried_as_it_is(data: bytes) -> None:
    for kind in ("auto", "raw"):
        (record,) = decode(data, kind=kind)
        assert (record.identity, record.item, record.created_us, record.arrived_ms) == (b"", b"", 0, ARRIVED_MS)
        page = published([record.record])
        (sent,) = page.records
        assert (sent.topic, sent.key, sent.value, sent.timestamp_ms) == ("shop.shop-cdc", b"pk", data, ARRIVED_MS)
        assert dict(sent.headers or []) == {
            "sequenceNumber": str(SEQUENCE).encode(),
            "approximateArrivalTimestamp": b"2024-05-01T10:00:01.234Z",
            "partitionKey": b"pk",
            "shardId": b"shardId-000000000000",
            "streamName": b"shop-cdc",
        }
        assert page.native_counts == {}


def test_raw_carries_change_records_as_they_are() -> None:
    (record,) = decode(text(change()), kind="raw")
    assert record.record.message is not None
    assert (record.record.message.value, record.record.origin.table) == (text(change()), "shop-cdc")


BROKEN: dict[str, dict[str, Any]] = {
    "no time": change(ApproximateCreationDateTime="2024-05-01"),
    "a time before 1970": change(ApproximateCreationDateTime=-1),
    "a time too late": change(ApproximateCreationDateTime=2**63),
    "a precision that there is not": change(ApproximateCreationDateTimePrecision="NANOSECOND"),
    "no keys": change(Keys=None),
    "empty keys": change(Keys={}),
    "keys of another type": change(Keys={"id": {"BOOL": True}}),
    "an image that is none": change(NewImage=5),
    "an operation that there is not": change() | {"eventName": "TRUNCATE"},
    "no event id": change() | {"eventID": None},
    "half a surrogate pair": change(NewImage={"id": {"S": "\ud800"}}),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_change_record_that_cannot_be_understood_is_a_dead_letter_of_its_table(broken: dict[str, Any]) -> None:
    data = json.dumps(broken).encode()
    for kind in ("auto", "dynamodb"):
        _, record, _ = decode(text(change()), data, text(change()), kind=kind)
        assert record.record.error is not None
        assert str(record.record.error).startswith(
            f"record {SEQUENCE + 1} of shard shardId-000000000000 of stream shop-cdc is not a change record of "
            "DynamoDB that can be understood: "
        )
        (letter,) = published([record.record]).records
        headers = dict(letter.headers or [])
        assert (letter.topic, headers["__connect.errors.topic"]) == ("shop.dead-letters", b"shop.orders")
        assert json.loads(letter.value or b"") == entry(data, 1)
        again, other = decode(data, data.replace(b"orders", b"others"), kind=kind)
        assert record.identity == again.identity != other.identity


@pytest.mark.parametrize("data", RAW)
def test_where_only_change_records_are_expected_other_data_is_a_dead_letter(data: bytes) -> None:
    (record,) = decode(data, kind="dynamodb")
    assert record.record.error is not None
    assert str(record.record.error).endswith("if the stream carries other records, too, use `records: auto`")
    assert record.record.origin.table == "shop-cdc"
    assert record.identity == b"", "the same bytes twice may be two records"


def test_an_aggregate_comes_apart_only_where_the_file_says_so() -> None:
    data = aggregate([("a", None, b"one"), ("b", "17", b"two"), ("a", None, text(change()))])
    (whole,) = decode(data)
    assert whole.record.message is not None
    assert whole.record.message.value == data
    records = decode(data, b"three", deaggregate=True)
    first, second, third, last = (record.record for record in records)
    for record, key, value, place in ((first, b"a", b"one", b"0"), (second, b"b", b"two", b"1")):
        assert record.message is not None
        assert (record.message.key, record.message.value) == (key, value)
        assert dict(record.message.headers or [])["subSequenceNumber"] == place
    assert dict(second.message.headers or [])["explicitHashKey"] == b"17"  # type: ignore[union-attr]  # as asserted
    assert third.change is not None
    assert third.change.table == "orders"
    assert [each.origin.sequence for each in (first, second, third, last)] == [*[str(SEQUENCE)] * 3, str(SEQUENCE + 1)]


@pytest.mark.parametrize(
    ("own", "published_of_it"),
    [
        (range(2**127), [b"two", b"three"]),  # the MD5 of "b" is in the upper half, 17 and that of "c" are not
        (range(2**127, 2**128), [b"one"]),
        (range(2**128), [b"one", b"two", b"three"]),
    ],
)
def test_records_of_an_aggregate_that_belong_to_another_shard_since_a_split_are_passed_over(
    own: range, published_of_it: list[bytes]
) -> None:
    """It has the records one (key b), two (key b, explicit hash key 17) and three (key c)."""
    data = bytes.fromhex(
        "f3899ac20a01620a0163120231371a0708001a036f6e651a09080010001a0374776f1a09"
        "08011a05746872656599178bd9a582bb59bf0a61f418fc6afe"
    )
    body = answer(entry(data, 0))
    asked: list[ShardRef] = []

    def hash_keys(shard: ShardRef) -> range:
        asked.append(shard)
        return own

    decoder = LogPageDecoder("raw", deaggregate=True, hash_keys=hash_keys)
    records = [each.record for each in decoder(body, shard=SHARD).records]
    assert (asked, len(records)) == ([SHARD], 3)
    assert [each.message.value for each in records if each.skipped is None and each.message] == published_of_it
    assert {each.skipped for each in records} <= {None, "misplaced"}
    page = published(records)
    assert ([each.value for each in page.records], page.last_sequence) == (published_of_it, str(SEQUENCE))


def test_a_page_is_never_cut_between_records_of_one_aggregate() -> None:
    data = aggregate([("a", None, b"one"), ("a", None, b"two"), ("a", None, b"three")])
    page = published([record.record for record in decode(b"zero", data, b"four", deaggregate=True)])
    for index in (1, 2, 3):
        cut = page.cut_before(index, "it is too large")
        assert [record.value for record in cut.records] == [b"zero"]
        assert cut.last_sequence == str(SEQUENCE)
    assert page.without_repeats(str(SEQUENCE)).records == page.records[1:]
    assert page.without_repeats(str(SEQUENCE + 1)).records == page.records[4:]


def test_the_dead_letter_of_one_record_of_an_aggregate_is_that_record_alone() -> None:
    data = aggregate([("a", None, b"one"), ("b", "17", b"two")])
    records = decode(data, kind="dynamodb", deaggregate=True)
    letters = published([record.record for record in records]).records
    assert [base64.b64decode(json.loads(letter.value or b"")["Data"]) for letter in letters] == [b"one", b"two"]
    again = LogPageDecoder("auto", deaggregate=True)(b'{"Records":[%b]}' % (letters[1].value or b""), shard=SHARD)
    (expected,) = decode(data, deaggregate=True)[1:]
    assert again.records[0].record.message == expected.record.message


def test_a_broken_aggregate_is_a_dead_letter() -> None:
    data = aggregate([("a", None, b"one")])[:-1] + b"\x00"
    (record,) = decode(data, deaggregate=True)
    assert str(record.record.error) == (
        f"record {SEQUENCE} of shard shardId-000000000000 of stream shop-cdc is a broken aggregate of the Kinesis "
        "Producer Library: its checksum does not match; `deaggregate: false` carries aggregates as they are"
    )


def test_a_late_change_says_so() -> None:
    (record,) = decode(text(change()))
    flagged = late(record.record, SHARD)
    assert flagged.change == msgspec.structs.replace(the_change(record), late=True)
    as_message = SourceRecord(record.record.origin, None, message=published([record.record]).records[0])  # type: ignore[arg-type]
    assert late(as_message, SHARD) == flagged
    (sent,) = published([flagged]).records
    assert (sent.headers, b'"late":true' in (sent.value or b"")) == ([("tailrace.late", b"true")], True)


def test_an_answer_s_own_members() -> None:
    decoder = LogPageDecoder()
    page = decoder(answer(next_iterator=None), shard=SHARD)
    assert page == LogPage(records=[], next_iterator=None, size_bytes=len(answer(next_iterator=None)), full=False)
    page = decoder(answer(entry(b"a"), next_iterator="it", behind_ms=5), shard=SHARD)
    assert (page.next_iterator, page.full) == ("it", True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"Records":null}',
        answer({"Data": ""}),
        answer(entry(b"a") | {"Data": "%"}),
        answer(entry(b"a") | {"SequenceNumber": "x"}),
        answer(entry(b"a") | {"ApproximateArrivalTimestamp": -1}),
        answer(entry(b"a") | {"ApproximateArrivalTimestamp": 1e300}),
        answer(entry(b"b", 1), entry(b"a", 0)),
        b'{"Records":[' + b"{}," * 10_000 + b"{}]}",
    ],
    ids=lambda body: body[:40].decode(),
)
def test_what_is_no_answer_of_kinesis_is_asked_for_again(body: bytes) -> None:
    with pytest.raises(
        ReadError, match="the answer of GetRecords for shard shardId-000000000000 of stream shop-cdc"
    ) as caught:
        LogPageDecoder()(body, shard=SHARD)
    assert caught.value.failure is ReadFailure.UNAVAILABLE
