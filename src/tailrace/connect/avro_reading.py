"""Reads Avro's binary encoding of documents back."""

from __future__ import annotations

import struct
from typing import Any

from tailrace.connect.data import Schema
from tailrace.connect.errors import DataError


def read_avro(schema: Schema, content: bytes) -> dict[str, Any]:
    """Return the value of a struct that `avro_schema(schema)` wrote. Raises `DataError` for bytes that it did not."""
    reading = _Reading(content)
    try:
        value = reading.value(schema)
    except (IndexError, ValueError, struct.error) as error:
        raise DataError(f"the bytes are not of their schema: {error}") from None
    if reading.at != len(content) or not isinstance(value, dict):
        raise DataError("the bytes are not of their schema: some are left over")
    return value


class _Reading:
    """Where one record has been read to."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.at = 0

    def value(self, schema: Schema) -> Any:
        if schema.optional and self._one_of(b"\x00\x02") == 0:
            return None
        if schema.type == "struct":
            return {each.name: self.value(each.schema) for each in schema.fields}
        if schema.type == "array" and schema.values is not None:
            return self._array(schema.values)
        return self._primitive(schema)

    def _primitive(self, schema: Schema) -> Any:
        match schema.type:
            case "string":
                return self._bytes(self._long()).decode()
            case "int64":
                return self._long()
            case "float64":
                return struct.unpack("<d", self._bytes(8))[0]
            case "boolean":
                return self._one_of(b"\x00\x01") == 1
        raise DataError(f"documents have no {schema.type}")

    def _array(self, values: Schema) -> list[Any]:
        found: list[Any] = []
        while count := self._long():
            if not 0 < count <= len(self._content):
                raise DataError("the bytes are not of their schema: an array has a wrong size")
            found += [self.value(values) for _ in range(count)]
        return found

    def _one_of(self, known: bytes) -> int:
        found = self._bytes(1)[0]
        if found not in known:
            raise DataError("the bytes are not of their schema: a byte is none that can stand there")
        return found

    def _long(self) -> int:
        found = shift = 0
        while True:
            byte = self._bytes(1)[0]
            found |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return (found >> 1) ^ -(found & 1)

    def _bytes(self, count: int) -> bytes:
        found = self._content[self.at : self.at + count]
        if count < 0 or len(found) != count:
            raise DataError("the bytes are not of their schema: they end too early")
        self.at += count
        return found
