"""Items as values of a declared schema: each type, what does not fit, and what a reader that is not ours has of it."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailrace.connect.avro_schema import avro_schema
from tailrace.connect.declared import Declared, Undeclared
from tailrace.connect.errors import DataError
from tailrace.connect.schema_reading import read_schema

ORDER: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "count", "type": "int", "default": 1},
        {"name": "total", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2}]},
        {"name": "weight", "type": ["double", "null"]},
        {"name": "paid", "type": ["null", "boolean"], "default": None},
        {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
        {"name": "day", "type": ["null", {"type": "int", "logicalType": "date"}]},
        {"name": "clock", "type": ["null", {"type": "int", "logicalType": "time-millis"}]},
        {"name": "raw", "type": ["null", "bytes"]},
        {"name": "tags", "type": ["null", {"type": "array", "items": "string"}]},
        {"name": "votes", "type": ["null", {"type": "map", "values": "long"}]},
        {
            "name": "to",
            "type": ["null", {"type": "record", "name": "To", "fields": [{"name": "zip", "type": "string"}]}],
        },
    ],
}
WHOLE = {
    "id": {"N": "12"},
    "count": {"N": "3.0"},
    "total": {"N": "-123.45"},
    "weight": {"N": "0.1"},
    "paid": {"BOOL": False},
    "at": {"N": "1700000000123"},
    "day": {"S": "2026-01-02"},
    "clock": {"N": "1000"},
    "raw": {"B": "AQI="},
    "tags": {"SS": ["b", "a"]},
    "votes": {"M": {"any": {"N": "7"}}},
    "to": {"M": {"zip": {"S": "1"}}},
}


def order(undeclared: Undeclared = "refuse") -> Declared:
    return Declared(read_schema("AVRO", json.dumps(ORDER)), undeclared)


def read(declared: Declared, value: Any) -> Any:
    written = avro_schema(declared.schema)
    return fastavro.schemaless_reader(io.BytesIO(written.encode(value)), json.loads(written.text), None)


def test_every_type() -> None:
    declared = order()
    assert read(declared, declared.item(WHOLE)) == {
        "id": "12",
        "count": 3,
        "total": Decimal("-123.45"),
        "weight": 0.1,
        "paid": False,
        "at": datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC),
        "day": date(2026, 1, 2),
        "clock": time(0, 0, 1),
        "raw": b"\x01\x02",
        "tags": ["a", "b"],
        "votes": {"any": 7},
        "to": {"zip": "1"},
    }
    least = read(declared, declared.item({"id": {"S": "a"}, "paid": {"NULL": True}}))
    assert {name: value for name, value in least.items() if value is not None} == {"id": "a", "count": 1}
    schema, key = declared.key({"id": {"S": "a"}, "count": {"N": "2"}}, "shop.Key")
    assert [each.name for each in schema.fields] == ["count", "id"]
    assert key == {"count": 2, "id": "a"}


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("id", None, "attribute id is missing, and the declared schema requires it"),
        ("id", {"NULL": True}, "attribute id is null, and the declared schema requires it"),
        ("id", {"BOOL": True}, "attribute id is declared as string, and this value of DynamoDB's type BOOL is none"),
        ("count", {"N": "1.5"}, "attribute count: the number 1.5 is no int32, as which the schema declares it"),
        ("count", {"N": "2147483648"}, "the number 2147483648 is no int32"),
        ("total", {"N": "1000"}, "the number 1000 does not fit a decimal of 5 digits, 2 of them behind the point"),
        ("total", {"N": "0.001"}, "the number 0.001 does not fit a decimal of 5 digits"),
        ("total", {"S": "1"}, "attribute total is declared as Decimal, and this value of DynamoDB's type S is none"),
        ("weight", {"N": "1E400"}, "attribute weight is declared as float64"),
        ("day", {"S": "yesterday"}, "attribute day is declared as Date"),
        ("at", {"S": "2026-01-02T03:04:05.123456Z"}, "attribute at is declared as Timestamp"),
        ("clock", {"S": "03:04:05+01:00"}, "attribute clock is declared as Time"),
        ("raw", {"B": "?"}, "attribute raw is declared as bytes"),
        ("tags", {"L": [{"NULL": True}]}, r"attribute tags\[\] is null, and the declared schema requires it"),
        ("to", {"M": {}}, "attribute to.zip is missing, and the declared schema requires it"),
        ("to", {"M": {"zip": {"S": "1"}, "x": {"S": "1"}}}, "attribute to.x is not in the declared schema"),
        ("other", {"S": "x"}, "attribute other is not in the declared schema: add it there"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(attribute: str, value: Any, message: str) -> None:
    item = {name: each for name, each in (WHOLE | {attribute: value}).items() if each is not None}
    with pytest.raises(DataError, match=message):
        order().item(item)


def test_what_is_not_declared_can_be_left_out() -> None:
    declared = order("ignore")
    item = {"id": {"S": "a"}, "other": {"S": "x"}, "to": {"M": {"zip": {"S": "1"}, "x": {"S": "1"}}}}
    value = declared.item(item)
    assert "other" not in value
    assert value["to"] == {"zip": "1"}
    with pytest.raises(DataError, match="the key attribute other is not in the declared schema"):
        declared.key({"other": {"S": "x"}}, "shop.Key")


VALUES = st.sampled_from(
    [
        *WHOLE.values(),
        {"N": "0"},
        {"N": "1E3"},
        {"N": "-99999999999999999999"},
        {"S": ""},
        {"S": "2026-01-02T03:04:05Z"},
        {"S": "2026-01-02T03:04:05.678+02:00"},
        {"S": "03:04:05.006"},
        {"NULL": True},
        {"L": [{"N": "1"}]},
        {"L": "x"},
        {"X": 1},
        {},
        "x",
    ]
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from([*WHOLE, "other"]), VALUES, max_size=6))
def test_any_item_fits_and_is_read_or_is_refused(item: dict[str, Any]) -> None:
    declared = order()
    try:
        value = declared.item({"id": {"S": "a"}} | item)
    except DataError:
        return
    assert read(declared, value) == value
