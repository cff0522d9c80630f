"""Makes what encodes a pipeline's records as Kafka Connect would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from tailrace import formats
from tailrace.config.model import Pipeline
from tailrace.config.record_schema import RecordSchema, RegisteredSchema
from tailrace.connect.avro_schema import avro_schema
from tailrace.connect.chain import Chain
from tailrace.connect.converters import Converter, converter
from tailrace.connect.data import Schema
from tailrace.connect.declared import Declared
from tailrace.connect.evolving import EvolvingConverter
from tailrace.connect.inference import Inference
from tailrace.connect.json_schema import json_schema
from tailrace.connect.protobuf_schema import protobuf_schema
from tailrace.connect.registered import MakeIds, RegisteredConverter, Registry, subject_of
from tailrace.connect.written import Written
from tailrace.convert.connect_encoder import ConnectEncoder
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
    if schema is not None and isinstance(made, DebeziumFormat):  # with another format the file is refused
        in_registry = isinstance(schema, RegisteredSchema)
        make_record = DebeziumRecords(made, _items(schema), in_registry=in_registry).connect_record
    if isinstance(schema, RegisteredSchema):
        key, value = _registered(schema, ids)
    else:
        key, value = converter(properties, "key", ids), converter(properties, "value", ids)
    return ConnectEncoder(make_record, Chain(properties), key, value)


def _items(schema: RecordSchema) -> ItemSchemas:
    if isinstance(schema, RegisteredSchema) and schema.mode == "declared":
        return DeclaredItems({table: Declared(each, schema.undeclared) for table, each in schema.item_schemas.items()})
    inference = Inference(schema.numbers, scale=schema.scale)
    return InferredItems(inference, keeps_versions=isinstance(schema, RegisteredSchema))


def _registered(schema: RegisteredSchema, ids: MakeIds) -> tuple[Converter, Converter]:
    """Return the converters of keys, whose schema never changes, and of values."""
    versions = ids(Registry(schema.registry, schema.auto_register))
    write, strategy = _WRITE[schema.type], schema.subject_name_strategy
    key, of_values = RegisteredConverter(write, subject_of(strategy, "key"), versions), subject_of(strategy, "value")
    if schema.mode == "declared":
        return key, RegisteredConverter(write, of_values, versions)
    return key, EvolvingConverter(write, of_values, versions, auto_register=schema.auto_register)
