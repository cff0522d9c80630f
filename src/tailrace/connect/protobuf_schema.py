"""Connect's schemas as Protocol Buffers 3, and their values in its encoding, as Confluent's ProtobufConverter does.

Sources: io.confluent.connect.protobuf.ProtobufData, https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any, Final

from tailrace.connect.data import Field, Schema
from tailrace.connect.errors import DataError
from tailrace.connect.written import Written

Write = Callable[[Any, bytearray], None]
"""Appends the encoding of a value, its tag included."""

_DEFAULT_NAME: Final = "ConnectDefault1"
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TYPES: Final = {
    "int8": "int32",
    "int16": "int32",
    "int32": "int32",
    "int64": "int64",
    "float32": "float",
    "float64": "double",
    "boolean": "bool",
    "string": "string",
    "bytes": "bytes",
}
FIRST_MESSAGE: Final = b"\x00"
"""The path of the schema's first message, which stands before a value."""
_LENGTH: Final = 2
"""The wire type of what has a length."""
_WIRE_TYPES: Final = {"float": 5, "double": 1, "string": _LENGTH, "bytes": _LENGTH}


def protobuf_schema(schema: Schema, *, optional_for_nullables: bool = False) -> Written:
    """Return the schema of a struct as Protobuf. Raises `DataError` for one that cannot be.

    With `optional_for_nullables` a null and an empty text, or a zero, stay two values. A list whose members have no
    type yet gets no field: in Protobuf an empty list is what is not there.
    """
    if schema.type != "struct":
        raise DataError("Protobuf takes structs only; choose StringConverter or ByteArrayConverter for anything else")
    full = schema.name or _DEFAULT_NAME
    package, _, name = full.rpartition(".")
    lines = ['syntax = "proto3";', *([f"package {package};"] if package else []), ""]
    lines += _message(name, schema, "", optional_for_nullables)
    write = _content_writer(schema, optional_for_nullables)

    def encode(value: Any) -> bytes:
        out = bytearray(FIRST_MESSAGE)
        try:
            write(value, out)
        except (TypeError, AttributeError, OverflowError, struct.error) as error:
            raise DataError(f"a value does not fit its Protobuf schema: {error}") from None
        return bytes(out)

    return Written("PROTOBUF", "\n".join(lines) + "\n", full, encode)


def _message(name: str, schema: Schema, indent: str, optional: bool) -> list[str]:
    _check(name)
    inner = indent + "  "
    lines = [f"{indent}message {name} {{"]
    fields = _numbered(schema)
    nested = _Nested({each.name for _, each in fields})
    for number, each in fields:
        lines.append(f"{inner}{_declaration(each, nested, optional)} = {number};")
    for nested_name, nested_schema in nested.messages.items():
        lines += _message(nested_name, nested_schema, inner, optional)
    return [*lines, f"{indent}}}"]


def _numbered(schema: Schema) -> list[tuple[int, Field]]:
    typed = [each for each in schema.fields if each.schema.type != "array" or each.schema.values is not None]
    return list(enumerate(typed, 1))


class _Nested:
    """The messages inside a message, by their names, which none of its fields may have."""

    def __init__(self, fields: set[str]) -> None:
        self._fields = fields
        self.messages: dict[str, Schema] = {}

    def name_of(self, schema: Schema, field: str) -> str:
        """Return the name of a struct. Raises `DataError` where two differ and would have one."""
        name = (schema.name or f"{_DEFAULT_NAME}_{field}").rpartition(".")[2]
        while name in self._fields:
            name += "_struct"
        same = self.messages.setdefault(name, schema)
        if (same.fields, same.type) != (schema.fields, schema.type):
            raise DataError(f"field {field}: two structs have the name {name}, which Protobuf gives to one only")
        return name


def _declaration(field: Field, nested: _Nested, optional: bool) -> str:
    _check(field.name)
    schema = field.schema
    if schema.type == "array":
        return f"repeated {_type(field.name, _part(schema.values), nested)} {field.name}"
    if schema.type == "map":
        if schema.keys is None or schema.keys.type != "string" or schema.keys.optional:
            raise DataError(f"field {field.name}: a map whose keys are not strings cannot be written as Protobuf here")
        return f"map<string, {_type(field.name, _part(schema.values), nested)}> {field.name}"
    presence = "optional " if _has_presence(schema, optional) else ""
    return f"{presence}{_type(field.name, schema, nested)} {field.name}"


