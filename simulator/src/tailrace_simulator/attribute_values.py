"""Attribute values as DynamoDB takes, stores and measures them.

An item is its DynamoDB JSON, decoded: `{"id": {"S": "a"}, "price": {"N": "1.5"}}`. Sources:
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html and
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html (sizes)
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from decimal import Decimal
from typing import Any, Final

from tailrace_simulator.aws_error import AwsError, invalid, invalid_parameter

AttributeValue = dict[str, Any]
"""One type's letters and its value: `{"N": "1"}`."""
Item = dict[str, AttributeValue]

ITEM_BYTES_MAX: Final = 400 * 1024
_DEPTH_MAX: Final = 32
_DIGITS_MAX: Final = 38
_MAGNITUDE_MAX: Final = 125
_MAGNITUDE_MIN: Final = -130
_SHORT_DIGITS: Final = 19
_is_number = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?").fullmatch
_SETS: Final = {"SS": "string", "NS": "number", "BS": "binary"}
_JSON_TYPES: Final[dict[str, type]] = {
    **dict.fromkeys(("S", "N", "B"), str),
    **dict.fromkeys(("BOOL", "NULL"), bool),
    **dict.fromkeys(("L", *_SETS), list),
    "M": dict,
}
_CONTAINER_BYTES: Final = 3


def normal_item(item: dict[str, Any]) -> Item:
    """Return the item as it is stored. Raises `AwsError` for what DynamoDB refuses, its size included."""
    stored = _normal_map(item, 0)
    if item_size(stored) > ITEM_BYTES_MAX:
        raise invalid("Item size has exceeded the maximum allowed size")
    return stored


def normal_value(value: Any, depth: int = 0) -> AttributeValue:
    """Return a value as it is stored: numbers in plain notation, sets sorted."""
    if depth >= _DEPTH_MAX:
        raise invalid(
            "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond "
            "supported limit"
        )
    if not isinstance(value, dict) or not value:
        raise invalid("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
    if len(value) > 1:
        raise invalid(
            "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported "
            "datatypes"
        )
    ((kind, content),) = value.items()
    return {kind: _content(kind, content, depth)}


def _content(kind: str, content: Any, depth: int) -> Any:
    if kind not in _JSON_TYPES:
        raise invalid("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
    if not _is_json_of(kind, content):
        raise wrong_type(f"an AttributeValue of type {kind}")
    if kind == "NULL" and not content:
        raise invalid_parameter("Null attribute value types must have the value of true")
    normal = content
    if kind == "N":
        normal = normal_number(content)
    elif kind == "B":
        normal = _normal_binary(content)
    elif kind == "M":
        normal = _normal_map(content, depth + 1)
    elif kind == "L":
        normal = [normal_value(value, depth + 1) for value in content]
    elif kind in _SETS:
        normal = _normal_set(kind, content)
    return normal


def _normal_map(members: dict[str, Any], depth: int) -> Item:
    if "" in members:
        raise invalid("Empty attribute name")
    return {name: normal_value(value, depth) for name, value in members.items()}


def _is_json_of(kind: str, content: object) -> bool:
    return isinstance(content, _JSON_TYPES[kind])


def wrong_type(what: str) -> AwsError:
    """Return the error for JSON of the wrong type."""
    return AwsError("SerializationException", f"The JSON of {what} is of the wrong type")


def normal_number(text: str) -> str:
    """Return a number as DynamoDB gives it back: no sign, zero or exponent more than is needed."""
    if len(text) < _SHORT_DIGITS and text.isdecimal() and text.isascii():
        return str(int(text))
    if not _is_number(text):
        raise invalid("The parameter cannot be converted to a numeric value: " + text[:100])
    return stored_number(Decimal(text))


def stored_number(value: Decimal) -> str:
    """Return a finite number in plain notation. Raises `AwsError` beyond 38 digits and beyond the range."""
    sign, digits, exponent = value.as_tuple()
    lowest = int(exponent)
    significant = list(digits)
    while significant and significant[-1] == 0:
        significant.pop()
        lowest += 1
    if not significant:
        return "0"
    magnitude = lowest + len(significant) - 1
    if len(significant) > _DIGITS_MAX:
        raise invalid("Attempting to store more than 38 significant digits in a Number")
    if magnitude > _MAGNITUDE_MAX:
        raise invalid("Number overflow. Attempting to store a number with magnitude larger than supported range")
    if magnitude < _MAGNITUDE_MIN:
        raise invalid("Number underflow. Attempting to store a number with magnitude smaller than supported range")
    return f"{Decimal((sign, significant, lowest)):f}"


def _normal_binary(text: str) -> str:
    try:
        return b64encode(b64decode(text, validate=True)).decode()
    except (binascii.Error, ValueError) as error:
        raise wrong_type("an AttributeValue of type B (it is not base64)") from error


def _normal_set(kind: str, members: list[Any]) -> list[str]:
    if not members:
        raise invalid_parameter(f"An {_SETS[kind]} set  may not be empty")
    normal = [_content(kind[0], member, 0) for member in members]
    if len(set(normal)) < len(normal):
        raise invalid_parameter(f"Input collection {members} contains duplicates.")
    return sorted(normal, key=lambda member: sort_key({kind[0]: member}))


def sort_key(value: AttributeValue) -> Any:
    """Return what values of one scalar type are ordered by: text and binary by bytes, numbers by value."""
    ((kind, content),) = value.items()
    if kind == "N":
        return Decimal(content)
    return b64decode(content) if kind == "B" else content.encode("utf-8", "surrogatepass")


def item_size(item: Item) -> int:
    """Measure an item in bytes, names included."""
    return sum(len(name.encode("utf-8", "surrogatepass")) + _value_size(value) for name, value in item.items())


def _value_size(value: AttributeValue) -> int:
    ((kind, content),) = value.items()
    size = 1
    if kind == "S":
        size = len(content.encode("utf-8", "surrogatepass"))
    elif kind == "N":
        size = _number_size(content)
    elif kind == "B":
        size = len(content) * 3 // 4 - content.count("=")
    elif kind in _SETS:
        size = sum(_value_size({kind[0]: member}) for member in content)
    elif kind == "M":
        size = _CONTAINER_BYTES + item_size(content) + len(content)
    elif kind == "L":
        size = _CONTAINER_BYTES + sum(1 + _value_size(member) for member in content)
    return size


def _number_size(text: str) -> int:
    """Measure a number: a byte for two significant digits, one for the exponent, one for a minus sign."""
    digits = text.lstrip("-").replace(".", "").strip("0")
    return (len(digits) + 1) // 2 + 1 + text.startswith("-")
