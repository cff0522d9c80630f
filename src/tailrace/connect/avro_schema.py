"""Connect's schemas as Avro, and their values as Avro's binary encoding, as Confluent's AvroConverter writes them.

Sources: io.confluent.connect.avro.AvroData, https://avro.apache.org/docs/1.12.0/specification/
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from tailrace.connect.data import DATE, DECIMAL, TIME, TIMESTAMP, Schema
from tailrace.connect.errors import DataError
from tailrace.connect.json_converter import JsonConverter
from tailrace.connect.logical import days, milliseconds, milliseconds_of_day, unscaled_bytes
from tailrace.connect.written import Written

Write = Callable[[Any, bytearray], None]
"""Appends the encoding of a value."""

_DEFAULT_NAMESPACE: Final = "io.confluent.connect.avro"
_DEFAULT_NAME: Final = "ConnectDefault"
_TYPES: Final = {
    "int8": "int",
    "int16": "int",
    "int32": "int",
    "int64": "long",
    "float32": "float",
    "float64": "double",
    "boolean": "boolean",
    "string": "string",
    "bytes": "bytes",
}
_SMALL: Final = {"int8", "int16"}
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FULL_NAME: Final = re.compile(rf"{_NAME.pattern}(\.{_NAME.pattern})*")
_LOGICAL: Final = {DECIMAL: "decimal", TIMESTAMP: "timestamp-millis", DATE: "date", TIME: "time-millis"}
_plain: Final = JsonConverter(schemas=False).plain


def avro_schema(schema: Schema) -> Written:
    """Return a schema as Avro. Raises `DataError` for one that Avro cannot hold."""
    written = _Schemas().of(schema)
    write = _nullable(schema)

    def encode(value: Any) -> bytes:
        out = bytearray()
        try:
            write(value, out)
        except (TypeError, AttributeError, OverflowError, struct.error) as error:
            raise DataError(f"a value does not fit its Avro schema: {error}") from None
        return bytes(out)

    name = _full_name(schema.name) if schema.type == "struct" else None
    return Written("AVRO", msgspec.json.encode(written).decode(), name, encode)


class _Schemas:
    """Writes one schema; a record that is met again is written by its name."""

    def __init__(self) -> None:
        self._records: dict[str, Schema] = {}

    def of(self, schema: Schema) -> Any:
        """Return a schema with null, if it is optional."""
        base = self._base(schema)
        if not schema.optional:
            return base
        return [base, "null"] if schema.default is not None else ["null", base]

    def _base(self, schema: Schema) -> Any:
        if schema.type == "struct":
            return self._record(schema)
        if schema.type == "array":
            # A list that was empty so far: `null` becomes an optional type as soon as one is known.
            items = "null" if schema.values is None else self.of(schema.values)
            written: dict[str, Any] = {"type": "array", "items": items}
        elif schema.type == "map":
            written = {"type": "map", "values": self._values(schema.values)}
            if schema.keys is None or schema.keys.type != "string" or schema.keys.optional:
                raise DataError("a map whose keys are not strings cannot be written as Avro here")
        else:
            written = {"type": _TYPES[schema.type]}
            if schema.type in _SMALL:
                written["connect.type"] = schema.type
        if schema.name == DECIMAL:
            written |= {"scale": schema.scale, "precision": schema.precision}
        written |= _meta(schema)
        if schema.name in _LOGICAL:
            written["logicalType"] = _LOGICAL[schema.name]
        return written["type"] if len(written) == 1 else written

    def _values(self, schema: Schema | None) -> Any:
        if schema is None:
            raise DataError("a map has no schema of its values, which Avro needs")
        return self.of(schema)

    def _record(self, schema: Schema) -> Any:
        full = _full_name(schema.name)
        if not _FULL_NAME.fullmatch(full):
            raise _no_name(full)
        same = msgspec.structs.replace(schema, optional=False, default=None)
        if full in self._records:
            if self._records[full] != same:
                raise DataError(f"two structs have the name {full}, which Avro gives to one only")
            return full
        self._records[full] = same
        namespace, _, name = full.rpartition(".")
        fields = []
        for each in schema.fields:
            if not _NAME.fullmatch(each.name):
                raise _no_name(each.name)
            field: dict[str, Any] = {"name": each.name, "type": self.of(each.schema)}
            if each.schema.doc is not None:
                field["doc"] = each.schema.doc
            if each.schema.default is not None:
                field["default"] = _plain(each.schema, each.schema.default)
            elif each.schema.optional:
                field["default"] = None
            fields.append(field)
        written = {"type": "record", "name": name, "fields": fields}
        if namespace:
            written["namespace"] = namespace
        return written | _meta(schema)


def _meta(schema: Schema) -> dict[str, Any]:
    """Return what Connect keeps of a schema beside Avro's own."""
    meta: dict[str, Any] = {}
    if schema.version is not None:
        meta["connect.version"] = schema.version
    if schema.parameters:
        meta["connect.parameters"] = dict(schema.parameters)
    if schema.name is not None:
        meta["connect.name"] = schema.name
    return meta


