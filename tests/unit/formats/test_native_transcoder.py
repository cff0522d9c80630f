"""The native transcoder makes what the Python makes, byte for byte, whatever comes; it hands back only what is rare.

`NATIVE_RECORDS=300000 pytest tests/unit/formats/test_native_transcoder.py` compares more random records.
"""

from __future__ import annotations

import json
import logging
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.dynamodb_items import as_aws_sends, items
from support.random_pages import RandomPages
from tailrace import __version__, formats
from tailrace.convert.converter import Converter
from tailrace.core.change import Origin
from tailrace.core.page import Page
from tailrace.core.ports import ReadError
from tailrace.core.shard import ShardRef
from tailrace.formats import FORMATS, FormatName, Numbers
from tailrace.sources.dynamodb.native_pages import NativeDecoder
from tailrace.sources.dynamodb.page_decoder import PageDecoder
from tailrace.sources.dynamodb.stream_record import decode_page

if TYPE_CHECKING:
    import tailrace_native
else:
    tailrace_native = pytest.importorskip("tailrace_native", reason="the native transcoder is not built: `make native`")

RECORDS = int(os.environ.get("NATIVE_RECORDS", "16000"))
"""How many random records are compared over all formats: so many common ones, so many odd ones, so many broken ones."""
GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("*.json"))
NOW_NS = 1_700_000_009_123_456_789
SHARD = ShardRef("arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2024-05-01T10:00:00.000", "shardId-1")
WAYS: list[tuple[FormatName, Numbers]] = [
    (name, numbers) for name in FORMATS if FORMATS[name].reads_back for numbers in get_args(Numbers)
]

each_way = pytest.mark.parametrize(("name", "numbers"), WAYS, ids=[" ".join(way) for way in WAYS])


def decoder(name: FormatName, numbers: Numbers) -> NativeDecoder:
    return NativeDecoder(transcoder(name, numbers), FORMATS[name].headers, lambda: NOW_NS)


def transcoder(name: FormatName, numbers: Numbers) -> tailrace_native.Transcoder:
    return tailrace_native.Transcoder(format=name, numbers=numbers, pipeline='the "shop"', version=__version__)


def published(decode: PageDecoder, body: bytes, name: FormatName, numbers: Numbers) -> Page | str:
    """What a lane would publish of a body, every record's bytes as read written out, or why it cannot be read."""
    converter = Converter(
        formats.make_format(name, pipeline='the "shop"', numbers=numbers).encode,
        pipeline='the "shop"',
        topic_of=lambda table, *_: f"shop.{table}",
        dead_letters_topic="shop.dead-letters",
        tombstones=True,
        errors_fail=False,
    )
    try:
        source = decode(body, shard=SHARD, table="orders", region="eu-west-1")
    except ReadError as error:
        return str(error)
    page = converter.convert(SHARD, source, NOW_NS)
    records = [msgspec.structs.replace(record, origin=copied(record.origin)) for record in page.records]
    return msgspec.structs.replace(page, records=records, changes=[copied(origin) for origin in page.changes])


def copied(origin: Origin) -> Origin:
    return Origin(origin.table, origin.sequence, origin.created_ms, origin.raw)


def assert_same(body: bytes, name: FormatName, numbers: Numbers) -> None:
    native = published(decoder(name, numbers), body, name, numbers)
    if isinstance(native, Page):
        native = msgspec.structs.replace(native, native_counts={})
    assert native == published(decode_page, body, name, numbers), body


def handed_back(body: bytes, name: FormatName = "debezium", numbers: Numbers = "exact") -> list[bytes] | None:
    """The records that the transcoder leaves to Python; None when it leaves the whole page."""
    page = transcoder(name, numbers).page(
        body, table="orders", region="eu-west-1", stream_arn=SHARD.stream, shard_id="shardId-1", now_ns=NOW_NS
    )
    if page is None:
        return None
    keys, *_, starts, ends = page[0]
    return [body[start:end] for key, start, end in zip(keys, starts, ends, strict=True) if key is None]


def body_of(*records: Any, **envelope: Any) -> bytes:
    return json.dumps({"Records": records, **envelope}, ensure_ascii=False).encode()


