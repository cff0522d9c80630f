"""Makes what encodes a pipeline's records as Kafka Connect would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Final

from tailrace import formats
from tailrace.config.model import Pipeline
from tailrace.config.record_schema import RecordSchema, RegisteredSchema
from tailrace.connect.avro_schema import avro_schema
from tailrace.connect.chain import Chain
from tailrace.connect.converters import Converter, converter
from tailrace.connect.data import Schema
from tailrace.connect.declared import Declared
from tailrace.connect.errors import DataError
from tailrace.connect.evolving import EvolvingConverter
from tailrace.connect.inference import Inference
from tailrace.connect.json_schema import json_schema
from tailrace.connect.protobuf_schema import protobuf_schema
from tailrace.connect.registered import MakeIds, RegisteredConverter, Registry, subject_of
from tailrace.connect.schema_reading import read_schema
from tailrace.connect.written import SchemaVersions, Written
from tailrace.convert.connect_encoder import ConnectEncoder
from tailrace.errors import WorldError
from tailrace.formats.debezium import DebeziumFormat
from tailrace.formats.debezium_record import DebeziumRecords, DeclaredItems, InferredItems, ItemSchemas

_WRITE: Final[Mapping[str, Callable[[Schema], Written]]] = {
    "avro": avro_schema,
    "json": partial(json_schema, closed=True),
    "protobuf": partial(protobuf_schema, optional_for_nullables=True),
}


def make_connect_encoder(pipeline: Pipeline, made: formats.Format, ids: MakeIds) -> ConnectEncoder | None:
    """Make what encodes records; None where they are what the format makes. `ids` is for a schema registry."""
    if not pipeline.makes_connect_records:
        return None
    properties, schema = pipeline.connect_properties, pipeline.record_schema
    make_record = made.connect_record
    if isinstance(schema, RegisteredSchema):
        versions = ids(Registry(schema.registry, schema.auto_register))
        key, value = _registered(schema, versions)
        is_declared = schema.mode == "declared"
        items: ItemSchemas | None = (
            _declared(schema, versions) if is_declared else _inferred(schema, keeps_versions=True)
        )
    else:
        key, value = converter(properties, "key", ids), converter(properties, "value", ids)
        items = None if schema is None else _inferred(schema, keeps_versions=False)
    if items is not None and isinstance(made, DebeziumFormat):  # with another format the file is refused
        in_registry = isinstance(schema, RegisteredSchema)
        make_record = DebeziumRecords(made, items, in_registry=in_registry).connect_record
    return ConnectEncoder(make_record, Chain(properties), key, value)


def _inferred(schema: RecordSchema, *, keeps_versions: bool) -> ItemSchemas:
    return InferredItems(Inference(schema.numbers, scale=schema.scale), keeps_versions=keeps_versions)


def _declared(schema: RegisteredSchema, versions: SchemaVersions) -> ItemSchemas:
    """Return the declared schemas: those of the file, and those of the registry, each read when it is first needed."""
    declared: dict[str, Callable[[], Declared]] = {}
    for table, item in schema.item_schemas.items():
        made = Declared(item, schema.undeclared)
        declared[table] = partial(_same, made)
    for table, (subject, number) in schema.item_versions.items():
        declared[table] = cache(partial(_of_registry, schema, versions, subject, number))
    return DeclaredItems(declared)


def _same(declared: Declared) -> Declared:
    return declared


def _of_registry(schema: RegisteredSchema, versions: SchemaVersions, subject: str, number: int) -> Declared:
    registered = versions.version(subject, number)
    try:
        item = read_schema(registered.kind, registered.text)
    except DataError as error:
        raise _unusable(subject, number, str(error)) from None
    if registered.kind != schema.kind:
        raise _unusable(subject, number, f"it is in {registered.kind}, not in {schema.kind}")
    if item.type != "struct":
        raise _unusable(subject, number, f"it is that of a {item.type}, and an item is a record")
    return Declared(item, schema.undeclared)


def _unusable(subject: str, number: int, why: str) -> WorldError:
    return WorldError(
        f"version {number} of the subject {subject} cannot be used as the declared schema: {why}",
        hint="declare another one, and start the workers again",
    )


def _registered(schema: RegisteredSchema, versions: SchemaVersions) -> tuple[Converter, Converter]:
    """Return the converters of keys, whose schema never changes, and of values."""
    write, strategy = _WRITE[schema.type], schema.subject_name_strategy
    key, of_values = RegisteredConverter(write, subject_of(strategy, "key"), versions), subject_of(strategy, "value")
    if schema.mode == "declared":
        return key, RegisteredConverter(write, of_values, versions)
    return key, EvolvingConverter(write, of_values, versions, auto_register=schema.auto_register)
