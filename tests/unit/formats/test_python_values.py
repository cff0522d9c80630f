"""Items as Python values and back: what is not changed keeps its bytes, what is changed is exact or refused."""

from __future__ import annotations

import json
from base64 import b64encode
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given

from support.dynamodb_items import as_aws_sends, items
from tailrace.errors import RecordError
from tailrace.formats.attribute_value import sorted_image, to_json
from tailrace.formats.python_values import from_python, to_python

ONE_OF_EACH: dict[str, Any] = {
    "S": {"S": "text"},
    "N": {"N": "1.50"},
    "B": {"B": "AQI="},
    "BOOL": {"BOOL": True},
    "NULL": {"NULL": True},
    "M": {"M": {"inner": {"N": "1E2"}}},
    "L": {"L": [{"S": "a"}, {"N": "-0.0"}]},
    "SS": {"SS": ["b", "a"]},
    "NS": {"NS": ["2.0", "1"]},
    "BS": {"BS": ["Ag==", "AQ=="]},
}


def raw(image: Any) -> bytes:
    return json.dumps(image).encode()


@given(items)
def test_an_item_that_nobody_changed_keeps_its_bytes(item: dict[str, Any]) -> None:
    image = msgspec.json.encode(as_aws_sends(item))
    again = from_python(to_python(image), image)
    assert sorted_image(again) == sorted_image(image)
    assert to_json(again, "exact") == to_json(image, "exact")
    assert to_json(again, "string") == to_json(image, "string")


@given(items)
def test_an_item_made_anew_has_the_same_values(item: dict[str, Any]) -> None:
    image = msgspec.json.encode(as_aws_sends(item))
    assert to_python(from_python(to_python(image), None)) == to_python(image)


def test_each_type_has_its_python_value() -> None:
    assert to_python(raw(ONE_OF_EACH)) == {
        "S": "text",
        "N": Decimal("1.50"),
        "B": b"\x01\x02",
        "BOOL": True,
        "NULL": None,
        "M": {"inner": Decimal(100)},
        "L": ["a", Decimal(0)],
        "SS": {"a", "b"},
        "NS": {Decimal(1), Decimal(2)},
        "BS": {b"\x01", b"\x02"},
    }


def test_values_beside_a_changed_one_keep_their_text() -> None:
    item = to_python(raw(ONE_OF_EACH))
    item["S"] = "other"
    item["M"]["more"] = 7
    item["L"].append(None)
    changed = {
        **ONE_OF_EACH,
        "S": {"S": "other"},
        "M": {"M": {"inner": {"N": "1E2"}, "more": {"N": "7"}}},
        "L": {"L": [{"S": "a"}, {"N": "-0.0"}, {"NULL": True}]},
    }
    assert json.loads(from_python(item, raw(ONE_OF_EACH))) == changed


@pytest.mark.parametrize(
    ("value", "typed"),
    [
        (12345678901234567890123456789012345678, {"N": "12345678901234567890123456789012345678"}),
        (Decimal("1.10"), {"N": "1.10"}),
        (bytearray(b"ab"), {"B": b64encode(b"ab").decode()}),
        (("a", 1), {"L": [{"S": "a"}, {"N": "1"}]}),
        (frozenset({"b", "a"}), {"SS": ["a", "b"]}),
        ({10, Decimal("9.5")}, {"NS": ["9.5", "10"]}),
        ({b"b", b"a"}, {"BS": ["YQ==", "Yg=="]}),
        (False, {"BOOL": False}),
    ],
)
def test_new_values_are_written_exactly(value: object, typed: object) -> None:
    assert json.loads(from_python({"a": value}, raw({"a": {"S": "old"}}))) == {"a": typed}


def _deep(levels: int) -> dict[str, Any]:
    item: dict[str, Any] = {"leaf": 1}
    for _ in range(levels - 1):
        item = {"deeper": item}
    return item


def _endless() -> dict[str, Any]:
    item: dict[str, Any] = {}
    item["itself"] = item
    return item


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        ({"price": 1.5}, "attribute price: a float is not exact; make it a Decimal"),
        ({"a": [{"b": object()}]}, "attribute a[0].b: a object is no DynamoDB value"),
        ({"a": Decimal("NaN")}, "attribute a: its number is not finite"),
        ({"a": set()}, "attribute a: a set holds"),
        ({"a": {"x", 1}}, "attribute a: a set holds"),
        ({"a": {True}}, "attribute a: a set holds"),
        ({1: "x"}, "attribute 1: an attribute's name is not a str"),
        ({"a": "\ud800"}, "the item cannot be written"),
        (_deep(33), "it is nested deeper than 32 levels"),
        (_endless(), "it is nested deeper than 32 levels"),
    ],
)
def test_what_dynamodb_cannot_hold_is_refused_with_its_place(item: Any, sentence: str) -> None:
    with pytest.raises(RecordError) as error:
        from_python(item, None)
    assert sentence in str(error.value)


def test_the_deepest_item_of_dynamodb_is_written() -> None:
    assert to_python(from_python(_deep(32), None)) == _deep(32)


@pytest.mark.parametrize(
    "image", [b'{"a":{"N":"x"}}', b'{"a":{"Q":"x"}}', b"[]", b'{"a":{"N":1}}', b'{"a":{"SS":"x"}}']
)
def test_an_image_that_aws_does_not_send_is_refused(image: bytes) -> None:
    with pytest.raises(RecordError):
        to_python(image)
