"""The native transcoder makes of rows what the Python makes, byte for byte; it hands back only what is rare."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from support.dynamodb_items import as_aws_sends, items
from support.random_pages import RandomPages
from tailrace import __version__, formats
from tailrace.convert.converter import Converter
from tailrace.core.change import Origin, SnapshotMark
from tailrace.core.page import Page
from tailrace.core.ports import ReadError, Rows, SourcePage, SourceRecord, TableFacts
from tailrace.core.shard import ShardRef
from tailrace.formats import FORMATS, FormatName, Numbers
from tailrace.sources.dynamodb.export_lines import LinesDecoder, decode_lines
from tailrace.sources.dynamodb.native_rows import NativeLinesDecoder, NativeScanDecoder
from tailrace.sources.dynamodb.rows import RowsOf, ScanDecoder, decode_scan

if TYPE_CHECKING:
    import tailrace_native
else:
    tailrace_native = pytest.importorskip("tailrace_native", reason="the native transcoder is not built: `make native`")

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders"
FACTS = TableFacts("orders", ARN, {"id": "S", "sort": "N"}, item_count=3, size_bytes=120, read_capacity=None)
ROWS_OF = RowsOf(FACTS, "incremental", 1_714_557_600_123)
BY_ID = ROWS_OF._replace(facts=msgspec.structs.replace(FACTS, key_types={"id": "S"}))
NOW_NS = 1_700_000_009_123_456_789
GOLDEN = sorted((Path(__file__).parents[2] / "golden" / "rows").glob("*.json"))
WAYS: list[tuple[FormatName, Numbers]] = [
    (name, numbers) for name in FORMATS if FORMATS[name].reads_back for numbers in get_args(Numbers)
]

each_way = pytest.mark.parametrize(("name", "numbers"), WAYS, ids=[" ".join(way) for way in WAYS])


def transcoder(name: FormatName, numbers: Numbers) -> tailrace_native.Transcoder:
    return tailrace_native.Transcoder(format=name, numbers=numbers, pipeline='the "shop"', version=__version__)


def scan_decoder(name: FormatName, numbers: Numbers) -> NativeScanDecoder:
    return NativeScanDecoder(transcoder(name, numbers), FORMATS[name].headers, lambda: NOW_NS)


def lines_decoder(name: FormatName, numbers: Numbers) -> NativeLinesDecoder:
    return NativeLinesDecoder(transcoder(name, numbers), FORMATS[name].headers, lambda: NOW_NS)


def published(records: list[SourceRecord], name: FormatName, numbers: Numbers) -> Page:
    """What a snapshot would publish of rows, every item's bytes as read written out."""
    converter = Converter(
        formats.make_format(name, pipeline='the "shop"', numbers=numbers).encode,
        pipeline='the "shop"',
        topic_of=lambda table, *_: f"shop.{table}",
        dead_letters_topic="shop.dead-letters",
        tombstones=True,
        errors_fail=False,
    )
    page = converter.convert(ShardRef(ARN, "snapshot"), SourcePage(records, None, 0, full=True), NOW_NS)
    written = [msgspec.structs.replace(record, origin=copied(record.origin)) for record in page.records]
    origins = [copied(origin) for origin in page.changes]
    return msgspec.structs.replace(page, records=written, changes=origins, native_counts={})


def copied(origin: Origin) -> Origin:
    return Origin(origin.table, origin.sequence, origin.created_ms, origin.raw)


def scanned(decode: ScanDecoder, body: bytes, rows_of: RowsOf, name: FormatName, numbers: Numbers) -> object:
    try:
        rows: Rows = decode(body, rows_of)
    except ReadError as error:
        return str(error)
    return published(rows.records, name, numbers), rows.next_cursor, rows.size_bytes, rows.read_units


def assert_same(body: bytes, name: FormatName, numbers: Numbers, rows_of: RowsOf = ROWS_OF) -> None:
    native = scanned(scan_decoder(name, numbers), body, rows_of, name, numbers)
    assert native == scanned(decode_scan, body, rows_of, name, numbers), body


def assert_same_lines(lines: list[bytes], name: FormatName, numbers: Numbers, rows_of: RowsOf = ROWS_OF) -> None:
    native, pure = (published(decode(lines, rows_of), name, numbers) for decode in both(name, numbers))
    assert len(native.changes) == len(lines)
    assert native == pure, lines


def both(name: FormatName, numbers: Numbers) -> tuple[LinesDecoder, LinesDecoder]:
    return lines_decoder(name, numbers), decode_lines


