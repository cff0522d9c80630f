"""The exact bytes of every format for records as AWS sends them.

A change of these bytes changes what consumers read: regenerate with `UPDATE_GOLDEN=1 pytest tests/unit/formats`, look
at the difference, and say it in the changelog. The version of Tailrace is written as `{version}`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tailrace import __version__
from tailrace.core.change import Change, Message
from tailrace.core.ports import TableFacts
from tailrace.core.shard import ShardRef
from tailrace.errors import RecordError
from tailrace.formats import FORMATS, Format, make_format
from tailrace.sources.dynamodb.rows import RowsOf, decode_item
from tailrace.sources.dynamodb.stream_record import decode_page

GOLDEN = Path(__file__).parents[2] / "golden"
CASES = sorted(GOLDEN.glob("*.json"))
ROWS = sorted((GOLDEN / "rows").glob("*.json"))
NOW_NS = 1_700_000_009_123_456_789
SHARD = ShardRef(
    "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2024-05-01T10:00:00.000", "shardId-00000001"
)


def change_of(record: dict[str, Any]) -> Change:
    body = json.dumps({"Records": [record]}).encode()
    change = decode_page(body, shard=SHARD, table="orders", region="eu-west-1").records[0].change
    assert change is not None
    return change


def row_of(golden: dict[str, Any]) -> Change:
    arn, _, _ = SHARD.stream.partition("/stream/")
    facts = TableFacts("orders", arn, golden["key_types"], item_count=1, size_bytes=1, read_capacity=None)
    rows_of = RowsOf(facts, golden["snapshot"], 1_714_557_600_123)
    change = decode_item(json.dumps(golden["item"], ensure_ascii=False).encode(), rows_of).change
    assert change is not None
    return change


def made(change: Change) -> dict[str, Any]:
    """Return what every format makes of a change."""
    return {
        f"{name}, numbers: {numbers}": encoded(make_format(name, pipeline="shop", numbers=numbers), change)
        for name in FORMATS
        for numbers in (("exact", "string") if FORMATS[name].reads_back else ("exact",))
    }


def encoded(made_format: Format, change: Change) -> dict[str, Any]:
    try:
        return shown(made_format.encode(change, NOW_NS))
    except RecordError as error:
        return {"error": str(error)}


def shown(message: Message) -> dict[str, Any]:
    value = None if message.value is None else message.value.decode()
    headers = {name: header.decode() for name, header in message.headers or []}
    return {
        "key": message.key.decode(),
        "value": value and value.replace(f'"version":"{__version__}"', '"version":"{version}"'),
        **({"headers": headers} if headers else {}),
    }


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_the_bytes_are_those_that_consumers_know(path: Path) -> None:
    golden = json.loads(path.read_text())
    compare(path, golden, made(change_of(golden["record"])))


@pytest.mark.parametrize("path", ROWS, ids=[path.stem for path in ROWS])
def test_the_bytes_of_a_row_are_those_that_consumers_know(path: Path) -> None:
    golden = json.loads(path.read_text())
    compare(path, golden, made(row_of(golden)))


def compare(path: Path, golden: dict[str, Any], messages: dict[str, Any]) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        golden = golden | {"messages": messages}
        path.write_text(json.dumps(golden, indent=2, ensure_ascii=False) + "\n")
    assert messages == golden["messages"]


def test_every_operation_and_view_type_has_a_golden_record() -> None:
    records = [json.loads(path.read_text())["record"] for path in CASES]
    assert {record["eventName"] for record in records} == {"INSERT", "MODIFY", "REMOVE"}
    view_types = {record["dynamodb"]["StreamViewType"] for record in records}
    assert view_types == {"NEW_AND_OLD_IMAGES", "NEW_IMAGE", "OLD_IMAGE", "KEYS_ONLY"}