def _type(field: str, schema: Schema, nested: _Nested) -> str:
    if schema.name is not None and schema.name.startswith("org.apache.kafka.connect.data."):
        raise DataError(f"field {field}: the logical type {schema.name} cannot be written as Protobuf here")
    if schema.type in {"array", "map"}:
        raise DataError(f"field {field}: Protobuf has no list or map of {schema.type}s")
    if schema.type != "struct":
        return _TYPES[schema.type]
    return nested.name_of(schema, field)


def _part(schema: Schema | None) -> Schema:
    if schema is None:
        raise DataError("an array or a map has no schema of its values, which Protobuf needs")
    return schema


def _has_presence(schema: Schema, optional: bool) -> bool:
    return optional and schema.optional and schema.type != "struct"


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise DataError(f"{name} cannot be a name in Protobuf: it takes letters, digits and underscores")


def _content_writer(schema: Schema, optional: bool) -> Write:
    fields = [
        (each.name, each.schema.optional, _field_writer(number, each.schema, optional))
        for number, each in _numbered(schema)
    ]
    names = {name for name, _, _ in fields}

    def write(value: Any, out: bytearray) -> None:
        get = value.get
        if not value.keys() <= names:
            for name in value.keys() - names:
                if value[name]:
                    raise DataError(f"field {name}: Protobuf has no list of nulls")
        for name, is_optional, write_field in fields:
            content = get(name)
            if content is not None:
                write_field(content, out)
            elif not is_optional:
                raise DataError(f"the required field {name} is null")

    return write


def _field_writer(number: int, schema: Schema, optional: bool) -> Write:
    if schema.type == "array":
        write_each = _one(number, _part(schema.values), optional, keeps_default=True)

        def write_array(value: Any, out: bytearray) -> None:
            for each in value:
                write_each(each, out)

        return write_array
    if schema.type == "map":
        before = tag(number, _LENGTH)
        write_key = _one(1, Schema("string"), optional, keeps_default=True)
        write_value = _one(2, _part(schema.values), optional, keeps_default=True)

        def write_map(value: Any, out: bytearray) -> None:
            for key, each in value.items():
                entry = bytearray()
                write_key(key, entry)
                write_value(each, entry)
                out += before
                _varint(len(entry), out)
                out += entry

        return write_map
    return _one(number, schema, optional, keeps_default=_has_presence(schema, optional))


def _one(number: int, schema: Schema, optional: bool, *, keeps_default: bool) -> Write:
    """Return what writes one value with its tag. Without `keeps_default`, what is the type's default is left out."""
    if schema.type == "struct":
        write_content = _content_writer(schema, optional)
        before = tag(number, _LENGTH)

        def write_struct(value: Any, out: bytearray) -> None:
            content = bytearray()
            write_content(value, content)
            out += before
            _varint(len(content), out)
            out += content

        return write_struct
    kind = _TYPES[schema.type]
    before = tag(number, _WIRE_TYPES.get(kind, 0))

    def write_text(value: Any, out: bytearray) -> None:
        content = value.encode() if kind == "string" else value
        if content or keeps_default:
            out += before
            _varint(len(content), out)
            out += content

    def write_float(value: Any, out: bytearray) -> None:
        if value or keeps_default:
            out += before
            out += struct.pack("<f" if kind == "float" else "<d", value)

    def write_number(value: Any, out: bytearray) -> None:
        if value or keeps_default:
            if not -(1 << 63) <= value < 1 << 63:
                raise DataError(f"the number {value} does not fit into 64 bits")
            out += before
            _varint(int(value) & 0xFFFF_FFFF_FFFF_FFFF, out)

    if kind in {"string", "bytes"}:
        return write_text
    return write_float if kind in {"float", "double"} else write_number


def tag(number: int, wire_type: int) -> bytes:
    """Return what stands before a field's value."""
    return varint(number << 3 | wire_type)


def varint(value: int) -> bytes:
    """Return the encoding of a whole number that is not negative."""
    out = bytearray()
    _varint(value, out)
    return bytes(out)


def _varint(value: int, out: bytearray) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
