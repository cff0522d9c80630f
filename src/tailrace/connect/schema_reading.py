"""Schemas of a registry as Connect's: those in Avro, JSON Schema and Protobuf that can be written here, no others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from tailrace.connect.data import DATE, DECIMAL, PRECISION, TIME, TIMESTAMP, Field, Schema, SchemaType, optional
from tailrace.connect.errors import DataError
from tailrace.connect.protobuf_text import read_protobuf
from tailrace.connect.written import SchemaKind

_AVRO_TYPES: Final[Mapping[str, SchemaType]] = {
    "int": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "boolean": "boolean",
    "string": "string",
    "bytes": "bytes",
}
_AVRO_LOGICAL: Final = {
    ("bytes", "decimal"): DECIMAL,
    ("long", "timestamp-millis"): TIMESTAMP,
    ("int", "date"): DATE,
    ("int", "time-millis"): TIME,
}
_JSON_TYPES: Final[Mapping[str, SchemaType]] = {
    "integer": "int64",
    "number": "float64",
    "boolean": "boolean",
    "string": "string",
}
_NULLS_ONLY: Final = {"oneOf": [{"type": "null"}]}
_NO_NAME: Final = "io.confluent.connect.avro.ConnectDefault"


def read_schema(kind: SchemaKind, text: str) -> Schema:
    """Return the schema of a text. Raises `DataError` for one that cannot be held."""
    read: Callable[[str], Schema] = {"AVRO": _avro, "JSON": _json, "PROTOBUF": read_protobuf}[kind]
    try:
        return read(text)
    except (msgspec.DecodeError, RecursionError, KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"it is no schema in {kind} that can be read here") from None


def _avro(text: str) -> Schema:
    return _AvroReader().read(msgspec.json.decode(text), "")


class _AvroReader:
    """Reads one schema; a record that is met again is known by its name."""

    def __init__(self) -> None:
        self._records: dict[str, Schema] = {}

    def read(self, written: Any, namespace: str) -> Schema:  # noqa: PLR0911 - one for each kind of schema
        if isinstance(written, list):
            return self._union(written, namespace)
        if isinstance(written, str):
            written = {"type": written}
        kind = written["type"]
        if not isinstance(kind, str):
            return self.read(kind, namespace)
        if kind == "record":
            return self._record(written, namespace)
        if kind == "array":
            values = None if written["items"] == "null" else self.read(written["items"], namespace)
            return Schema("array", values=values, **_meta(written))
        if kind == "map":
            values = self.read(written["values"], namespace)
            return Schema("map", keys=Schema("string"), values=values, **_meta(written))
        if kind in _AVRO_TYPES:
            return _avro_scalar(kind, written)
        known = self._records.get(kind) or self._records.get(f"{namespace}.{kind}")
        if known is None:
            raise DataError(f"it has {kind}, a type that cannot be written here")
        return known

    def _union(self, branches: list[Any], namespace: str) -> Schema:
        others = [each for each in branches if each != "null"]
        if len(others) != 1 or len(branches) > 2:
            raise DataError("it has a union of more than null and one type, which cannot be written here")
        read = self.read(others[0], namespace)
        return optional(read) if len(branches) == 2 else read

    def _record(self, written: Mapping[str, Any], namespace: str) -> Schema:
        name = written["name"]
        namespace = written.get("namespace", namespace)
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        inner = full.rpartition(".")[0]
        fields = []
        for each in written["fields"]:
            schema = self.read(each["type"], inner)
            changed = {"doc": each.get("doc"), "default": _default(each, schema)}
            fields.append(Field(each["name"], msgspec.structs.replace(schema, **changed)))
        meta = _meta(written)
        meta["name"] = meta["name"] or (None if full == _NO_NAME else full)
        made = Schema("struct", fields=tuple(fields), **meta)
        self._records[full] = made
        return made


def _avro_scalar(kind: str, written: Mapping[str, Any]) -> Schema:
    schema = Schema(written.get("connect.type", _AVRO_TYPES[kind]), **_meta(written))
    logical = _AVRO_LOGICAL.get((kind, written.get("logicalType", "")))
    if logical is None or schema.name is not None:
        return schema
    parameters: tuple[tuple[str, str], ...] = ()
    if logical == DECIMAL:
        parameters = (("scale", str(written.get("scale", 0))), (PRECISION, str(written["precision"])))
    return msgspec.structs.replace(schema, name=logical, version=1, parameters=parameters)


def _default(field: Mapping[str, Any], schema: Schema) -> Any:
    default = field.get("default")
    if default is None:
        return None
    if schema.type in {"bytes", "struct", "map"} or schema.name is not None:
        raise DataError(f"field {field['name']} has a default value that cannot be written here")
    return default


def _json(text: str) -> Schema:
    return _json_schema(msgspec.json.decode(text))


def _json_schema(written: Mapping[str, Any]) -> Schema:
    if branches := written.get("oneOf") or written.get("anyOf"):
        others = [each for each in branches if each != {"type": "null"}]
        if len(others) != 1 or len(branches) > 2:
            raise DataError("it has a choice of more than null and one type, which cannot be written here")
        read = _json_schema(others[0])
        return optional(read) if len(branches) == 2 else read
    kind = written["type"]
    if isinstance(kind, list):
        return _json_schema(
            {
                "oneOf": [
                    *({"type": "null"} for each in kind if each == "null"),
                    *({**written, "type": each} for each in kind if each != "null"),
                ]
            }
        )
    meta = _meta(written) | {"name": written.get("title")}
    if kind == "array":
        items = written["items"]
        return Schema("array", values=None if items == _NULLS_ONLY else _json_schema(items), **meta)
    if kind == "object" and isinstance(written.get("additionalProperties"), dict):
        return Schema("map", keys=Schema("string"), values=_json_schema(written["additionalProperties"]), **meta)
    if kind == "object":
        return Schema("struct", fields=_json_fields(written), **meta)
    if kind not in _JSON_TYPES:
        raise DataError(f"it has {kind}, a type that cannot be written here")
    return Schema(written.get("connect.type", _JSON_TYPES[kind]), **meta)


def _json_fields(written: Mapping[str, Any]) -> tuple[Field, ...]:
    """Return the fields in Connect's order. A property without Connect's index is optional unless it is required."""
    required = written.get("required", ())
    properties = sorted(written.get("properties", {}).items(), key=lambda each: each[1].get("connect.index", 0))
    fields = []
    for name, its in properties:
        schema = _json_schema(its)
        is_optional = "connect.index" not in its and name not in required
        fields.append(Field(name, optional(schema) if is_optional else schema))
    return tuple(fields)


def _meta(written: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Connect keeps of a schema beside the language's own."""
    return {
        "name": written.get("connect.name"),
        "version": written.get("connect.version"),
        "parameters": tuple(written.get("connect.parameters", {}).items()),
    }
