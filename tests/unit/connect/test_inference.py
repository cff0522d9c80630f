"""Schemas of items: each of DynamoDB's types, what is merged, and what cannot be."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tailrace.connect.data import Schema, decimal, optional, struct
from tailrace.connect.errors import DataError
from tailrace.connect.inference import ConflictError, Inference, NumberType, complete, merge

TEXT, FLAG, BINARY = optional(Schema("string")), optional(Schema("boolean")), optional(Schema("bytes"))


def inferred(item: dict[str, Any], numbers: NumberType = "decimal") -> tuple[Schema, Any]:
    schema, value = Inference(numbers, scale=2).struct(item, "Value", frozenset(["id"]))
    assert schema is not None
    return schema, value


def test_every_type() -> None:
    item = {
        "id": {"S": "a"},
        "n": {"N": "1.5"},
        "flag": {"BOOL": True},
        "raw": {"B": "AQI="},
        "none": {"NULL": True},
        "tags": {"SS": ["b", "a"]},
        "sizes": {"NS": ["10", "9"]},
        "blobs": {"BS": ["AQ=="]},
        "lines": {"L": [{"M": {"sku": {"S": "x"}}}, {"M": {"count": {"N": "2"}}}, {"NULL": True}]},
        "address": {"M": {"zip": {"S": "1"}, "gone": {"NULL": True}}},
    }
    schema, value = inferred(item)
    line = struct("Value.lines", {"sku": TEXT, "count": optional(decimal(2))}, optional=True)
    assert schema == struct(
        "Value",
        {
            "address": struct("Value.address", {"zip": TEXT}, optional=True),
            "blobs": Schema("array", optional=True, values=Schema("bytes")),
            "flag": FLAG,
            "id": Schema("string"),
            "lines": Schema("array", optional=True, values=line),
            "n": optional(decimal(2)),
            "raw": BINARY,
            "sizes": Schema("array", optional=True, values=decimal(2)),
            "tags": Schema("array", optional=True, values=Schema("string")),
        },
    )
    assert value == {
        "id": "a",
        "n": Decimal("1.5"),
        "flag": True,
        "raw": b"\x01\x02",
        "tags": ["a", "b"],
        "sizes": [Decimal(9), Decimal(10)],
        "blobs": [b"\x01"],
        "lines": [{"sku": "x"}, {"count": Decimal(2)}, None],
        "address": {"zip": "1"},
    }


@pytest.mark.parametrize(
    ("numbers", "schema", "value"),
    [
        ("decimal", decimal(2), Decimal("12345678901234567890123456789012345678")),
        ("string", Schema("string"), "12345678901234567890123456789012345678"),
        ("double", Schema("float64"), 1.2345678901234568e37),
    ],
)
def test_numbers(numbers: NumberType, schema: Schema, value: Any) -> None:
    found, values = inferred({"id": {"N": "12345678901234567890123456789012345678"}}, numbers)
    assert found == struct("Value", {"id": schema})
    assert values == {"id": value}


def test_equal_numbers_have_one_text() -> None:
    texts = [inferred({"id": {"N": text}}, "string")[1]["id"] for text in ("100", "1E+2", "100.0")]
    assert texts == ["100", "100", "100"]


def test_fields_that_one_of_two_schemas_has_are_optional_and_stand_at_the_end() -> None:
    one, _ = inferred({"id": {"S": "a"}, "z": {"S": ""}, "m": {"M": {"x": {"S": ""}}}})
    other, _ = inferred({"id": {"S": "b"}, "b": {"BOOL": False}, "m": {"M": {"y": {"S": ""}}}})
    nested = struct("Value.m", {"x": TEXT, "y": TEXT}, optional=True)
    assert merge(one, other) == struct("Value", {"id": Schema("string"), "m": nested, "z": TEXT, "b": FLAG})
    assert merge(one, merge(one, other)) == struct(
        "Value", {"id": Schema("string"), "m": nested, "z": TEXT, "b": FLAG}
    ), "what is there already adds nothing"


def test_a_null_and_an_empty_list_agree_with_any_type() -> None:
    unknown, _ = inferred({"id": {"S": "a"}, "n": {"NULL": True}, "l": {"L": []}})
    known, _ = inferred({"id": {"S": "a"}, "n": {"N": "1"}, "l": {"L": [{"N": "1"}]}})
    numbers = Schema("array", optional=True, values=optional(decimal(2)))
    assert merge(unknown, known) == struct("Value", {"id": Schema("string"), "l": numbers, "n": optional(decimal(2))})
    texts = Schema("array", optional=True, values=TEXT)
    assert complete(unknown) == struct("Value", {"id": Schema("string"), "l": texts})


@pytest.mark.parametrize(
    ("one", "other", "sentence"),
    [
        ({"a": {"S": "x"}}, {"a": {"N": "1"}}, "attribute a is text and a number: "),
        ({"m": {"M": {"a": {"B": "AQ=="}}}}, {"m": {"M": {"a": {"BOOL": True}}}}, "attribute m.a is binary and a bool"),
        ({"l": {"SS": ["x"]}}, {"l": {"L": [{"M": {}}]}}, "attribute l[] is text and a map: "),
        ({"l": {"L": []}}, {"l": {"M": {}}}, "attribute l is a list or set and a map: "),
    ],
)
def test_types_that_do_not_agree_are_named(one: dict[str, Any], other: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConflictError) as error:
        merge(inferred(one)[0], inferred(other)[0])
    assert str(error.value).startswith(sentence)


def test_a_list_of_several_types_is_a_conflict() -> None:
    with pytest.raises(ConflictError, match=r"attribute m.l\[\] is text and a number"):
        inferred({"m": {"M": {"l": {"L": [{"S": "x"}, {"N": "1"}]}}}})


@pytest.mark.parametrize(
    "typed", [{"N": "NaN"}, {"N": 1}, {"B": "?"}, {"S": 1}, {"BOOL": "x"}, {"X": 1}, {"SS": [1]}, {}]
)
def test_what_is_no_attribute_value_is_named(typed: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"attribute m\.a: "):
        inferred({"m": {"M": {"a": typed}}})
