"""docs/records.md shows the records that the real converter makes: `UPDATE_GOLDEN=1` writes its examples again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from tailrace import __version__
from tailrace.convert.converter import Converter
from tailrace.core.change import ViewType
from tailrace.core.page import Outgoing
from tailrace.core.ports import SourcePage, TableFacts
from tailrace.core.shard import ShardRef
from tailrace.formats import FORMATS, FormatName, Numbers, make_format
from tailrace.kafka.headers import SNAPSHOT
from tailrace.sources.dynamodb.rows import RowsOf, decode_scan
from tailrace.sources.dynamodb.stream_record import decode_page

PAGE = Path(__file__).parents[3] / "docs" / "records.md"
BEGIN, END = "<!-- what follows is generated: see tests/unit/docs/test_records_page.py -->", "<!-- end -->"
NOW_NS = 1_714_557_600_250_000_000
STREAM = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2024-05-01T10:00:00.000"
SHARD = ShardRef(STREAM, "shardId-00000001714557600000-5c2f1a90")

KEYS = {"id": {"S": "order-1"}}
OLD = {**KEYS, "state": {"S": "new"}, "total": {"N": "12.5"}}
NEW = {**KEYS, "state": {"S": "paid"}, "total": {"N": "12.5"}}
OPS = {"c": ("INSERT", None, OLD), "u": ("MODIFY", OLD, NEW), "d": ("REMOVE", NEW, None)}
OP_NAMES = {"c": "create", "u": "update", "d": "delete"}
TABLE = TableFacts("orders", STREAM.partition("/stream/")[0], {"id": "S"}, 1, 26, None)
CARRIED: dict[ViewType, set[str]] = {
    "NEW_AND_OLD_IMAGES": {"NewImage", "OldImage"},
    "NEW_IMAGE": {"NewImage"},
    "OLD_IMAGE": {"OldImage"},
    "KEYS_ONLY": set(),
}
TYPES: dict[str, tuple[str, Any]] = {
    "S": ("string", {"S": "tea"}),
    "N": ("number", {"N": "12.90"}),
    "N, 38 digits": ("number", {"N": "12345678901234567890123456789012345678"}),
    "B": ("binary", {"B": "AAEC/f7/"}),
    "BOOL": ("boolean", {"BOOL": True}),
    "NULL": ("null", {"NULL": True}),
    "M": ("map", {"M": {"a": {"N": "1"}}}),
    "L": ("list", {"L": [{"S": "a"}, {"N": "1"}]}),
    "SS": ("string set", {"SS": ["b", "a"]}),
    "NS": ("number set", {"NS": ["10", "9"]}),
    "BS": ("binary set", {"BS": ["/w==", "AA=="]}),
}


def records(
    name: FormatName,
    op: str,
    view_type: ViewType = "NEW_AND_OLD_IMAGES",
    *,
    numbers: Numbers = "exact",
    extra: dict[str, Any] | None = None,
) -> list[Outgoing]:
    """Return all that the converter publishes of one change."""
    event, old, new = OPS[op]
    images = {"NewImage": new and new | (extra or {}), "OldImage": old}
    body = {
        "eventID": "0f3c9a7be1d24c5587b16f20a94e3d18",
        "eventName": event,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-west-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1714557600.0,
            "Keys": KEYS,
            **{image: item for image, item in images.items() if item and image in CARRIED[view_type]},
            "SequenceNumber": "300000000000000000017",
            "SizeBytes": 26,
            "StreamViewType": view_type,
        },
    }
    page = decode_page(json.dumps({"Records": [body]}).encode(), shard=SHARD, table="orders", region="eu-west-1")
    return published(name, page, numbers)


def row(name: FormatName) -> list[Outgoing]:
    """Return all that the converter publishes of a row that a snapshot reads."""
    rows = decode_scan(json.dumps({"Items": [NEW]}).encode(), RowsOf(TABLE, "true", 1_714_557_600_200))
    return published(name, SourcePage(rows.records, None, rows.size_bytes, full=True), "exact")


def published(name: FormatName, page: SourcePage, numbers: Numbers) -> list[Outgoing]:
    converter = Converter(
        make_format(name, pipeline="shop", numbers=numbers).encode,
        pipeline="shop",
        topic_of=lambda table, *_: f"shop.{table}",
        dead_letters_topic="shop.dead-letters",
        tombstones=True,
        errors_fail=True,
    )
    return converter.convert(SHARD, page, NOW_NS).records


def image_of(name: FormatName, op: str, view_type: ViewType) -> str:
    """Return what a record of this view type shows of its item, in one cell of a table."""
    if FORMATS[name].why_not(view_type):
        return "refused"
    value = records(name, op, view_type)[0].value
    if name == "item":
        return f"`{value.decode() if value else 'null'}`"
    record = json.loads(value or b"")
    if name == "dynamodb-json":
        shown = [image for image in ("NewImage", "OldImage") if image in record["dynamodb"]]
        return ", ".join(f"`{image}`" for image in shown) or "`Keys` alone"
    images, notes = (record, record["source"]) if name == "debezium" else (record["data"], record["data"])

    def cell(image: str) -> str:
        if image in notes.get("keys_only", ()):
            return f"`{image}`: keys only"
        kind = "null" if images[image] is None else "whole"
        return f"`{image}`: null, `missing`" if image in notes.get("missing", ()) else f"`{image}`: {kind}"

    return ", ".join(map(cell, ("before", "after")))


def block(text: str) -> str:
    return f"```json\n{text.replace(__version__, 'VERSION')}\n```\n"


def lines() -> Iterator[str]:
    """Return the generated part of the page."""
    for name in FORMATS:
        yield f"## {name}\n"
        for op, title in OP_NAMES.items():
            first, *rest = records(name, op)
            yield f"**{title[0].upper()}{title[1:]}** (`{op}`)\n"
            value = "null" if first.value is None else json.dumps(json.loads(first.value), indent=2, ensure_ascii=False)
            yield block(value)
            if rest:
                yield "followed by the tombstone: the same key, a null value, no headers.\n"
                assert [(each.key, each.value, each.headers) for each in rest] == [(first.key, None, None)]
        (first,) = row(name)
        yield "**Row read by a snapshot** (`r`)\n"
        yield block(json.dumps(json.loads(first.value or b""), indent=2, ensure_ascii=False))
        headers = records(name, "c")[0].headers
        shown = ", ".join(f"`{header}: {text.decode()}`" for header, text in headers or ())
        yield f"Key: `{(first.key or b'').decode()}`. Headers: {shown or 'none'}; a row also has `{SNAPSHOT}`.\n"
    yield "## View types\n"
    yield "What a record holds of its item, by the stream's view type:\n"
    for name in (each for each in FORMATS if FORMATS[each].reads_back):
        yield f"| {name} | create | update | delete |\n|---|---|---|---|"
        for view_type in get_args(ViewType):
            yield f"| `{view_type}` | " + " | ".join(image_of(name, op, view_type) for op in OP_NAMES) + " |"
        yield ""
    yield "## Types\n"
    yield "How a value of each DynamoDB type appears, here in an attribute:\n"
    yield "| DynamoDB | `debezium`, `item`, `cloudevents` | `numbers: string` | `dynamodb-json` |\n|---|---|---|---|"
    for code, (title, value) in TYPES.items():
        cells = [plain(value, "exact"), plain(value, "string"), json.dumps(value, separators=(",", ":"))]
        yield f"| {title} (`{code}`) | " + " | ".join(f"`{each}`" for each in cells) + " |"


def plain(value: dict[str, Any], numbers: Numbers) -> str:
    """Return the text of a value in a bare item."""
    made = (records("item", "u", numbers=numbers, extra={"a": value})[0].value or b"").decode()
    assert made.startswith('{"a":')
    return made.removeprefix('{"a":').rpartition(',"id":')[0]


def generated() -> str:
    return "\n".join(lines())


def test_the_records_that_the_page_shows_are_those_that_the_converter_makes() -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    shown, end, after = rest.partition(END)
    assert end
    if os.environ.get("UPDATE_GOLDEN"):
        shown = f"\n\n{generated()}\n\n"
        PAGE.write_text(before + BEGIN + shown + END + after)
    assert shown == f"\n\n{generated()}\n\n", (
        "write it again: UPDATE_GOLDEN=1 pytest tests/unit/docs/test_records_page.py"
    )


@pytest.mark.parametrize("name", FORMATS)
def test_a_tombstone_is_shown_where_a_delete_has_one(name: FormatName) -> None:
    assert len(records(name, "d")) == (1 if FORMATS[name].null_is_delete else 2)
