"""Connect's converters with a real schema registry: what other clients read, and a schema that is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka.schema_registry import ConfigCompatibilityLevel, Schema, SchemaRegistryClient, ServerConfig
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from support.apicurio import Apicurio
from support.bench import Bench
from support.kafka_clients import read_committed
from support.waiting import wait_for
from tailrace.connect.registered import AVRO, JSON_SCHEMA, PROTOBUF

Table = Callable[[str, str], tuple[Bench, str]]


@pytest.fixture
def table_with(bench: Callable[..., Bench], registry: Apicurio) -> Table:
    """Makes a pipeline of one table with the converters of this class for keys and values."""

    def make(key: str, value: str) -> tuple[Bench, str]:
        connect = {"key.converter": key, "value.converter": value}
        with_registry = [name for name, kind in connect.items() if kind.startswith("io.confluent.")]
        connect |= {f"{name}.schema.registry.url": registry.url for name in with_registry}
        settings = {"format": "trustpilot", "topics": {"partitions": 1}, "connect": connect}
        pipeline = bench(tables=1, settings=settings)
        return pipeline, pipeline.topic(pipeline.tables[0])

    return make


def put(pipeline: Bench, **attributes: str) -> None:
    item = {"id": {"S": "a"}} | {name: {"S": text} for name, text in attributes.items()}
    pipeline.dynamodb.put_item(TableName=pipeline.tables[0], Item=item)


def records(pipeline: Bench, topic: str, count: int) -> list[tuple[Any, Any]]:
    def found() -> list[tuple[Any, Any]]:
        if topic not in pipeline.existing_topics():
            return []
        return [(each.key(), each.value()) for each in read_committed(pipeline.kafka, topic)]

    wait_for(f"{topic} has {count} records", lambda: len(found()) >= count)
    return found()


def test_avro(table_with: Table, registry_client: SchemaRegistryClient) -> None:
    pipeline, topic = table_with(AVRO, AVRO)
    put(pipeline, note="one")
    put(pipeline, note="two", more="attributes")
    pipeline.dynamodb.delete_item(TableName=pipeline.tables[0], Key={"id": {"S": "a"}})
    pipeline.worker()
    found = records(pipeline, topic, 4)
    read = AvroDeserializer(registry_client)
    keys = [read(key, SerializationContext(topic, MessageField.KEY)) for key, _ in found]
    values = [read(value, SerializationContext(topic, MessageField.VALUE)) for _, value in found]
    assert keys == [{"id": "a"}] * 4
    assert values[3] is None
    assert [each["op"] for each in values[:3]] == ["c", "u", "d"]
    assert json.loads(values[1]["document"])["more"] == {"s": "attributes"}
    assert sorted(each for each in registry_client.get_subjects() if each.startswith(topic)) == [
        f"{topic}-key",
        f"{topic}-value",
    ]


def test_json_schema_and_protobuf(table_with: Table, registry_client: SchemaRegistryClient) -> None:
    pipeline, topic = table_with(JSON_SCHEMA, JSON_SCHEMA)
    put(pipeline, note="one")
    other, other_topic = table_with("org.apache.kafka.connect.storage.StringConverter", PROTOBUF)
    put(other, note="one")
    pipeline.worker(None, str(other.file))
    ((key, value),) = records(pipeline, topic, 1)
    text = registry_client.get_latest_version(f"{topic}-value").schema.schema_str
    assert text is not None
    read = JSONDeserializer(text, schema_registry_client=registry_client)
    assert read(value, SerializationContext(topic, MessageField.VALUE))["op"] == "c"
    assert json.loads(key[5:]) == {"id": "a"}
    ((key, value),) = records(other, other_topic, 1)
    assert key == b"{id=a}"
    held = registry_client.get_latest_version(f"{other_topic}-value")
    assert (held.schema.schema_type, value[0], value[5]) == ("PROTOBUF", 0, 0)
    assert int.from_bytes(value[1:5], "big") == held.schema_id


def test_a_schema_that_is_not_compatible_stops_its_shard_until_that_is_resolved(
    table_with: Table, registry_client: SchemaRegistryClient
) -> None:
    pipeline, topic = table_with("org.apache.kafka.connect.storage.StringConverter", AVRO)
    subject = f"{topic}-value"
    older = {"type": "record", "name": "Other", "fields": [{"name": "a", "type": "string"}]}
    registry_client.register_schema(subject, Schema(json.dumps(older), "AVRO"))
    registry_client.set_config(subject, ServerConfig(compatibility=ConfigCompatibilityLevel.BACKWARD))
    put(pipeline, note="one")
    worker = pipeline.worker()
    worker.wait_logged("read failed")
    assert "is not compatible with those that the registry has" in worker.tail()
    registry_client.set_config(subject, ServerConfig(compatibility=ConfigCompatibilityLevel.NONE))
    ((_, value),) = records(pipeline, topic, 1)
    assert AvroDeserializer(registry_client)(value, SerializationContext(topic, MessageField.VALUE))["op"] == "c"
