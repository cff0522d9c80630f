"""Kafka Connect's data model: schemas, their logical types, and a record of a source connector.

Source: https://kafka.apache.org/41/javadoc/org/apache/kafka/connect/data/package-summary.html

A value of a schema in Python: `int`, `float`, `bool`, `str` and `bytes`; a list for an array; a dict for a map or a
struct (its fields by name); `Decimal`, `date`, `time` and an aware `datetime` for the logical types; None where the
schema is optional. Without a schema (None) a value is what JSON has, or bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

SchemaType = Literal[
    "int8", "int16", "int32", "int64", "float32", "float64", "boolean", "string", "bytes", "array", "map", "struct"
]
"""Names of the types, as JsonConverter writes `float` and `double` for the floats."""

DECIMAL: Final = "org.apache.kafka.connect.data.Decimal"
"""Of bytes: an unscaled big-endian integer; the parameter `scale` has the digits behind the point."""
PRECISION: Final = "connect.decimal.precision"
"""The parameter of a decimal with all its digits; without it they are 64, as Confluent's converters have it."""
TIMESTAMP: Final = "org.apache.kafka.connect.data.Timestamp"
"""Of int64: milliseconds since the epoch."""
DATE: Final = "org.apache.kafka.connect.data.Date"
"""Of int32: days since the epoch."""
TIME: Final = "org.apache.kafka.connect.data.Time"
"""Of int32: milliseconds since midnight."""


class Schema(msgspec.Struct, frozen=True):
    """A schema; equal when all of it is. `fields` are of a struct, `values` of arrays and maps, `keys` of maps."""

    type: SchemaType
    optional: bool = False
    name: str | None = None
    version: int | None = None
    doc: str | None = None
    parameters: tuple[tuple[str, str], ...] = ()
    """Names and values."""
    default: Any = None
    """The default value; None is no default."""
    fields: tuple[Field, ...] = ()
    keys: Schema | None = None
    values: Schema | None = None

    @property
    def scale(self) -> int:
        """The digits behind the point of a decimal."""
        return int(dict(self.parameters).get("scale", "0"))

    @property
    def precision(self) -> int:
        """All digits of a decimal."""
        return int(dict(self.parameters).get(PRECISION, "64"))

    def field(self, name: str) -> Field | None:
        """Return a struct's field; None when it has none of that name."""
        return next((each for each in self.fields if each.name == name), None)


class Field(msgspec.Struct, frozen=True):
    """A field of a struct."""

    name: str
    schema: Schema


class Header(msgspec.Struct, frozen=True):
    """A header of a record; its schema None means that the value has none."""

    name: str
    value: Any
    schema: Schema | None = None


class ConnectRecord(msgspec.Struct, frozen=True):
    """A record as a source connector gives it, before transforms and converters. A null value is a tombstone."""

    topic: str
    key: Any
    value: Any
    key_schema: Schema | None = None
    value_schema: Schema | None = None
    timestamp_ms: int | None = None
    partition: int | None = None
    headers: tuple[Header, ...] = ()


def decimal(scale: int, *, optional: bool = False) -> Schema:
    """Return the schema of decimals with `scale` digits behind the point."""
    return Schema("bytes", optional, DECIMAL, 1, parameters=(("scale", str(scale)),))


def struct(name: str | None, fields: Mapping[str, Schema], *, optional: bool = False) -> Schema:
    """Return the schema of a struct."""
    return Schema("struct", optional, name, fields=tuple(Field(each, fields[each]) for each in fields))


def optional(schema: Schema) -> Schema:
    """Return the schema with null allowed."""
    return msgspec.structs.replace(schema, optional=True)