def update(image: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A record of an update as AWS sends it; fields of its `dynamodb` may be given."""
    stream_record = {
        "ApproximateCreationDateTime": 1714557600,
        "Keys": {"id": {"S": "a"}},
        "NewImage": image,
        "OldImage": {"id": {"S": "a"}},
        "SequenceNumber": "100000000000000000001",
        "SizeBytes": 26,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    return {"eventID": "e1", "eventName": "MODIFY", "awsRegion": "eu-west-1", "dynamodb": stream_record | fields}


@each_way
@pytest.mark.parametrize("path", GOLDEN, ids=[path.stem for path in GOLDEN])
def test_the_golden_records_are_the_same(path: Path, name: FormatName, numbers: Numbers) -> None:
    record = json.loads(path.read_text())["record"]
    for body in (body_of(record), json.dumps({"Records": [record]}, indent=1).encode()):
        assert_same(body, name, numbers)
        assert handed_back(body, name, numbers) == [] or path.stem == "huge-number-key"


@each_way
def test_a_page_of_common_records_is_the_same_and_none_is_handed_back(name: FormatName, numbers: Numbers) -> None:
    for seed in range(max(1, RECORDS // 800)):
        body = RandomPages(seed).page(100)
        assert_same(body, name, numbers)
        left = handed_back(body, name, numbers)
        # Among the numbers are some that a key has only on purpose: with an exponent.
        assert left is not None
        assert [record for record in left if not has_exponent_in_key(record) and not lacks_image(name, record)] == []


def has_exponent_in_key(record: bytes) -> bool:
    keys = json.loads(record)["dynamodb"]["Keys"]
    return any("N" in typed and "e" in typed["N"].lower() for typed in keys.values())


def lacks_image(name: FormatName, record: bytes) -> bool:
    """The format cannot serve it: it becomes a dead letter."""
    return name == "item" and "NewImage" not in json.loads(record)["dynamodb"]


@each_way
def test_a_page_of_odd_records_is_the_same(name: FormatName, numbers: Numbers) -> None:
    for seed in range(max(1, RECORDS // 80)):
        assert_same(RandomPages(seed, oddity=0.02).page(10), name, numbers)


@each_way
def test_a_broken_page_is_the_same(name: FormatName, numbers: Numbers) -> None:
    for seed in range(max(1, RECORDS // 240)):
        pages = RandomPages(seed, oddity=0.005)
        body = pages.page(3)
        for _ in range(10):
            assert_same(pages.mutated(body), name, numbers)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=120, deadline=None)
@given(st.lists(items, min_size=1, max_size=4), st.sampled_from(WAYS), st.booleans(), st.booleans())
def test_items_of_any_shape_are_the_same(
    images: list[dict[str, Any]], way: tuple[FormatName, Numbers], ascii_only: bool, indented: bool
) -> None:
    records = [update(as_aws_sends(image)) for image in images]
    body = json.dumps({"Records": records}, ensure_ascii=ascii_only, indent=1 if indented else None).encode()
    assert_same(body, *way)
    assert handed_back(body, *way) == []


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\ue0Records nulltrue-1.5', max_size=80).map(str.encode))
def test_any_bytes_are_the_same(body: bytes) -> None:
    assert_same(body, "debezium", "exact")
    assert_same(b'{"Records":[' + body + b"]}", "debezium", "exact")


ODD: list[tuple[str, Callable[[], dict[str, Any]]]] = [
    ("a number that JSON does not have", lambda: update({"n": {"N": "+1"}})),
    ("a number with zeros before it", lambda: update({"n": {"N": "007"}})),
    ("a type that there is not", lambda: update({"x": {"X": "1"}})),
    ("two types", lambda: update({"x": {"S": "1", "N": "1"}})),
    ("a set of numbers that is not one", lambda: update({"x": {"NS": "1"}})),
    ("base64 with bits left over", lambda: update({"b": {"B": "YR=="}})),
    ("nested too deep", lambda: update(nested(33))),
    ("no keys", lambda: update({}, Keys={})),
    ("a key of another type", lambda: update({}, Keys={"id": {"BOOL": True}})),
    ("a time in words", lambda: update({}, ApproximateCreationDateTime="2024-05-01T10:00:00Z")),
    ("a time before 1970", lambda: update({}, ApproximateCreationDateTime=-1)),
    ("a sequence number that is not one", lambda: update({}, SequenceNumber="x")),
    ("a view type that there is not", lambda: update({}, StreamViewType="ALL")),
    ("an operation that there is not", lambda: update({}) | {"eventName": "TRUNCATE"}),
    ("an identity in another shape", lambda: update({}) | {"userIdentity": "me"}),
    ("an event id with an escape", lambda: update({}) | {"eventID": '"'}),
    ("a creation with an old image", lambda: update({}) | {"eventName": "INSERT"}),
    ("not an object", lambda: 5),  # type: ignore[list-item, return-value]  # as a source would never send it
]


def nested(levels: int) -> dict[str, Any]:
    """An item whose deepest attribute is on this level."""
    value: dict[str, Any] = {"S": "deep"}
    for _ in range(levels - 1):
        value = {"M": {"a": value}}
    return {"a": value}


@pytest.mark.parametrize(("odd"), [make for _, make in ODD], ids=[name for name, _ in ODD])
def test_what_is_odd_is_handed_back_alone(odd: Callable[[], dict[str, Any]]) -> None:
    good = update({"n": {"N": "1"}})
    body = body_of(good, odd(), good)
    assert [json.loads(record) for record in handed_back(body) or []] == [odd()]
    page = published(decoder("debezium", "exact"), body, "debezium", "exact")
    assert isinstance(page, Page)
    assert (len(page.changes), page.native_counts) == (3, {"orders": 2})
    for name, numbers in WAYS:
        assert_same(body, name, numbers)


@pytest.mark.parametrize("levels", [1, 31, 32])
def test_what_dynamodb_allows_to_be_deep_is_native(levels: int) -> None:
    body = body_of(update(nested(levels)))
    assert handed_back(body) == []
    assert_same(body, "debezium", "exact")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"\xef\xbb\xbf{}",
        b'{"Records":[]} x',
        b'{"Records":[],"Records":[]}',
        b'{"Records":null}',
        b'{"Records":[],"NextShardIterator":5}',
        body_of(update({"s": {"S": "x"}})).replace(b"x", b"\xff"),
        body_of(update({"s": {"S": "x"}})).replace(b"x", b"\\ud800"),
        body_of(update({"s": {"S": "x"}})).replace(b"x", b"\n"),
        body_of([[[5, 1.5, -1e5, True, None, "\\u00e9"]]])[:-1],
        b'{"Records":[' + b"[" * 5000 + b"]" * 5000 + b"]}",
    ],
)
def test_a_page_that_is_not_surely_well_formed_is_handed_back_whole(body: bytes) -> None:
    assert handed_back(body) is None
    assert_same(body, "debezium", "exact")


def test_an_empty_page_and_its_iterator() -> None:
    page = decoder("debezium", "exact")(
        b'{"Records":[],"NextShardIterator":"a/b+c=="}', shard=SHARD, table="orders", region="eu-west-1"
    )
    assert (page.records, page.next_iterator, page.size_bytes, page.full) == ([], "a/b+c==", 44, False)


def test_a_record_keeps_no_copy_of_its_bytes() -> None:
    body = body_of(update({}), update({}))
    page = decoder("debezium", "exact")(body, shard=SHARD, table="orders", region="eu-west-1")
    assert [record.origin.body is body for record in page.records] == [True] * 2
    assert [json.loads(record.origin.raw) for record in page.records] == [update({})] * 2


def test_a_transcoder_that_fails_costs_time_only(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def page(self, _body: bytes, **_fields: object) -> None:
            raise RuntimeError("it panicked")

    decode = NativeDecoder(Broken(), None, lambda: NOW_NS)  # type: ignore[arg-type]  # no stub has it fail
    with caplog.at_level(logging.ERROR):
        assert published(decode, body_of(update({})), "debezium", "exact") == published(
            decode_page, body_of(update({})), "debezium", "exact"
        )
    assert "this is a defect of tailrace-native" in caplog.text


@pytest.mark.parametrize(
    "options",
    [{"format": "avro", "numbers": "exact"}, {"format": "item", "numbers": "float"}],
    ids=["format", "numbers"],
)
def test_a_format_that_there_is_not_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=re.compile("avro|float")):
        tailrace_native.Transcoder(**options, pipeline="shop", version="1")


def test_a_page_of_more_records_than_can_be_is_refused_before_they_take_memory() -> None:
    body = b'{"Records":[' + b"{}," * 10_000 + b"{}]}"
    assert_same(body, "debezium", "exact")
    assert "has more than 10000 records" in str(published(decoder("debezium", "exact"), body, "debezium", "exact"))


@given(st.binary(max_size=1_000))
def test_the_checksum_is_that_of_zlib(data: bytes) -> None:
    assert tailrace_native.crc32(data) == zlib.crc32(data)