def handed_back(rows: list[SourceRecord]) -> list[bytes]:
    """The items that the transcoder left to Python."""
    return [row.origin.raw for row in rows if row.message is None]


def body_of(*sent: Any, **fields: Any) -> bytes:
    return json.dumps({"Items": sent, **fields}, ensure_ascii=False).encode()


@each_way
@pytest.mark.parametrize("path", GOLDEN, ids=[path.stem for path in GOLDEN])
def test_the_golden_rows_are_the_same(path: Path, name: FormatName, numbers: Numbers) -> None:
    golden = json.loads(path.read_text())
    mark: SnapshotMark = golden["snapshot"]
    rows_of = RowsOf(msgspec.structs.replace(FACTS, key_types=golden["key_types"]), mark, 1_714_557_600_123)
    for body in (body_of(golden["item"]), json.dumps({"Items": [golden["item"]]}, indent=1).encode()):
        assert_same(body, name, numbers, rows_of)
        assert handed_back(scan_decoder(name, numbers)(body, rows_of).records) == []
    line = json.dumps({"Item": golden["item"]}).encode()
    assert_same_lines([line], name, numbers, rows_of)
    assert handed_back(lines_decoder(name, numbers)([line], rows_of)) == []


@each_way
def test_common_rows_are_the_same_and_none_is_handed_back(name: FormatName, numbers: Numbers) -> None:
    for seed in range(20):
        body = RandomPages(seed).scanned(60)
        assert_same(body, name, numbers)
        # Among the numbers are some that a key has only on purpose: with an exponent.
        left = handed_back(scan_decoder(name, numbers)(body, ROWS_OF).records)
        assert [item for item in left if "e" not in json.loads(item)["sort"]["N"].lower()] == []
        lines = RandomPages(seed).export_lines(60).splitlines()
        assert_same_lines(lines, name, numbers)


@each_way
def test_odd_rows_are_the_same(name: FormatName, numbers: Numbers) -> None:
    for seed in range(150):
        assert_same(RandomPages(seed, oddity=0.02).scanned(10), name, numbers)
        assert_same_lines(RandomPages(seed, oddity=0.02).export_lines(10).split(b"\n"), name, numbers)


@each_way
def test_broken_pages_and_lines_are_the_same(name: FormatName, numbers: Numbers) -> None:
    for seed in range(60):
        pages = RandomPages(seed, oddity=0.005)
        body, lines = pages.scanned(3), pages.export_lines(3)
        for _ in range(10):
            assert_same(pages.mutated(body), name, numbers)
            assert_same_lines(pages.mutated(lines).split(b"\n"), name, numbers)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=120, deadline=None)
@given(st.lists(items, min_size=1, max_size=4), st.sampled_from(WAYS), st.booleans(), st.booleans())
def test_items_of_any_shape_are_the_same(
    shapes: list[dict[str, Any]], way: tuple[FormatName, Numbers], ascii_only: bool, indented: bool
) -> None:
    sent = [as_aws_sends(shape) | {"id": {"S": "a"}, "sort": {"N": "1.50"}} for shape in shapes]
    body = json.dumps({"Items": sent}, ensure_ascii=ascii_only, indent=1 if indented else None).encode()
    assert_same(body, *way)
    assert handed_back(scan_decoder(*way)(body, ROWS_OF).records) == []


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\ue0Items nulltrue-1.5', max_size=80).map(str.encode))
@example(b'{"id":{"S":"a"},"sort":{"N":"1"}}')
def test_any_bytes_are_the_same(body: bytes) -> None:
    assert_same(body, "debezium", "exact")
    assert_same(b'{"Items":[' + body + b"]}", "debezium", "exact")
    assert_same_lines(body.split(b"\n"), "debezium", "exact")
    assert_same_lines([b'{"Item":' + line + b"}" for line in body.split(b"\n")], "debezium", "exact")


GOOD = {"id": {"S": "a"}, "sort": {"N": "1"}}
ODD: list[tuple[str, Callable[[], Any]]] = [
    ("without a key attribute", lambda: {"id": {"S": "a"}}),
    ("a key of another type", lambda: GOOD | {"sort": {"BOOL": True}}),
    ("a key of two types", lambda: GOOD | {"sort": {"N": "1", "S": "1"}}),
    ("a key with an exponent", lambda: GOOD | {"sort": {"N": "1E50"}}),
    ("a number that JSON does not have", lambda: GOOD | {"n": {"N": "+1"}}),
    ("a type that there is not", lambda: GOOD | {"x": {"X": "1"}}),
    ("not an object", lambda: 5),
    ("empty", dict),
]


