"""The changes of the golden files: records as AWS sends them, and rows of tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tailrace.core.change import Change
from tailrace.core.ports import TableFacts
from tailrace.core.shard import ShardRef
from tailrace.sources.dynamodb.rows import RowsOf, decode_item
from tailrace.sources.dynamodb.stream_record import decode_page

GOLDEN = Path(__file__).parents[1] / "golden"
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
