"""Cast and Flatten, as Apache Kafka's do."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final, cast

import msgspec

from tailrace.connect.data import ConnectRecord, Field, Schema, SchemaType, optional, struct
from tailrace.connect.errors import DataError
from tailrace.connect.logical import days, milliseconds, milliseconds_of_day
from tailrace.connect.options import Options
from tailrace.connect.transforms.part import Part, mapping_of, replaced, schema_of, value_of

_RANGES: Final[Mapping[str, int]] = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}
_TYPES: Final = (*_RANGES, "float32", "float64", "boolean", "string")


class Cast:
    """Casts fields, or the whole part, to other types."""

    def __init__(self, options: Options, part: Part) -> None:
        self._part = part
        self._fields: dict[str, SchemaType] = {}
        self._whole: SchemaType | None = None
        entries = options.entries("spec")
        options.flag("replace.null.with.default", True)
        for entry in entries:
            name, colon, wanted = entry.rpartition(":")
            if wanted not in _TYPES:
                raise options.error("spec", f"`{wanted}` is not a type to cast to", f"use {', '.join(_TYPES)}")
            if colon:
                self._fields[name] = cast("SchemaType", wanted)
            else:
                self._whole = cast("SchemaType", wanted)
        if not entries or (self._whole is not None and len(entries) > 1):
            raise options.error("spec", "must be one type, or fields with their types", "write total:float64,id:string")

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:
        """Return the record."""
        value, schema = value_of(record, self._part), schema_of(record, self._part)
        if value is None:
            return record
        if self._whole is not None:
            return replaced(record, self._part, _cast_schema(schema, self._whole), cast_value(value, self._whole))
        holder = mapping_of(record, self._part, "Cast")
        done = {
            name: cast_value(each, self._fields[name]) if name in self._fields else each
            for name, each in holder.items()
        }
        if schema is None:
            return replaced(record, self._part, None, done)
        fields = tuple(
            Field(each.name, _cast_schema(each.schema, self._fields[each.name]) or each.schema)
            if each.name in self._fields
            else each
            for each in schema.fields
        )
        return replaced(record, self._part, msgspec.structs.replace(schema, fields=fields), done)


def _cast_schema(schema: Schema | None, wanted: SchemaType) -> Schema | None:
    if schema is None:
        return None
    default = None if schema.default is None else cast_value(schema.default, wanted)
    return Schema(wanted, schema.optional, default=default)


def cast_value(value: Any, wanted: SchemaType) -> Any:
    """Return a value as another type, as Java's conversions do. Raises `DataError`."""
    match value:
        case None:
            return None
        case datetime():
            value = milliseconds(value)
        case date():
            value = days(value)
        case time():
            value = milliseconds_of_day(value)
    try:
        if wanted in _RANGES:
            return _integer(value, _RANGES[wanted])
        return _CASTS[wanted](value)
    except (TypeError, ValueError, OverflowError, ArithmeticError, KeyError):
        raise DataError(f"a {type(value).__name__} cannot be cast to {wanted}") from None


def _integer(value: Any, bits: int) -> int:
    """Return a number cut to an integer; text must fit, and numbers wrap around, as in Java."""
    number = int(value)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    if not low <= number <= high:
        if isinstance(value, str):
            raise OverflowError
        return (number - low) % (1 << bits) + low
    return number


def _text(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case bytes():
            return b64encode(value).decode()
        case Decimal():
            return format(value, "f")
        case str() | int() | float():
            return str(value)
    raise TypeError


def _boolean(value: Any) -> bool:
    return {"true": True, "false": False}[value.lower()] if isinstance(value, str) else bool(value)


_CASTS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "float32": float,
    "float64": float,
    "boolean": _boolean,
    "string": _text,
}


class Flatten:
    """Brings the fields of structs inside structs, and of maps inside maps, to the top, their names joined."""

    def __init__(self, options: Options, part: Part) -> None:
        self._part = part
        self._delimiter = options.text("delimiter", ".")

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:
        """Return the record."""
        if value_of(record, self._part) is None:
            return record
        value = mapping_of(record, self._part, "Flatten")
        schema = schema_of(record, self._part)
        if schema is None:
            return replaced(record, self._part, None, dict(self._values(value, "")))
        fields = dict(self._fields(schema, "", is_optional=False))
        flat = dict(self._of_schema(schema, value, ""))
        flattened = struct(schema.name, fields, optional=schema.optional)
        return replaced(record, self._part, flattened, flat)

    def _name(self, prefix: str, name: str) -> str:
        return f"{prefix}{self._delimiter}{name}" if prefix else name

    def _values(self, holder: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in holder.items():
            if isinstance(value, dict):
                yield from self._values(value, self._name(prefix, name))
            else:
                yield self._name(prefix, name), value

    def _fields(self, schema: Schema, prefix: str, *, is_optional: bool) -> Iterator[tuple[str, Schema]]:
        for field in schema.fields:
            below = is_optional or field.schema.optional
            if field.schema.type == "struct":
                yield from self._fields(field.schema, self._name(prefix, field.name), is_optional=below)
            else:
                yield self._name(prefix, field.name), optional(field.schema) if is_optional else field.schema

    def _of_schema(self, schema: Schema, holder: Mapping[str, Any] | None, prefix: str) -> Iterator[tuple[str, Any]]:
        for field in schema.fields:
            value = None if holder is None else holder.get(field.name)
            if field.schema.type == "struct":
                yield from self._of_schema(field.schema, value, self._name(prefix, field.name))
            else:
                yield self._name(prefix, field.name), value
