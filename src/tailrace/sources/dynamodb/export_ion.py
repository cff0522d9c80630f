"""Exports in Amazon Ion: a line's values become the DynamoDB JSON that a read of the table returns.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html#S3DataExport.Output_Data_ION
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec
from amazon.ion.exceptions import IonException
from amazon.ion.simple_types import IonPyNull
from amazon.ion.simpleion import IonPyValueModel, loads

from tailrace.sources.dynamodb.export_lines import Line

_encode = msgspec.json.Encoder().encode
_escapes: Final = re.compile(rb"\\(?:U([0-9A-Fa-f]{8})|.)").sub
_SETS: Final[dict[str, tuple[str, type]]] = {
    "$dynamodb_SS": ("SS", str),
    "$dynamodb_NS": ("NS", Decimal),
    "$dynamodb_BS": ("BS", bytes),
}


def parse_ion(line: bytes) -> Line:
    """Parse a line; those of incremental exports wrap all of it in `Record`. Raises ValueError."""
    if b"\\U" in line:
        line = _escapes(_written_out, line)
    try:
        top = loads(line, single_value=True, value_model=IonPyValueModel.MAY_BE_BARE)
    except (IonException, ArithmeticError) as error:
        raise ValueError(str(error)) from error
    if isinstance(top, Mapping):
        top = top.get("Record", top)
    if not isinstance(top, Mapping):
        raise ValueError("it is not an Ion struct")  # noqa: TRY004 - as all that is wrong with a line
    return Line(**{field: _image(top.get(name)) for field, name in _FIELDS.items()})


def _written_out(escape: re.Match[bytes]) -> bytes:
    r"""Return the character of an escape like `\U0001d800`, some of which the library takes for surrogates."""
    return chr(int(escape[1], 16)).encode() if escape[1] else escape[0]


_FIELDS: Final = {"item": "Item", "keys": "Keys", "old_image": "OldImage", "new_image": "NewImage"}


def _image(struct: Any) -> msgspec.Raw:
    if struct is None:
        return msgspec.Raw()
    if not isinstance(struct, Mapping):
        raise ValueError("an image is not an Ion struct")  # noqa: TRY004
    return msgspec.Raw(_encode(_map(struct)))


def _map(struct: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): _typed(value) for name, value in struct.items()}


def _typed(value: Any) -> dict[str, Any]:
    """Return a value with DynamoDB's name of its type."""
    for kind, (tag, convert) in _CONVERSIONS.items():
        if isinstance(value, kind):
            return {tag: convert(value)}
    if isinstance(value, list):
        annotations = [each.text for each in getattr(value, "ion_annotations", ())]
        if not annotations:
            return {"L": [_typed(member) for member in value]}
        tag, kind = _SETS.get(annotations[0], ("", object))
        if tag and all(isinstance(member, kind) for member in value):
            return {tag: [_CONVERSIONS[kind][1](member) for member in value]}
    raise ValueError(f"DynamoDB has no such type: {type(value).__name__} {getattr(value, 'ion_annotations', '')}")


def _number(value: Decimal) -> str:
    """Return a number as DynamoDB writes it: without exponent, and without zeros at the end of its fraction."""
    if not value.is_finite():
        raise ValueError("a number is not finite")
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _base64(value: bytes) -> str:
    return b2a_base64(value, newline=False).decode()


_CONVERSIONS: Final[dict[type, tuple[str, Callable[[Any], Any]]]] = {
    str: ("S", str),
    Decimal: ("N", _number),
    bool: ("BOOL", bool),
    bytes: ("B", _base64),
    type(None): ("NULL", lambda _: True),
    IonPyNull: ("NULL", lambda _: True),
    Mapping: ("M", _map),
}
"""By the class of an Ion value: DynamoDB's type, and its value in DynamoDB JSON."""