@pytest.mark.parametrize("odd", [make for _, make in ODD], ids=[name for name, _ in ODD])
def test_what_is_odd_is_handed_back_alone(odd: Callable[[], Any]) -> None:
    body = body_of(GOOD, odd(), GOOD)
    rows = scan_decoder("debezium", "exact")(body, ROWS_OF).records
    assert [json.loads(item) for item in handed_back(rows)] == [odd()]
    lines = [json.dumps({"Item": each}).encode() for each in (GOOD, odd(), GOOD)]
    assert len(handed_back(lines_decoder("debezium", "exact")(lines, ROWS_OF))) == 1
    for name, numbers in WAYS:
        assert_same(body, name, numbers)
        assert_same_lines(lines, name, numbers)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"{}",
        b"null",
        b'{"Item":{}}',
        b'{"Item":null}',
        b'{"Item":{"id":{"S":"a"},"sort":{"N":"1"}},"Item":{"id":{"S":"b"},"sort":{"N":"1"}}}',
        b'{"Item":{"id":{"S":"a"},"sort":{"N":"1"}}} x',
        b'{"Item":{"id":{"S":"\xff"},"sort":{"N":"1"}}}',
        b'{"Keys":{"id":{"S":"a"},"sort":{"N":"1"}}}',
    ],
)
def test_a_line_of_another_shape_is_handed_back_alone(line: bytes) -> None:
    good = json.dumps({"Item": GOOD}).encode()
    lines = [good, line, good, line]
    rows = lines_decoder("debezium", "exact")(lines, ROWS_OF)
    assert [row.message is None for row in rows] == [False, True, False, True]
    assert_same_lines(lines, "debezium", "exact")


def test_the_names_of_keys_may_be_written_with_escapes() -> None:
    for name in ('quo"te', "ключ", "a\\b", "\u2028", "i\nd"):
        rows_of = ROWS_OF._replace(facts=msgspec.structs.replace(FACTS, key_types={name: "S", "id": "S"}))
        item = {"id": {"S": "a"}, name: {"S": "v"}, "other": {"S": "x"}}
        for ascii_only in (True, False):
            body = json.dumps({"Items": [item]}, ensure_ascii=ascii_only).encode()
            assert_same(body, "cloudevents", "exact", rows_of)
            assert handed_back(scan_decoder("cloudevents", "exact")(body, rows_of).records) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"LastEvaluatedKey": None},
        {"LastEvaluatedKey": {"id": {"S": "é"}}},
        {"LastEvaluatedKey": {"id": "S"}},
        {"LastEvaluatedKey": 5},
        {"ConsumedCapacity": None},
        {"ConsumedCapacity": {"CapacityUnits": 0.5, "Table": {"CapacityUnits": 0.5}}},
        {"ConsumedCapacity": {"CapacityUnits": "many"}},
        {"ConsumedCapacity": []},
        {"Count": 1, "ScannedCount": 1, "ResponseMetadata": {"x": [1.5, True]}},
    ],
    ids=str,
)
def test_what_stands_beside_the_items_is_the_same(fields: dict[str, Any]) -> None:
    assert_same(body_of({"id": {"S": "a"}}, **fields), "debezium", "exact", BY_ID)


def test_an_item_keeps_no_copy_of_its_bytes() -> None:
    body = body_of(GOOD, GOOD)
    rows = scan_decoder("debezium", "exact")(body, ROWS_OF).records
    assert [row.origin.body is body for row in rows] == [True] * 2
    assert [json.loads(row.origin.raw) for row in rows] == [GOOD] * 2


def test_a_transcoder_that_fails_costs_time_only(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def scan(self, *_what: object, **_fields: object) -> None:
            raise RuntimeError("it panicked")

        export_lines = scan

    body, lines = body_of(GOOD), [json.dumps({"Item": GOOD}).encode()]
    with caplog.at_level(logging.ERROR):
        rows = NativeScanDecoder(Broken(), None)(body, ROWS_OF)  # type: ignore[arg-type]  # no stub has it fail
        made = NativeLinesDecoder(Broken(), None)(lines, ROWS_OF)  # type: ignore[arg-type]
    assert rows.records == decode_scan(body, ROWS_OF).records == made
    assert caplog.text.count("this is a defect of tailrace-native") == 2
