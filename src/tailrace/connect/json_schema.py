"""Connect's schemas as JSON Schema, as Confluent's JsonSchemaConverter writes them; values are JSON.

Source: io.confluent.connect.json.JsonSchemaData
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from tailrace.connect.data import DECIMAL, Schema
from tailrace.connect.errors import DataError
from tailrace.connect.json_converter import DecimalFormat, JsonConverter
from tailrace.connect.written import Written

_TYPES: Final = {
    "int8": "integer",
    "int16": "integer",
    "int32": "integer",
    "int64": "integer",
    "float32": "number",
    "float64": "number",
    "boolean": "boolean",
    "string": "string",
    "bytes": "string",
    "array": "array",
    "map": "object",
    "struct": "object",
}
_PLAIN: Final = {"boolean", "string", "array", "struct"}
"""Types that JSON Schema tells apart by itself: the others need `connect.type`."""
_encode = msgspec.json.Encoder().encode


def json_schema(schema: Schema, decimals: DecimalFormat = "BASE64", *, closed: bool = False) -> Written:
    """Return a schema as JSON Schema. Raises `DataError` for one that cannot be.

    A `closed` one allows no properties but its own, without which a registry takes no new property for compatible.
    """
    plain = JsonConverter(schemas=False, decimals=decimals).plain

    def encode(value: Any) -> bytes:
        try:
            return _encode(plain(schema, value))
        except (TypeError, AttributeError) as error:
            raise DataError(f"a value does not fit its schema: {error}") from None

    return Written("JSON", _encode(_of(schema, _How(decimals, closed))).decode(), schema.name, encode)


class _How(NamedTuple):
    decimals: DecimalFormat
    closed: bool


def _of(schema: Schema | None, how: _How, index: int | None = None) -> dict[str, Any]:
    if schema is None:
        # A list that was empty so far: a registry takes one more branch for compatible.
        return {"oneOf": [{"type": "null"}]} if how.closed else {}
    place = {} if index is None else {"connect.index": index}
    if schema.optional:
        return {"oneOf": [{"type": "null"}, _base(schema, how)]} | place
    return _base(schema, how) | place


def _base(schema: Schema, how: _How) -> dict[str, Any]:
    kind = "number" if schema.name == DECIMAL and how.decimals == "NUMERIC" else _TYPES[schema.type]
    written: dict[str, Any] = {"type": kind}
    if schema.name is not None:
        written["title"] = schema.name
    if schema.version is not None:
        written["connect.version"] = schema.version
    if schema.parameters:
        written["connect.parameters"] = dict(schema.parameters)
    if schema.type not in _PLAIN:
        written["connect.type"] = schema.type
    if schema.type == "array":
        written["items"] = _of(schema.values, how)
    elif schema.type == "map":
        if schema.keys is None or schema.keys.type != "string" or schema.keys.optional:
            raise DataError("a map whose keys are not strings cannot be written as JSON Schema here")
        written["additionalProperties"] = _of(schema.values, how)
    elif schema.type == "struct":
        written["properties"] = {each.name: _of(each.schema, how, place) for place, each in enumerate(schema.fields)}
        if how.closed:
            written["additionalProperties"] = False
    return written
