"""Confluent's converters: Avro, JSON Schema and Protobuf, with the id that the schema registry gives each schema.

Source: https://docs.confluent.io/platform/current/schema-registry/connect.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, get_args

from tailrace.connect.avro_schema import avro_schema
from tailrace.connect.data import Schema
from tailrace.connect.errors import DataError
from tailrace.connect.json_schema import json_schema
from tailrace.connect.options import Options
from tailrace.connect.protobuf_schema import protobuf_schema
from tailrace.connect.written import SchemaIds, SchemaVersions, Written, prefix_of

AVRO: Final = "io.confluent.connect.avro.AvroConverter"
JSON_SCHEMA: Final = "io.confluent.connect.json.JsonSchemaConverter"
PROTOBUF: Final = "io.confluent.connect.protobuf.ProtobufConverter"
SCHEMA_TYPES: Final = {AVRO: "avro", JSON_SCHEMA: "json", PROTOBUF: "protobuf"}
"""What each is called in the pipeline file's `schema.type`."""

SubjectNameStrategy = Literal["TopicNameStrategy", "RecordNameStrategy", "TopicRecordNameStrategy"]

_STRATEGIES: Final[tuple[SubjectNameStrategy, ...]] = get_args(SubjectNameStrategy)
_BEARER: Final = re.compile(r"bearer\.auth\..+")
_PEM: Final = {
    "schema.registry.ssl.truststore.location": "ssl.ca.location",
    "schema.registry.ssl.keystore.location": "ssl.certificate.location",
    "schema.registry.ssl.keystore.password": "ssl.key.password",
    "schema.registry.ssl.key.password": "ssl.key.password",
}


class Registry(NamedTuple):
    """How a schema registry is reached: `properties` are those of confluent-kafka's client."""

    properties: Mapping[str, str]
    auto_register: bool


MakeIds = Callable[[Registry], SchemaVersions]
SubjectOf = Callable[[str, str | None], str]
"""Returns the subject for a topic and the full name of a record's schema."""


class RegisteredConverter:
    """Writes values with the id of their schema."""

    def __init__(self, write: Callable[[Schema], Written], subject_of: SubjectOf, ids: SchemaIds) -> None:
        self._written = lru_cache(maxsize=1_000)(write)
        self._subject_of = subject_of
        self._ids = ids

    def encode(self, schema: Schema | None, value: Any, topic: str = "") -> bytes | None:
        """Return the bytes; None is a null.

        Raises `DataError` for a value that it cannot take, `WorldError` while the schema has no id.
        """
        if value is None:
            return None
        if schema is None:
            raise DataError("the value has no schema, and the converter needs one")
        written = self._written(schema)
        number = self._ids.id_of(self._subject_of(topic, written.name), written)
        return prefix_of(number) + written.encode(value)


def converter_with(kind: str, options: Options, family: str, make_ids: MakeIds) -> RegisteredConverter:
    """Make the converter of a class from its options. Raises `OptionError`."""
    if kind == AVRO:
        write: Callable[[Schema], Written] = avro_schema
    elif kind == JSON_SCHEMA:
        decimals = options.choice("decimal.format", ("BASE64", "NUMERIC"), "BASE64")

        def write(schema: Schema) -> Written:
            return json_schema(schema, "NUMERIC" if decimals == "NUMERIC" else "BASE64")
    else:
        nullables = options.flag("optional.for.nullables", False)

        def write(schema: Schema) -> Written:
            return protobuf_schema(schema, optional_for_nullables=nullables)

    options.ignore("schemas.cache.config", "schemas.cache.size", "max.schemas.per.subject", "schemas.enable")
    return RegisteredConverter(write, _subjects(options, family), make_ids(_registry(options)))


def subject_of(strategy: SubjectNameStrategy, family: str) -> SubjectOf:
    """Return what names subjects; `family` is `key` or `value`.

    It raises `DataError` for a schema that has no name where the strategy needs one.
    """

    def subject(topic: str, name: str | None) -> str:
        if strategy == "TopicNameStrategy":
            return f"{topic}-{family}"
        if name is None:
            raise DataError(f"{strategy} names subjects by records, and the {family} is none")
        return name if strategy == "RecordNameStrategy" else f"{topic}-{name}"

    return subject


def _subjects(options: Options, family: str) -> SubjectOf:
    name = f"{family}.subject.name.strategy"
    given = (options.given(name) or _STRATEGIES[0]).rpartition(".")[2]
    strategy = next((each for each in _STRATEGIES if each == given), None)
    if strategy is None:
        raise options.error(name, f"must be one of {', '.join(_STRATEGIES)}, not `{given}`")
    return subject_of(strategy, family)


def _registry(options: Options) -> Registry:
    properties = {"url": options.text("schema.registry.url")}
    source = options.choice("basic.auth.credentials.source", ("USER_INFO", "URL"), "USER_INFO")
    user_info = options.given("basic.auth.user.info") or options.given("schema.registry.basic.auth.user.info")
    if user_info is not None and source == "USER_INFO":
        properties["basic.auth.user.info"] = user_info
    for name in options.names(_BEARER):
        properties[name] = options.text(name)
    for java, name in _PEM.items():
        if (value := options.given(java)) is not None:
            properties[name] = value
    for store in ("truststore", "keystore"):
        options.choice(f"schema.registry.ssl.{store}.type", ("PEM",), "PEM")
    return Registry(properties, options.flag("auto.register.schemas", True))
