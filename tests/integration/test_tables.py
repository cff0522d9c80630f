"""Reading tables of a real DynamoDB Local: every item once over all segments and pages, and items by their keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.names import unique
from tailrace.config import from_flags
from tailrace.core.ports import ReadError, ReadFailure, Rows, TableFacts, TableReader
from tailrace.local.dynamodb import REGION, DynamoDBLocal
from tailrace.wiring.sources import make_tables

TABLE = unique("rows")
IDS = [f"item-{number:03}" for number in range(230)]


@pytest.fixture
def tables(dynamodb: DynamoDBLocal, aws_environment: dict[str, str]) -> Iterator[TableReader]:
    pipeline = from_flags(
        [TABLE], "localhost:9092", endpoint_url=dynamodb.endpoint_url, region=REGION, name="rows"
    ).pipeline
    reader = make_tables(pipeline)
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def table(dynamodb_client: Any) -> Iterator[str]:
    """A table of 230 items of 10 KB: more than two pages of 1 MB, and than two calls of BatchGetItem."""
    dynamodb_client.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "at", "AttributeType": "N"},
            {"AttributeName": "id", "AttributeType": "S"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    for item_id in IDS:
        dynamodb_client.put_item(TableName=TABLE, Item=item(item_id))
    yield TABLE
    dynamodb_client.delete_table(TableName=TABLE)


def item(item_id: str) -> dict[str, Any]:
    return {"id": {"S": item_id}, "at": {"N": "1"}, "note": {"S": "x" * 10_000}, "tags": {"SS": ["é"]}}


def key(item_id: str, at: str = "1") -> bytes:
    return json.dumps({"id": {"S": item_id}, "at": {"N": at}}).encode()


def items(rows: Rows) -> list[Any]:
    return [json.loads(row.change.after) for row in rows.records if row.change and row.change.after]


def scan(tables: TableReader, facts: TableFacts, segment: int, total: int, limit: int | None) -> list[Rows]:
    pages: list[Rows] = []
    while not pages or pages[-1].next_cursor is not None:
        cursor = pages[-1].next_cursor if pages else None
        pages.append(tables.scan(facts, segment, total, cursor, mark="true", limit=limit))
    return pages


def test_a_table_is_described(tables: TableReader, table: str) -> None:
    facts = tables.facts(table)
    assert (facts.table, facts.key_types, facts.read_capacity) == (table, {"id": "S", "at": "N"}, None)
    assert facts.arn.endswith(f":table/{table}")


def test_a_table_that_is_not_there_is_gone(tables: TableReader) -> None:
    with pytest.raises(ReadError) as caught:
        tables.facts("nowhere")
    assert caught.value.failure is ReadFailure.GONE


@pytest.mark.parametrize(("total", "limit"), [(1, None), (4, 30), (16, 1)])
def test_all_segments_together_have_each_item_once(
    tables: TableReader, table: str, total: int, limit: int | None
) -> None:
    facts = tables.facts(table)
    pages = [page for segment in range(total) for page in scan(tables, facts, segment, total, limit)]
    read = [each for page in pages for each in items(page)]
    assert sorted(read, key=lambda each: each["id"]["S"]) == [item(item_id) for item_id in IDS]
    assert len(pages) > 2
    assert sum(page.read_units for page in pages) >= len(IDS) * 2  # 10 KB, consistent


def test_items_are_read_by_their_keys(tables: TableReader, table: str) -> None:
    keys = [*map(key, IDS), key(IDS[7], "1.0"), key("nobody")]
    rows = tables.get(tables.facts(table), keys, mark="incremental")
    assert sorted(each["id"]["S"] for each in items(rows)) == IDS
    assert rows.read_units >= len(IDS) * 3
