"""Hypothesis strategies for DynamoDB items, and the reference conversion that boto3 makes of them."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import Binary, TypeDeserializer, TypeSerializer
from hypothesis import strategies as st

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


def _number(sign: int, coefficient: int, exponent: int) -> Decimal:
    digits = tuple(int(digit) for digit in str(coefficient))
    return Decimal((sign, digits, max(-130, min(exponent, 126 - len(digits)))))


numbers = st.builds(
    _number,
    st.integers(0, 1),
    st.integers(0, 10**38 - 1) | st.integers(0, 1000),
    st.integers(-130, 125) | st.integers(-3, 3),
)
names = st.text(max_size=8) | st.sampled_from(['"', "\\", "\x00\x1f\x7f", "\u2028", "😀", "\uffff", "__proto__", ""])
_scalars = st.none() | st.booleans() | st.text(max_size=12) | numbers | st.binary(max_size=12)
_sets = (
    st.sets(st.text(max_size=5), min_size=1, max_size=4)
    | st.sets(numbers, min_size=1, max_size=4)
    | st.sets(st.binary(max_size=5), min_size=1, max_size=4)
)
values = st.recursive(
    _scalars | _sets,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
items = st.dictionaries(names, values, max_size=6)


def as_aws_sends(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item of Python values as DynamoDB JSON, binaries in base64."""
    return {name: _in_base64(_serialize(value)) for name, value in item.items()}


def _in_base64(typed: dict[str, Any]) -> dict[str, Any]:
    ((tag, value),) = typed.items()
    match tag:
        case "B":
            value = base64.b64encode(value).decode()
        case "BS":
            value = [base64.b64encode(member).decode() for member in value]
        case "M":
            value = {name: _in_base64(member) for name, member in value.items()}
        case "L":
            value = [_in_base64(member) for member in value]
    return {tag: value}


def reference(image: dict[str, Any]) -> object:
    """Return what boto3 reads in DynamoDB JSON, in the shape that `parsed` gives to our JSON."""
    return _comparable({name: _deserialize(_in_bytes(typed)) for name, typed in image.items()})


def parsed(text: bytes) -> object:
    """Parse our JSON with every digit, so that it compares with `reference`."""
    return _comparable(json.loads(text, parse_float=Decimal, parse_int=Decimal))


def _in_bytes(typed: dict[str, Any]) -> dict[str, Any]:
    ((tag, value),) = typed.items()
    match tag:
        case "B":
            value = base64.b64decode(value)
        case "BS":
            value = [base64.b64decode(member) for member in value]
        case "M":
            value = {name: _in_bytes(member) for name, member in value.items()}
        case "L":
            value = [_in_bytes(member) for member in value]
    return {tag: value}


def _comparable(value: Any) -> object:
    """Tag booleans and numbers, which Python holds equal; write sets and binaries as the promise says."""
    match value:
        case bool():
            shape: object = ("boolean", value)
        case Decimal():
            shape = ("number", value)
        case Binary() | bytes():
            shape = base64.b64encode(bytes(value)).decode()
        case set():
            members = sorted(bytes(member) if isinstance(member, Binary) else member for member in value)
            shape = [_comparable(member) for member in members]
        case list():
            shape = [_comparable(member) for member in value]
        case dict():
            shape = {name: _comparable(member) for name, member in value.items()}
        case _:
            shape = value
    return shape
