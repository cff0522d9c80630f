"""Converters by their Java classes: what makes bytes of a record's key and value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol

from tailrace.connect.data import Schema
from tailrace.connect.errors import DataError
from tailrace.connect.json_converter import JsonConverter
from tailrace.connect.options import OptionError, Options
from tailrace.connect.registered import AVRO, JSON_SCHEMA, PROTOBUF, MakeIds, converter_with

Family = Literal["key", "value"]


class Converter(Protocol):
    """Makes bytes of a value with its schema."""

    def encode(self, schema: Schema | None, value: Any, topic: str = "") -> bytes | None:
        """Return the bytes of a record's part on a topic; None is a null.

        Raises `DataError` for a value that it cannot take, `WorldError` while what it needs cannot be had.
        """
        ...


class StringConverter:
    """Writes text as it is, and anything else as Java's `toString` does."""

    def encode(self, schema: Schema | None, value: Any, topic: str = "") -> bytes | None:
        """Return UTF-8."""
        del schema, topic
        return None if value is None else _java_text(value).encode()


class ByteArrayConverter:
    """Passes bytes on, and refuses anything else."""

    def encode(self, schema: Schema | None, value: Any, topic: str = "") -> bytes | None:
        """Return the bytes."""
        del topic
        if value is None or isinstance(value, bytes):
            return value
        kind = type(value).__name__ if schema is None else schema.type
        raise DataError(f"ByteArrayConverter takes bytes, not a {kind}; choose another converter")


def _java_text(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{name}={_java_text(each)}" for name, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_java_text, value)) + "]"
        case None:
            return "null"
        case bytes():
            raise DataError("StringConverter takes no bytes; choose ByteArrayConverter")
    return str(value)


def _json(options: Options) -> Converter:
    options.ignore("schemas.cache.size")
    return JsonConverter(
        schemas=options.flag("schemas.enable", True),
        decimals="NUMERIC"
        if options.choice("decimal.format", ("BASE64", "NUMERIC"), "BASE64") == "NUMERIC"
        else "BASE64",
        replace_null_with_default=options.flag("replace.null.with.default", True),
    )


def _string(options: Options) -> Converter:
    options.ignore("converter.encoding")
    return StringConverter()


JSON_CONVERTER: Final = "org.apache.kafka.connect.json.JsonConverter"
_BYTES: Final = "org.apache.kafka.connect.converters.ByteArrayConverter"

_CONVERTERS: Final[Mapping[str, Callable[[Options], Converter]]] = {
    JSON_CONVERTER: _json,
    "org.apache.kafka.connect.storage.StringConverter": _string,
    _BYTES: lambda _options: ByteArrayConverter(),
}
_WITH_REGISTRY: Final = (AVRO, JSON_SCHEMA, PROTOBUF)
CONVERTERS: Final = (*_CONVERTERS, *_WITH_REGISTRY)
"""The classes that there are."""


def needs_schemas(properties: Mapping[str, str]) -> list[Family]:
    """Return the parts of a record whose converter needs their schema."""
    families: tuple[Family, Family] = ("key", "value")
    return [each for each in families if properties.get(f"{each}.converter", "").strip() in _WITH_REGISTRY]


def converter(properties: Mapping[str, str], family: Family, make_ids: MakeIds) -> Converter:
    """Return the converter of keys or of values that Connect's properties name. Raises `OptionError`.

    `make_ids` makes what knows the ids of a schema registry.
    """
    name = f"{family}.converter"
    kind = properties.get(name, "").strip()
    if not kind:
        raise OptionError(name, "is missing", f"use one of {', '.join(CONVERTERS)}")
    options = Options(properties, f"{name}.")
    if kind in _WITH_REGISTRY:
        made: Converter = converter_with(kind, options, family, make_ids)
    elif kind in _CONVERTERS:
        made = _CONVERTERS[kind](options)
    else:
        raise OptionError(name, f"{kind} is not known", f"use one of {', '.join(CONVERTERS)}")
    options.ignore("enhanced.avro.schema.support", "connect.meta.data")
    options.refuse_unknown()
    return made
