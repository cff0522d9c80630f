"""Writes documents in Avro's binary encoding, the same as `avro_schema` writes: quicker, as each change is one."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from operator import call
from typing import Any, Final

from msgspec.structs import astuple

from tailrace.connect.avro_schema import long
from tailrace.connect.document import Document, DocumentField, Shape, Whole, fields_of

Write = Callable[[Any], bytes]

_NULL: Final = b"\x00"
_NOT_NULL: Final = b"\x02"
_FLAGS: Final = (b"\x00", b"\x01")
_NO_JSON: Final = (b"null", b"")
_SHORT: Final = 4_096

_long: Final = lru_cache(maxsize=4_096)(long)
"""Changes of a page share their times, as they do most of their texts."""
_LENGTHS: Final = [long(length) for length in range(_SHORT)]
_NOT_NULL_LENGTHS: Final = [_NOT_NULL + length for length in _LENGTHS]


def avro_writer(shape: Shape) -> Callable[[bytes], bytes]:
    """Return what writes messages of a shape; it raises `DataError` for one of another."""
    if isinstance(shape, Whole):
        return _bytes
    write, decode = _writer(shape.kind), shape.decode
    return lambda message: write(decode(message))


def _writer(kind: type[Document]) -> Write:
    writers = [_field_writer(each) for each in fields_of(kind)]

    def write_all(document: Document) -> bytes:
        return b"".join(map(call, writers, astuple(document)))

    return write_all


def _field_writer(field: DocumentField) -> Write:
    if field.is_json:
        return _json_or_null if field.schema.optional else _json
    if field.schema.type == "string" and field.schema.optional:
        return _text_or_null
    write = _WRITERS[field.schema.type] if field.inner is None else _writer(field.inner)
    return _or_null(write) if field.schema.optional else write


def _or_null(write: Write) -> Write:
    return lambda value: _NULL if value is None else _NOT_NULL + write(value)


# What is written for each change is repeated in place of calls, which would cost more than the rest.


def _bytes(content: bytes) -> bytes:
    length = len(content)
    return (_LENGTHS[length] if length < _SHORT else long(length)) + content


@lru_cache(maxsize=256)
def _text(value: str) -> bytes:
    content = value.encode()
    length = len(content)
    return (_LENGTHS[length] if length < _SHORT else long(length)) + content


def _text_or_null(value: str | None) -> bytes:
    if value is None:
        return _NULL
    content = value.encode()
    length = len(content)
    return (_NOT_NULL_LENGTHS[length] if length < _SHORT else _NOT_NULL + long(length)) + content


def _json(value: Any) -> bytes:
    return _bytes(bytes(value))


def _json_or_null(value: Any) -> bytes:
    length = len(value)
    if length <= 4 and bytes(value) in _NO_JSON:
        return _NULL
    encoded: bytes = (_NOT_NULL_LENGTHS[length] if length < _SHORT else _NOT_NULL + long(length)) + value
    return encoded


def _texts(values: list[str]) -> bytes:
    return b"".join([*([long(len(values))] if values else []), *map(_text, values), _NULL])


_WRITERS: Final[dict[str, Write]] = {
    "string": _text,
    "int64": _long,
    "float64": struct.Struct("<d").pack,
    "boolean": lambda value: _FLAGS[value],
    "array": _texts,
}
