"""Reads Protocol Buffers' encoding of documents back."""

from __future__ import annotations

import struct
from typing import Any, Final

from tailrace.connect.data import Field, Schema
from tailrace.connect.errors import DataError
from tailrace.connect.protobuf_schema import FIRST_MESSAGE

_VARINT: Final = 0
_FIXED: Final = 1
_LENGTH: Final = 2
_WIRE_TYPES: Final = {"int64": _VARINT, "boolean": _VARINT, "float64": _FIXED}
_DEFAULTS: Final = {"string": "", "int64": 0, "boolean": False, "float64": 0.0}


def read_protobuf(schema: Schema, content: bytes) -> dict[str, Any]:
    """Return the value of a struct that `protobuf_schema(schema, optional_for_nullables=True)` wrote.

    Raises `DataError` for bytes that it did not.
    """
    if content[:1] != FIRST_MESSAGE:
        raise DataError("the bytes are not of their schema: they are of another message of it")
    try:
        return _message(schema, content[1:])
    except (IndexError, ValueError, struct.error) as error:
        raise DataError(f"the bytes are not of their schema: {error}") from None


def _message(schema: Schema, content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        number, wire_type = tag >> 3, tag & 7
        if not 0 < number <= len(schema.fields):
            raise DataError(f"the bytes are not of their schema: it has no field {number}")
        field = schema.fields[number - 1]
        if wire_type != _WIRE_TYPES.get(field.schema.type, _LENGTH):
            raise DataError(f"the bytes are not of their schema: field {number} has another type")
        if wire_type == _VARINT:
            part: Any
            part, at = _varint(content, at)
        else:
            count, at = _varint(content, at) if wire_type == _LENGTH else (8, at)
            part, at = content[at : at + count], at + count
            if len(part) != count:
                raise DataError("the bytes are not of their schema: they end too early")
        if field.schema.type == "array":
            found.setdefault(field.name, []).append(part.decode())
        else:
            found[field.name] = _value(field.schema, part)
    return {each.name: found[each.name] if each.name in found else _default(each) for each in schema.fields}


def _value(schema: Schema, part: Any) -> Any:
    match schema.type:
        case "struct":
            return _message(schema, part)
        case "string":
            return part.decode()
        case "float64":
            return struct.unpack("<d", part)[0]
        case "boolean":
            return bool(part)
        case "int64":
            return part - (1 << 64) if part >> 63 else part
    raise DataError(f"documents have no {schema.type}")


def _default(field: Field) -> Any:
    if field.schema.optional:
        return None
    if field.schema.type not in _DEFAULTS:
        raise DataError(f"the bytes are not of their schema: the field {field.name} is missing")
    return _DEFAULTS[field.schema.type]


def _varint(content: bytes, at: int) -> tuple[int, int]:
    found = shift = 0
    while True:
        byte = content[at]
        at += 1
        found |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return found, at