def _no_name(name: str) -> DataError:
    return DataError(
        f"{name} cannot be a name in Avro: it takes letters, digits and underscores; rename it, or use JSON"
    )


def _full_name(name: str | None) -> str:
    return name or f"{_DEFAULT_NAMESPACE}.{_DEFAULT_NAME}"


def _nullable(schema: Schema | None) -> Write:
    if schema is None:
        return _null
    write = _writer(schema)
    default = schema.default
    if not schema.optional:
        if default is None:
            return write
        return lambda value, out: write(default if value is None else value, out)
    is_null, is_value = (b"\x02", b"\x00") if default is not None else (b"\x00", b"\x02")

    def write_nullable(value: Any, out: bytearray) -> None:
        if value is None:
            out += is_null
        else:
            out += is_value
            write(value, out)

    return write_nullable


def _writer(schema: Schema) -> Write:
    if schema.name == DECIMAL:
        scale = schema.scale
        return lambda value, out: _bytes(unscaled_bytes(value, scale), out)
    if schema.name in _TIMES:
        in_units = _TIMES[schema.name]
        return lambda value, out: _long(in_units(value), out)
    match schema.type:
        case "struct":
            return _record_writer(schema)
        case "array":
            return _array_writer(schema)
        case "map":
            return _map_writer(schema)
    return _PRIMITIVES[_TYPES[schema.type]]


def _record_writer(schema: Schema) -> Write:
    fields = [(each.name, _nullable(each.schema)) for each in schema.fields]

    def write(value: Any, out: bytearray) -> None:
        get = value.get
        for name, write_field in fields:
            write_field(get(name), out)

    return write


def _array_writer(schema: Schema) -> Write:
    write_value = _nullable(schema.values)

    def write(value: Any, out: bytearray) -> None:
        if value:
            _long(len(value), out)
            for each in value:
                write_value(each, out)
        out.append(0)

    return write


def _map_writer(schema: Schema) -> Write:
    write_value = _nullable(schema.values)

    def write(value: Any, out: bytearray) -> None:
        if value:
            _long(len(value), out)
            for key, each in value.items():
                _string(key, out)
                write_value(each, out)
        out.append(0)

    return write


def _null(value: Any, out: bytearray) -> None:
    del out  # a null has no bytes
    if value is not None:
        raise DataError("a list has members, and its schema has no type for them")


def long(value: int) -> bytes:
    """Return the encoding of a whole number. Raises `DataError` for one of more than 64 bits."""
    out = bytearray()
    _long(value, out)
    return bytes(out)


def _long(value: Any, out: bytearray) -> None:
    left = (value << 1) ^ (value >> 63)
    if left < 0 or left >> 64:
        raise DataError(f"the number {value} does not fit into 64 bits")
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)


def _bytes(value: Any, out: bytearray) -> None:
    _long(len(value), out)
    out += value


def _string(value: Any, out: bytearray) -> None:
    _bytes(value.encode(), out)


def _boolean(value: Any, out: bytearray) -> None:
    out.append(1 if value else 0)


def _float(value: Any, out: bytearray) -> None:
    out += struct.pack("<f", value)


def _double(value: Any, out: bytearray) -> None:
    out += struct.pack("<d", value)


_PRIMITIVES: Final[Mapping[str, Write]] = {
    "int": _long,
    "long": _long,
    "float": _float,
    "double": _double,
    "boolean": _boolean,
    "string": _string,
    "bytes": _bytes,
}
_TIMES: Final[Mapping[str | None, Callable[[Any], int]]] = {
    TIMESTAMP: milliseconds,
    DATE: days,
    TIME: milliseconds_of_day,
}
