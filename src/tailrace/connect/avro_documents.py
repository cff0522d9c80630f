"""Writes documents in Avro's binary encoding, the same as `avro_schema` writes: quicker, as each change is one."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from msgspec.structs import astuple

from tailrace.connect.avro_schema import long
from tailrace.connect.document import Document, Shape, Whole, fields_of

Write = Callable[[Any], bytes]

_NULL: Final = b"\x00"
_NOT_NULL: Final = b"\x02"
_FLAGS: Final = (b"\x00", b"\x01")
_SHORT: Final = 4_096

_long: Final = lru_cache(maxsize=4_096)(long)
"""Changes of a page share their times."""
_LENGTHS: Final = [long(length) for length in range(_SHORT)]


def avro_writer(shape: Shape) -> Callable[[bytes], bytes]:
    """Return what writes messages of a shape; it raises `DataError` for one of another."""
    if isinstance(shape, Whole):
        return _bytes
    write, decode = _writer(shape.kind), shape.decode
    return lambda message: write(decode(message))


def _writer(kind: type[Document]) -> Write:
    writers = []
    for each in fields_of(kind):
        if each.inner is not None:
            write = _writer(each.inner)
            writers.append(_or_null(write) if each.schema.optional else write)
        elif each.is_json:
            writers.append(_json_or_null if each.schema.optional else _json)
        else:
            write = _WRITERS[each.schema.type]
            writers.append(_or_null(write) if each.schema.optional else write)

    def write_all(document: Document) -> bytes:
        return b"".join([write(value) for write, value in zip(writers, astuple(document), strict=True)])

    return write_all


def _or_null(write: Write) -> Write:
    return lambda value: _NULL if value is None else _NOT_NULL + write(value)


def _bytes(content: bytes) -> bytes:
    length = len(content)
    return (_LENGTHS[length] if length < _SHORT else long(length)) + content


def _text(value: str) -> bytes:
    return _bytes(value.encode())


def _json(value: Any) -> bytes:
    return _bytes(bytes(value))


def _json_or_null(value: Any) -> bytes:
    text = bytes(value)
    return _NULL if text in {b"", b"null"} else _NOT_NULL + _bytes(text)


def _texts(values: list[str]) -> bytes:
    return b"".join([*([long(len(values))] if values else []), *map(_text, values), _NULL])


_WRITERS: Final[dict[str, Write]] = {
    "string": _text,
    "int64": _long,
    "float64": struct.Struct("<d").pack,
    "boolean": lambda value: _FLAGS[value],
    "array": _texts,
}
