"""What the lake's columns do with each format, with what is declared, and with what is unusual."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from support.lake_items import Record, by_duckdb, debezium, shows, write
from tailrace.config.lake_columns import ColumnOptions
from tailrace.formats.debezium import DebeziumFormat
from tailrace.formats.dynamodb_json import DynamoDBJsonFormat
from tailrace.formats.item import ItemFormat
from tailrace.formats.trustpilot import TrustpilotFormat
from tailrace.lake.columns import BLOCK_ROWS, COLUMNS_MAX, TableColumns

D = Decimal
NINES = 10**38 - 1


def rows_of(columns: TableColumns, *records: Record) -> list[dict[str, Any]]:
    assert columns.append(records) == []
    rows: list[dict[str, Any]] = columns.take().to_pylist()
    return rows


def plain(**options: ColumnOptions) -> TableColumns:
    return TableColumns([DebeziumFormat], options)


def test_ours_say_where_a_change_was() -> None:
    columns = plain()
    record = Record(debezium({"pk": "a"}, op="r").value(), offset=7, headers=[("trace", b"\xff"), ("trace", None)])
    (row,) = rows_of(columns, record)
    assert (row["__op"], row["__topic"], row["__partition"], row["__offset"]) == ("r", "shop.orders", 3, 7)
    assert row["__ts"].timestamp() == 1_700_000_000.007
    assert row["__headers"] == [{"key": "trace", "value": b"\xff"}, {"key": "trace", "value": None}]
    assert columns.keys == ("pk",)
    assert columns.rows == 0


def test_a_delete_shows_the_item_as_it_was_and_a_tombstone_is_no_row() -> None:
    rows = rows_of(plain(), debezium({"pk": "a", "n": 1}, 1, op="d"), Record(None, offset=2))
    assert [(row["__op"], row["pk"], row["n"]) for row in rows] == [("d", "a", 1)]


def test_a_null_value_is_a_delete_in_a_format_where_it_is_one() -> None:
    columns = TableColumns([ItemFormat])
    rows = rows_of(columns, Record(b'{"pk":"a","n":1.5}', offset=1), Record(None, b'{"pk":"a"}', offset=2))
    assert [(row["__op"], row["pk"], row["n"]) for row in rows] == [("u", "a", D("1.5")), ("d", "a", None)]


def test_types_of_dynamodb_are_kept_where_the_format_keeps_them() -> None:
    image = {
        "pk": {"S": "a"},
        "b": {"B": "AAH/"},
        "n": {"N": "1.50"},
        "ss": {"SS": ["y", "x"]},
        "ns": {"NS": ["10", "9"]},
        "bs": {"BS": ["AAE="]},
        "m": {"M": {"no": {"NULL": True}, "yes": {"BOOL": True}}},
        "l": {"L": [{"N": "1"}, {"NULL": True}]},
    }
    value = {
        "eventName": "INSERT",
        "eventSourceARN": "arn:aws:dynamodb:eu-central-1:1:table/orders/stream/x",
        "dynamodb": {"Keys": {"pk": {"S": "a"}}, "NewImage": image, "SequenceNumber": "1"},
    }
    (row,) = rows_of(TableColumns([DynamoDBJsonFormat]), Record(msgspec.json.encode(value)))
    assert {name: row[name] for name in image} == {
        "pk": "a",
        "b": b"\x00\x01\xff",
        "n": D("1.5"),
        "ss": ["x", "y"],
        "ns": [9, 10],
        "bs": [b"\x00\x01"],
        "m": {"yes": True},
        "l": [1, None],
    }


def test_a_change_of_a_stream_of_keys_has_the_keys_alone() -> None:
    value = {
        "eventName": "MODIFY",
        "eventSourceARN": "arn",
        "dynamodb": {"Keys": {"pk": {"S": "a"}}, "SequenceNumber": "1"},
    }
    columns = TableColumns([DynamoDBJsonFormat])
    (row,) = rows_of(columns, Record(msgspec.json.encode(value)))
    assert (row["__op"], row["pk"], columns.schema.names[6:]) == ("u", "a", ["pk"])


def test_a_document_with_small_type_letters_is_read() -> None:
    document = '{"pk":{"s":"a"},"m":{"m":{"l":{"l":[{"n":"1"},{"ss":["x"]}]}}}}'
    value = {"document": document, "source": {"table_name": "orders", "init_sync_state": "RUNNING"}, "op": "c"}
    (row,) = rows_of(TableColumns([TrustpilotFormat]), Record(msgspec.json.encode(value)))
    assert (row["pk"], row["m"]) == ("a", {"l": None, "l__json": '[1,["x"]]'})


def test_a_value_of_no_format_is_refused() -> None:
    columns = plain()
    (refused,) = columns.append([Record(b"no json"), debezium({"pk": "a"}, 1)])
    assert "is of no format" in str(refused.error)
    assert columns.rows == 1


def test_an_integer_of_38_digits_is_exact_and_a_number_beyond_makes_its_column_text(tmp_path: Path) -> None:
    columns = plain()
    assert columns.append([debezium({"n": NINES}, 1)]) == []
    first = columns.take()
    assert first.schema.field("n").type == pa.decimal128(38, 0)
    assert columns.widened() == []
    assert columns.append([debezium({"n": D("1E+100")}, 2), debezium({"n": D("0.5")}, 3)]) == []
    assert ["column n is text" in each for each in columns.widened()] == [True]
    read = by_duckdb(write(tmp_path, first, columns.take()))
    assert [D(row["n"]) for row in read] == [NINES, D("1E+100"), D("0.5")]


@pytest.mark.parametrize("value", ["text", 1, [1], {"k": "v"}, {"k": {"deep": 1}}])
@pytest.mark.parametrize(
    "next_value", ["text", 1, True, [1], ["x"], [{"a": 1}], [], {}, {"k": 1}, {"k": "v", "l": [1]}]
)
def test_a_changed_type_is_read_over_both_files(tmp_path: Path, value: Any, next_value: Any) -> None:
    columns = plain()
    assert columns.append([debezium({"x": value}, 1)]) == []
    tables = [columns.take()]
    assert columns.append([debezium({"x": next_value}, 2)]) == []
    rows = by_duckdb(write(tmp_path, *tables, columns.take()))
    assert [shows(row, {"x": each}) for row, each in zip(rows, (value, next_value), strict=True)] == [True, True]


def test_a_string_of_digits_is_no_number_for_the_quick_way_either() -> None:
    columns = plain()
    records = [debezium({"zip": D("1.5")}, each) for each in range(BLOCK_ROWS)]
    assert columns.append(records) == []
    (row,) = rows_of(columns, debezium({"zip": "00501"}, 9_999))[-1:]
    assert row["zip"] == "00501"


def test_a_thousand_columns_and_more(tmp_path: Path) -> None:
    columns = plain()
    item = {f"column{number}": number for number in range(1_000)}
    rows = [*rows_of(columns, debezium(item, 1)), *rows_of(columns, debezium({**item, "more": "x"}, 2))]
    assert len(columns.schema) == 1_007
    assert [row["column999"] for row in rows] == [999, 999]


def test_a_map_whose_keys_are_data_is_json() -> None:
    columns = plain()
    wide = {f"user{number}": number for number in range(1_001)}
    rows = rows_of(columns, debezium({"votes": {"user1": 1}}, 1), debezium({"votes": wide}, 2))
    assert (rows[0]["votes"], msgspec.json.decode(rows[1]["votes__json"])) == ({"user1": 1}, wide)


def test_a_column_more_than_there_is_room_for_is_refused() -> None:
    columns = plain()
    (refused,) = columns.append([debezium({f"column{number}": 1 for number in range(COLUMNS_MAX + 1)})])
    assert "room for 10,000 columns" in str(refused.error)


def test_no_rows_are_an_empty_table() -> None:
    columns = plain()
    assert columns.append([]) == []
    assert (columns.take().num_rows, columns.size_bytes) == (0, 0)


def test_two_attributes_of_one_column_are_refused_together_and_renamed_apart() -> None:
    columns = plain()
    (refused,) = columns.append([debezium({"id": 1, "ID": 2})])
    assert str(refused.error).startswith("attributes id and ID would be one column")
    renamed = plain(ID=ColumnOptions(name="upper_id"))
    (row,) = rows_of(renamed, debezium({"id": 1, "ID": 2}))
    assert (row["id"], row["upper_id"]) == (1, 2)


@pytest.mark.parametrize(
    ("declared", "value", "stored"),
    [
        ("string", 5, "5"),
        ("json", {"a": [D("1.50")]}, '{"a":[1.5]}'),
        ("json", "text", '"text"'),
        ("boolean", True, True),
        ("bigint", "12", 12),
        ("double", D("1E-20"), 1e-20),
        ("decimal(12, 2)", "7.5", D("7.50")),
        ("binary", "AAE=", b"\x00\x01"),
        ("list(string)", ["a", 1, None], ["a", "1", None]),
        ("map(bigint)", {"a": 1, "b": None}, [("a", 1), ("b", None)]),
    ],
)
def test_a_declared_column_has_its_type(declared: str, value: Any, stored: Any) -> None:
    columns = plain(x=ColumnOptions(type=declared))
    for offset in (1, 2):
        (row,) = rows_of(columns, debezium({"x": value}, offset))
        assert row["x"] == stored


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("boolean", 1),
        ("bigint", D("1.5")),
        ("bigint", 1 << 63),
        ("double", D("1E+400")),
        ("decimal(4, 2)", D("1.234")),
        ("decimal(4, 2)", 100),
        ("binary", "no base64!"),
        ("timestamp", "yesterday"),
        ("list(bigint)", "1"),
        ("map(string)", ["a"]),
    ],
)
def test_a_value_that_is_not_of_the_declared_type_is_refused(declared: str, value: Any) -> None:
    columns = plain(x=ColumnOptions(type=declared))
    (refused,) = columns.append([debezium({"x": value}, 1), debezium({"y": 1}, 2)])
    assert str(refused.error).startswith("column x: ")
    assert declared in str(refused.error)
    assert columns.rows == 1


def test_a_dropped_attribute_is_no_column() -> None:
    columns = plain(secret=ColumnOptions(drop=True))
    for offset in (1, 2):
        (row,) = rows_of(columns, debezium({"pk": "a", "secret": {"deep": "x"}}, offset))
        assert row["pk"] == "a"
    assert columns.schema.names[6:] == ["pk"]
