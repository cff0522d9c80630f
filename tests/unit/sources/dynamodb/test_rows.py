"""Whatever bytes come as an answer of Scan or BatchGetItem: no item is lost, and nothing else is raised."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given

from support.fuzz import broken, examples, refusal_of
from tailrace.convert.converter import Converter
from tailrace.core.ports import ReadError, ReadFailure, Rows, SourcePage, TableFacts
from tailrace.core.shard import ShardRef
from tailrace.formats import make_format
from tailrace.sources.dynamodb.rows import RowsOf, decode_batch, decode_scan

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders"
FACTS = TableFacts("orders", ARN, {"id": "S"}, item_count=3, size_bytes=120, read_capacity=None)
ROWS_OF = RowsOf(FACTS, "true", 1_767_000_000_000)
DEAD_LETTERS = "shop.dead-letters"
CONVERTER = Converter(
    make_format("debezium", pipeline="shop", numbers="exact").encode,
    pipeline="shop",
    topic_of=lambda table, *_: f"shop.{table}",
    dead_letters_topic=DEAD_LETTERS,
    tombstones=False,
    errors_fail=False,
)
ITEMS = [
    {"id": {"S": "a"}, "n": {"N": "2"}, "b": {"B": "AQI="}},
    {"l": {"L": [{"NULL": True}, {"SS": ["é"]}]}, "id": {"S": "b"}},
    {"id": {"S": "c"}},
]
CAPACITY = {"TableName": "orders", "CapacityUnits": 2.5}
SCANNED = {"Items": ITEMS, "Count": 3, "LastEvaluatedKey": {"id": {"S": "c"}}, "ConsumedCapacity": CAPACITY}
BATCH = {
    "Responses": {"orders": ITEMS},
    "UnprocessedKeys": {"orders": {"Keys": [{"id": {"S": "d"}}]}},
    "ConsumedCapacity": [CAPACITY],
}


def read_liberally(body: bytes) -> Any:
    """Return an answer as the most patient of readers finds it."""
    return json.loads(body.decode(errors="surrogateescape"), strict=False, parse_int=str)


def check(rows: Rows, sent: list[Any]) -> None:
    assert len(rows.records) == len(sent)
    for row in rows.records:
        assert (row.change is None) == (row.error is not None)
        assert row.error is None or str(row.error).isprintable()
    page = SourcePage(rows.records, rows.next_cursor, rows.size_bytes, full=True)
    outgoing = CONVERTER.convert(ShardRef(ARN, "snapshot"), page, 0)
    assert len(outgoing.changes) == len(outgoing.records) == len(sent)
    for letter, row in zip(outgoing.records, rows.records, strict=True):
        assert letter.value is not None
        if row.change is None:
            assert (letter.topic, letter.value) == (DEAD_LETTERS, row.origin.raw)


def check_refusal(decode: Callable[[], object]) -> bool:
    refusal = refusal_of(decode, ReadError)
    if refusal is None:
        return False
    assert isinstance(refusal, ReadError)
    assert refusal.failure is ReadFailure.UNAVAILABLE
    assert refusal.hint
    return True


@examples(1000)
@given(broken(SCANNED))
@example(b'{"Items":[{"id":{"S":"\\ud800"}}]}')
@example(b'{"Items":[],"LastEvaluatedKey":{"id":{"S":"\\ud800"}}}')
@example(b'{"Items":[],"LastEvaluatedKey":null}')
def test_any_answer_of_scan_gives_all_of_its_items_or_is_asked_for_again(body: bytes) -> None:
    if check_refusal(lambda: decode_scan(body, ROWS_OF)):
        return
    rows = decode_scan(body, ROWS_OF)
    answer = read_liberally(body)
    check(rows, answer["Items"])
    assert (rows.next_cursor is None) == (answer.get("LastEvaluatedKey") is None)
    if rows.next_cursor is not None:
        assert json.loads(rows.next_cursor) == answer["LastEvaluatedKey"]
        msgspec.json.encode({"ExclusiveStartKey": msgspec.Raw(rows.next_cursor)})


@examples(1000)
@given(broken(BATCH))
def test_any_answer_of_batch_get_item_gives_all_of_its_items_or_is_asked_for_again(body: bytes) -> None:
    if check_refusal(lambda: decode_batch(body, ROWS_OF)):
        return
    got = decode_batch(body, ROWS_OF)
    answer = read_liberally(body)
    check(got.rows, answer["Responses"].get("orders", []))
    left = answer.get("UnprocessedKeys", {}).get("orders", {"Keys": []})["Keys"]
    assert [json.loads(each) for each in got.unprocessed] == left


def test_a_broken_item_spoils_only_itself() -> None:
    for wrong in (b'{"n":{"N":"1"}}', b"[]", b'{"id":{"S":"\\ud800"},"n":7}', b"null"):
        rows = decode_scan(b'{"Items":[{"id":{"S":"a"}},%b,{"id":{"S":"b"}}]}' % wrong, ROWS_OF)
        assert [row.change is not None for row in rows.records] == [True, False, True], wrong
        assert str(rows.records[1].error).startswith("an item of table orders cannot be understood: ")
        check(rows, [None] * 3)


def test_a_key_attribute_may_have_any_name() -> None:
    for name in ("class", "a.b", "#x", "100%", "%b", 'quo"te', "ключ", "0", "__init__"):
        facts = msgspec.structs.replace(FACTS, key_types={name: "N"})
        body = json.dumps({"Items": [{"other": {"S": "x"}, name: {"N": "1"}}]}).encode()
        (row,) = decode_scan(body, RowsOf(facts, "incremental", 0)).records
        assert row.change
        assert json.loads(row.change.keys) == {name: {"N": "1"}}


def test_an_answer_about_another_table_is_broken() -> None:
    with pytest.raises(ReadError, match="it is about the table others"):
        decode_batch(b'{"Responses":{"others":[]}}', ROWS_OF)
