"""Makes what encodes a pipeline's records as Kafka Connect would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from tailrace import formats
from tailrace.config.model import Pipeline
from tailrace.config.record_schema import RegisteredSchema
from tailrace.connect.avro_schema import avro_schema
from tailrace.connect.chain import Chain
from tailrace.connect.converters import Converter, converter
from tailrace.connect.data import Schema
from tailrace.connect.evolving import EvolvingConverter
from tailrace.connect.inference import Inference
from tailrace.connect.json_schema import json_schema
from tailrace.connect.protobuf_schema import protobuf_schema
from tailrace.connect.registered import MakeIds, RegisteredConverter, Registry, subject_of
from tailrace.connect.written import Written
from tailrace.convert.connect_encoder import ConnectEncoder
from tailrace.formats.debezium import DebeziumFormat
from tailrace.formats.debezium_record import DebeziumRecords

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
        inference = Inference(schema.numbers, scale=schema.scale)
        make_record = DebeziumRecords(made, inference, keeps_versions=in_registry).connect_record
    if isinstance(schema, RegisteredSchema):
        key, value = _registered(schema, ids)
    else:
        key, value = converter(properties, "key", ids), converter(properties, "value", ids)
    return ConnectEncoder(make_record, Chain(properties), key, value)


def _registered(schema: RegisteredSchema, ids: MakeIds) -> tuple[Converter, Converter]:
    """Return the converters of keys, whose schema never changes, and of values."""
    versions = ids(Registry(schema.registry, schema.auto_register))
    write = _WRITE[schema.type]
    key = RegisteredConverter(write, subject_of(schema.subject_name_strategy, "key"), versions)
    value = EvolvingConverter(
        write,
        subject_of(schema.subject_name_strategy, "value"),
        versions,
        auto_register=schema.auto_register,
    )
    return key, value
