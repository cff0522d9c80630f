"""JsonConverter: the same bytes as Kafka Connect's, with schemas and without."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest

from tailrace.connect.data import DATE, TIME, TIMESTAMP, Schema, decimal, optional, struct
from tailrace.connect.errors import DataError
from tailrace.connect.json_converter import JsonConverter

ORDER = struct(
    "orders.Value",
    {
        "id": Schema("string"),
        "count": Schema("int32", optional=True, doc="how many", default=1),
        "total": decimal(2, optional=True),
        "tags": Schema("array", values=Schema("string")),
        "notes": Schema("map", keys=Schema("string"), values=Schema("int64", optional=True)),
        "by_number": Schema("map", keys=Schema("int32"), values=Schema("string")),
        "raw": Schema("bytes", optional=True),
        "at": Schema("int64", name=TIMESTAMP, version=1),
        "day": Schema("int32", name=DATE, version=1),
        "hour": Schema("int32", name=TIME, version=1),
    },
)
VALUE: dict[str, Any] = {
    "id": "a",
    "count": None,
    "total": Decimal("12.5"),
    "tags": ["x"],
    "notes": {"n": None},
    "by_number": {1: "one"},
    "raw": b"\x00\xff",
    "at": datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
    "day": date(1970, 1, 11),
    "hour": time(1, 0, 0, 5000),
}
PAYLOAD = {
    "id": "a",
    "count": 1,
    "total": "BOI=",
    "tags": ["x"],
    "notes": {"n": None},
    "by_number": [[1, "one"]],
    "raw": "AP8=",
    "at": 1767323045678,
    "day": 10,
    "hour": 3600005,
}


def test_a_struct_without_its_schema() -> None:
    encoded = JsonConverter(schemas=False).encode(ORDER, VALUE)
    assert encoded is not None
    assert json.loads(encoded) == PAYLOAD


def test_a_struct_with_its_schema_in_the_order_of_connect() -> None:
    schema = struct("k", {"id": Schema("string"), "n": Schema("int64", True, "N", 2, "doc", (("p", "1"),), 7)})
    assert JsonConverter().encode(schema, {"id": "a", "n": 8}) == (
        b'{"schema":{"type":"struct","fields":[{"type":"string","optional":false,"field":"id"},'
        b'{"type":"int64","optional":true,"name":"N","version":2,"doc":"doc","parameters":{"p":"1"},"default":7,'
        b'"field":"n"}],"optional":false,"name":"k"},"payload":{"id":"a","n":8}}'
    )


def test_floats_are_named_as_connect_names_them() -> None:
    assert JsonConverter().encode(Schema("float64"), 1.5) == (
        b'{"schema":{"type":"double","optional":false},"payload":1.5}'
    )


@pytest.mark.parametrize(
    ("number", "base64"),
    [("0", "AA=="), ("1.27", "fw=="), ("1.28", "AIA="), ("-1.28", "gA=="), ("-1.29", "/38="), ("655.35", "AP//")],
)
def test_decimals_are_unscaled_integers_in_twos_complement(number: str, base64: str) -> None:
    assert JsonConverter(schemas=False).encode(decimal(2), Decimal(number)) == f'"{base64}"'.encode()


def test_decimals_as_numbers_keep_their_digits() -> None:
    numeric = JsonConverter(schemas=False, decimals="NUMERIC")
    assert numeric.encode(decimal(30), Decimal("1.000000000000000000000000000001")) == (
        b"1.000000000000000000000000000001"
    )


def test_a_decimal_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="more than 2 digits"):
        JsonConverter().encode(decimal(2), Decimal("1.234"))


def test_nulls() -> None:
    converter = JsonConverter()
    assert converter.encode(None, None) is None
    assert converter.encode(Schema("string", optional=True), None) == (
        b'{"schema":{"type":"string","optional":true},"payload":null}'
    )
    with pytest.raises(DataError, match="required value is null"):
        converter.encode(Schema("string"), None)
    assert (
        JsonConverter(schemas=False, replace_null_with_default=False).encode(optional(Schema("int32", default=1)), None)
        == b"null"
    )


def test_values_without_a_schema() -> None:
    converter = JsonConverter()
    assert converter.encode(None, {"a": [1, True, None, b"\x01"], "d": Decimal("1.50")}) == (
        b'{"schema":null,"payload":{"a":[1,true,null,"AQ=="],"d":1.50}}'
    )
    assert JsonConverter(schemas=False).encode(None, {1: "x"}) == b'[[1,"x"]]'
