"""The native transcoder makes of a page of Kinesis what the Python makes, byte for byte, and the digests as well.

`NATIVE_RECORDS=300000 pytest tests/unit/formats/test_native_log.py` compares more random records.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.dynamodb_items import as_aws_sends, items
from support.kinesis_records import SHARD, aggregate, answer, change, change_of_stream, entry, text
from support.random_pages import RandomPages
from tailrace import __version__
from tailrace.convert.converter import Converter
from tailrace.core.change import Origin
from tailrace.core.page import Page
from tailrace.core.ports import LogPage, ReadError, SourcePage
from tailrace.formats import FORMATS, FormatName, Numbers, make_format
from tailrace.sources.kinesis.log_page import LogDecoder, LogPageDecoder, late
from tailrace.sources.kinesis.native_log import NativeLogDecoder
from tailrace.sources.kinesis.stream_ref import parse

if TYPE_CHECKING:
    import tailrace_native
else:
    tailrace_native = pytest.importorskip("tailrace_native", reason="the native transcoder is not built: `make native`")

RECORDS = int(os.environ.get("NATIVE_RECORDS", "16000"))
"""How many random records are compared over all formats."""
GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("*.json"))
NOW_NS = 1_700_000_009_123_456_789
WAYS: list[tuple[FormatName, Numbers]] = [
    (name, numbers) for name in FORMATS if FORMATS[name].reads_back for numbers in get_args(Numbers)
]
PYTHON = LogPageDecoder("auto", deaggregate=True)

each_way = pytest.mark.parametrize(("name", "numbers"), WAYS, ids=[" ".join(way) for way in WAYS])


def transcoder(name: FormatName, numbers: Numbers) -> tailrace_native.Transcoder:
    return tailrace_native.Transcoder(format=name, numbers=numbers, pipeline='the "shop"', version=__version__)


def decoder(
    name: FormatName, numbers: Numbers, transformation_of: Callable[[str], object | None] = lambda _: None
) -> NativeLogDecoder:
    headers = FORMATS[name].headers
    return NativeLogDecoder(transcoder(name, numbers), headers, PYTHON, transformation_of, lambda: NOW_NS)


def read(decode: LogDecoder, body: bytes, name: FormatName, numbers: Numbers) -> Any:
    """Return all that matters of a page, the records as they would be published; or why it cannot be read."""
    try:
        page = decode(body, shard=SHARD)
    except ReadError as error:
        return str(error)
    shown = [(each.arrived_ms, each.identity, each.item, each.created_us) for each in page.records]
    return shown, page.next_iterator, page.size_bytes, page.full, published(page, name, numbers)


def published(log: LogPage, name: FormatName, numbers: Numbers) -> Page:
    converter = Converter(
        make_format(name, pipeline='the "shop"', numbers=numbers).encode,
        pipeline='the "shop"',
        topic_of=lambda table, *_: f"shop.{table}",
        dead_letters_topic="shop.dead-letters",
        tombstones=True,
        errors_fail=False,
    )
    source = SourcePage([each.record for each in log.records], log.next_iterator, log.size_bytes, log.full)
    page = converter.convert(SHARD, source, NOW_NS)
    records = [msgspec.structs.replace(record, origin=copied(record.origin)) for record in page.records]
    changes = [copied(origin) for origin in page.changes]
    return msgspec.structs.replace(page, records=records, changes=changes, native_counts={})


def copied(origin: Origin) -> Origin:
    return Origin(origin.table, origin.sequence, origin.created_ms, origin.raw)


def assert_same(body: bytes, name: FormatName, numbers: Numbers) -> None:
    assert read(decoder(name, numbers), body, name, numbers) == read(PYTHON, body, name, numbers), body


def handed_back(
    body: bytes, name: FormatName = "debezium", numbers: Numbers = "exact", left: list[str] | None = None
) -> list[bytes] | None:
    """The records that the transcoder leaves to Python; None when it leaves the whole page."""
    page = transcoder(name, numbers).log_page(
        body,
        region=parse(SHARD.stream).region,
        stream_arn=SHARD.stream,
        shard_id=SHARD.shard_id,
        left=left or [],
        now_ns=NOW_NS,
    )
    if page is None:
        return None
    keys, *_, starts, ends = page[0]
    return [body[start:end] for key, start, end in zip(keys, starts, ends, strict=True) if key is None]


@each_way
@pytest.mark.parametrize("path", GOLDEN, ids=[path.stem for path in GOLDEN])
def test_the_golden_records_are_the_same(path: Path, name: FormatName, numbers: Numbers) -> None:
    body = answer(entry(text(change_of_stream(json.loads(path.read_text())["record"]))))
    assert_same(body, name, numbers)
    assert handed_back(body, name, numbers) == [] or path.stem == "huge-number-key" or name == "item"


@each_way
@pytest.mark.parametrize("created_us", [0, 7, 999, 1_000, 999_999, 1_714_557_600_123_000, 1_714_557_600_123_045])
def test_a_time_in_microseconds_is_the_same(created_us: int, name: FormatName, numbers: Numbers) -> None:
    body = answer(entry(text(change(ApproximateCreationDateTime=created_us))))
    assert_same(body, name, numbers)
    assert handed_back(body, name, numbers) == []


@each_way
def test_a_page_of_common_records_is_the_same_and_few_are_handed_back(name: FormatName, numbers: Numbers) -> None:
    for seed in range(max(1, RECORDS // 800)):
        body = RandomPages(seed).log_page(100)
        assert_same(body, name, numbers)
        left = handed_back(body, name, numbers)
        # A key with an exponent, and for the bare item a record without its image.
        assert left is not None
        assert len(left) < 50 or name == "item"


@each_way
def test_a_page_of_odd_records_is_the_same(name: FormatName, numbers: Numbers) -> None:
    for seed in range(max(1, RECORDS // 80)):
        assert_same(RandomPages(seed, oddity=0.02).log_page(10), name, numbers)


@each_way
def test_a_broken_page_is_the_same(name: FormatName, numbers: Numbers) -> None:
    for seed in range(max(1, RECORDS // 240)):
        pages = RandomPages(seed, oddity=0.005)
        body = pages.log_page(3)
        for _ in range(10):
            assert_same(pages.mutated(body), name, numbers)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60, deadline=None)
@given(st.lists(items, min_size=1, max_size=4), st.sampled_from(WAYS), st.booleans())
def test_items_of_any_shape_are_the_same(
    images: list[dict[str, Any]], way: tuple[FormatName, Numbers], ascii_only: bool
) -> None:
    records = [change(NewImage=as_aws_sends(image)) for image in images]
    body = answer(*(entry(json.dumps(record, ensure_ascii=ascii_only).encode()) for record in records))
    assert_same(body, *way)
    assert handed_back(body, *way) == []


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\ue0Records nulltrue-1.5', max_size=80).map(str.encode))
def test_any_data_is_the_same(data: bytes) -> None:
    assert_same(answer(entry(data), entry(text(change()), 1)), "debezium", "exact")
    assert_same(b'{"Records":[' + data + b"]}", "debezium", "exact")


def test_what_is_no_change_record_is_handed_back_alone() -> None:
    others = [b"hello", b'{"a":1}', aggregate([("a", None, b"one"), ("b", None, text(change()))])]
    data = [text(change()), *others, text(change())]
    body = answer(*(entry(each, number) for number, each in enumerate(data)))
    assert [json.loads(each)["SequenceNumber"] for each in handed_back(body) or []] == [
        entry(b"", number)["SequenceNumber"] for number in (1, 2, 3)
    ]
    for name, numbers in WAYS:
        assert_same(body, name, numbers)


def test_tables_with_a_transformation_are_left_to_python_from_then_on() -> None:
    body = answer(entry(text(change())), entry(text(change() | {"tableName": "users"}), 1))
    asked: list[str] = []

    def transformation_of(table: str) -> object | None:
        asked.append(table)
        return "a transformation" if table == "users" else None

    decode = decoder("debezium", "exact", transformation_of)
    for _ in range(2):
        orders, users = decode(body, shard=SHARD).records
        assert (orders.record.message is None, users.record.change is None) == (False, False)
    assert asked.count("users") == 1
    assert len(handed_back(body, left=["users"]) or []) == 1


def test_a_late_change_is_decoded_again() -> None:
    body = answer(entry(text(change())), entry(text(change()), 1))
    native, python = (decode(body, shard=SHARD).records[1].record for decode in (decoder("debezium", "exact"), PYTHON))
    assert native.message is not None
    assert late(native, SHARD).change == late(python, SHARD).change
    assert native.origin.body is body


def test_a_transcoder_that_fails_costs_time_only(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def log_page(self, _body: bytes, **_fields: object) -> None:
            raise RuntimeError("it panicked")

    decode = NativeLogDecoder(Broken(), None, PYTHON, lambda _: None, lambda: NOW_NS)  # type: ignore[arg-type]  # no stub has it fail
    body = answer(entry(text(change())))
    with caplog.at_level(logging.ERROR):
        assert read(decode, body, "debezium", "exact") == read(PYTHON, body, "debezium", "exact")
    assert "this is a defect of tailrace-native" in caplog.text
