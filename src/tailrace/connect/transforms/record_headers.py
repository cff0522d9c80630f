"""Transforms of headers, as Apache Kafka's do."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from tailrace.connect.data import ConnectRecord, Field, Header, Schema
from tailrace.connect.errors import DataError
from tailrace.connect.options import Options
from tailrace.connect.transforms.part import Part, mapping_of, replaced, schema_of, value_of


class DropHeaders:
    """Leaves headers out."""

    def __init__(self, options: Options, part: Part) -> None:
        del part
        self._names = frozenset(options.entries("headers"))
        if not self._names:
            raise options.error("headers", "is missing")

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:
        """Return the record."""
        kept = tuple(each for each in record.headers if each.name not in self._names)
        return msgspec.structs.replace(record, headers=kept)


class InsertHeader:
    """Adds a fixed header, whose value is JSON if it can be, else text (Connect's Values.parseString)."""

    def __init__(self, options: Options, part: Part) -> None:
        del part
        value, schema = _parsed(options.text("value.literal"))
        self._header = Header(options.text("header"), value, schema)

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:
        """Return the record."""
        return msgspec.structs.replace(record, headers=(*record.headers, self._header))


class HeaderFrom:
    """Moves or copies fields into headers."""

    def __init__(self, options: Options, part: Part) -> None:
        self._part = part
        self._fields, self._names = options.entries("fields"), options.entries("headers")
        self._moves = options.choice("operation", ("move", "copy")) == "move"
        options.flag("replace.null.with.default", True)
        if not self._fields or len(self._fields) != len(self._names):
            raise options.error("headers", "must have as many entries as `fields`")

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:
        """Return the record."""
        if value_of(record, self._part) is None:
            return record
        value = dict(mapping_of(record, self._part, "HeaderFrom"))
        schema = schema_of(record, self._part)
        fields: tuple[Field, ...] = () if schema is None else schema.fields
        headers = list(record.headers)
        for field_name, header in zip(self._fields, self._names, strict=True):
            its_schema = None
            if schema is not None:
                if (found := schema.field(field_name)) is None:
                    raise DataError(f"field does not exist: {field_name}")
                its_schema = found.schema
            headers.append(Header(header, value.get(field_name), its_schema))
            if self._moves:
                value.pop(field_name, None)
                fields = tuple(each for each in fields if each.name != field_name)
        changed = None if schema is None else msgspec.structs.replace(schema, fields=fields)
        moved = replaced(record, self._part, changed, value)
        return msgspec.structs.replace(moved, headers=tuple(headers))


def _parsed(text: str) -> tuple[Any, Schema]:
    """Return a literal and its schema: true and false, whole numbers, others, else text."""
    if text in {"true", "false"}:
        return text == "true", Schema("boolean")
    try:
        number = json.loads(text)
    except ValueError:
        return text, Schema("string")
    if isinstance(number, bool) or not isinstance(number, int | float):
        return text, Schema("string")
    if isinstance(number, float):
        return number, Schema("float64")
    for bits in (8, 16, 32, 64):
        if -(1 << (bits - 1)) <= number < 1 << (bits - 1):
            return number, Schema(f"int{bits}")  # type: ignore[arg-type]  # one of the four
    return text, Schema("string")
