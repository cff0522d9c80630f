"""Connect's JsonConverter: values as JSON, with their schemas or without.

Source: org.apache.kafka.connect.json.JsonConverter of Apache Kafka 4.1
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

from tailrace.connect.data import DATE, DECIMAL, TIME, TIMESTAMP, Schema
from tailrace.connect.errors import DataError
from tailrace.connect.logical import days, milliseconds, milliseconds_of_day, unscaled_bytes

DecimalFormat = Literal["BASE64", "NUMERIC"]

_NAMES: Final = {"float32": "float", "float64": "double"}
_encode = msgspec.json.Encoder().encode


class JsonConverter:
    """Writes values as JSON; with `schemas`, as `{"schema": …, "payload": …}`, which Connect's sinks need."""

    def __init__(
        self, *, schemas: bool = True, decimals: DecimalFormat = "BASE64", replace_null_with_default: bool = True
    ) -> None:
        self._schemas = schemas
        self._decimals = decimals
        self._defaults = replace_null_with_default
        self._schema_json: Callable[[Schema], msgspec.Raw] = lru_cache(maxsize=1_000)(self._written_schema)

    def encode(self, schema: Schema | None, value: Any, topic: str = "") -> bytes | None:
        """Return a value as bytes; a null without a schema is a tombstone. Raises `DataError` for one that is wrong."""
        del topic  # only schema registries have to know
        if schema is None and value is None:
            return None
        payload = self.plain(schema, value)
        if not self._schemas:
            return _encode(payload)
        return _encode({"schema": None if schema is None else self._schema_json(schema), "payload": payload})

    def plain(self, schema: Schema | None, value: Any) -> Any:  # noqa: PLR0911 - one for each type
        """Return a value as JSON has it."""
        if schema is None:
            return self._schemaless(value)
        if value is None:
            if schema.default is not None and self._defaults:
                return self.plain(schema, schema.default)
            if schema.optional:
                return None
            raise DataError("a required value is null")
        if schema.name in _LOGICAL:
            return self._logical(schema, value)
        match schema.type:
            case "struct":
                return {each.name: self.plain(each.schema, value.get(each.name)) for each in schema.fields}
            case "array":
                return [self.plain(schema.values, each) for each in value]
            case "map":
                pairs = [(self.plain(schema.keys, key), self.plain(schema.values, value[key])) for key in value]
                is_object = schema.keys is not None and schema.keys.type == "string"
                return dict(pairs) if is_object else [list(pair) for pair in pairs]
            case "bytes":
                return b64encode(value).decode()
        return value

    def schema(self, schema: Schema) -> dict[str, Any]:
        """Return a schema as JSON has it, its members in the order in which Connect writes them."""
        written: dict[str, Any] = {"type": _NAMES.get(schema.type, schema.type)}
        if schema.type == "array":
            written["items"] = self._of(schema.values)
        elif schema.type == "map":
            written |= {"keys": self._of(schema.keys), "values": self._of(schema.values)}
        elif schema.type == "struct":
            written["fields"] = [self.schema(each.schema) | {"field": each.name} for each in schema.fields]
        written["optional"] = schema.optional
        for member in ("name", "version", "doc"):
            if (text := getattr(schema, member)) is not None:
                written[member] = text
        if schema.parameters:
            written["parameters"] = dict(schema.parameters)
        if schema.default is not None:
            written["default"] = self.plain(schema, schema.default)
        return written

    def _of(self, schema: Schema | None) -> Any:
        return None if schema is None else self.schema(schema)

    def _written_schema(self, schema: Schema) -> msgspec.Raw:
        return msgspec.Raw(_encode(self.schema(schema)))

    def _logical(self, schema: Schema, value: Any) -> Any:
        if schema.name == DECIMAL:
            if self._decimals == "NUMERIC":
                return msgspec.Raw(format(value, "f").encode())
            return b64encode(unscaled_bytes(value, schema.scale)).decode()
        return _LOGICAL[str(schema.name)](value)

    def _schemaless(self, value: Any) -> Any:  # noqa: PLR0911 - one for each type
        match value:
            case bytes() | bytearray():
                return b64encode(value).decode()
            case Decimal():
                return msgspec.Raw(format(value, "f").encode())
            case datetime():
                return milliseconds(value)
            case date():
                return days(value)
            case time():
                return milliseconds_of_day(value)
            case list() | tuple():
                return [self._schemaless(each) for each in value]
            case Mapping():
                if all(isinstance(key, str) for key in value):
                    return {key: self._schemaless(each) for key, each in value.items()}
                return [[self._schemaless(key), self._schemaless(each)] for key, each in value.items()]
        return value


_LOGICAL: Final[Mapping[str, Callable[[Any], Any]]] = {
    DECIMAL: lambda value: value,
    TIMESTAMP: milliseconds,
    DATE: days,
    TIME: milliseconds_of_day,
}
