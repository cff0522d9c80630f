"""Documents with a real schema registry: read by other clients, read back, after it was down, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import ConfigCompatibilityLevel, Schema, SchemaRegistryClient, ServerConfig
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from support.apicurio import Apicurio
from support.bench import Bench
from support.cli import CommandLine
from support.kafka_clients import TIMEOUT_S, read_topics, transactional_producer
from support.protobuf_messages import message_class
from support.waiting import wait_for
from tailrace.config import load
from tailrace.core.change import Change, Origin
from tailrace.core.ports import SourcePage, SourceRecord
from tailrace.core.shard import ShardRef
from tailrace.errors import WorldError
from tailrace.formats import make_format
from tailrace.formats.documents import DEBEZIUM, KEY
from tailrace.wiring.pipeline import make_converter, make_documents
from tailrace.wiring.transformations import Transformations

Documented = Callable[..., Bench]


@pytest.fixture
def documented(bench: Callable[..., Bench], registry: Apicurio) -> Documented:
    """Makes a pipeline of one table that writes documents of a type."""

    def make(kind: str, **more: Any) -> Bench:
        schema = {"type": kind, "registry": {"url": registry.url}, **more}
        return bench(tables=1, settings={"schema": schema, "topics": {"partitions": 2}})

    return make


def put(pipeline: Bench, key: str, note: str) -> None:
    pipeline.dynamodb.put_item(TableName=pipeline.tables[0], Item={"id": {"S": key}, "note": {"S": note}})


def delete(pipeline: Bench, key: str) -> None:
    pipeline.dynamodb.delete_item(TableName=pipeline.tables[0], Key={"id": {"S": key}})


def records(pipeline: Bench, count: int) -> list[tuple[Any, Any]]:
    """The records of its topic, once there are so many, in the order of their creation."""
    found: list[tuple[Any, Any]] = []

    def enough() -> bool:
        messages = sorted(read_topics(pipeline.kafka, pipeline.topics), key=lambda each: each.timestamp()[1])
        found[:] = [(each.key(), each.value()) for each in messages]
        return len(found) >= count

    wait_for(f"{pipeline.topics[0]} has {count} records", enough)
    return found


def plant_what_the_table_lacks(pipeline: Bench) -> None:
    """Publish an item that the table never had."""
    loaded = load(pipeline.file).pipeline
    made = make_format("debezium", pipeline=pipeline.name, numbers="exact").encode(change(pipeline, "ghost"), 1)
    documents = make_documents(loaded)
    assert documents is not None
    record = documents.of(made, pipeline.topics[0])
    producer = transactional_producer(pipeline.kafka)
    producer.begin_transaction()
    producer.produce(pipeline.topics[0], record.value, record.key)
    producer.commit_transaction(TIMEOUT_S)


def change(pipeline: Bench, key: str) -> Change:
    keys = b'{"id":{"S":"%b"}}' % key.encode()
    return Change("c", pipeline.tables[0], keys, None, keys, 1, "e", "1", "s", "arn", "us-east-1", "NEW_IMAGE")


def test_each_change_once_although_the_registry_is_down_and_all_that_reads_topics_reads_them(
    documented: Documented,
    registry: Apicurio,
    registry_client: SchemaRegistryClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipeline = documented("avro")
    topic = pipeline.topics[0]
    registry.kill()
    put(pipeline, "a", "1")
    worker = pipeline.worker()
    worker.wait_logged("read failed")
    assert "does not answer" in worker.tail()
    put(pipeline, "b", "2")
    registry.start()
    records(pipeline, 2)
    put(pipeline, "a", "3")
    delete(pipeline, "b")
    found = records(pipeline, 5)
    read = AvroDeserializer(registry_client)
    changes = []
    for key, value in found:
        key_read = read(key, SerializationContext(topic, MessageField.KEY))
        value_read: Any = read(value, SerializationContext(topic, MessageField.VALUE))
        changes.append((key_read, value_read and (value_read["op"], value_read["before"], value_read["after"])))
    a, b = {"key": '{"id":"a"}'}, {"key": '{"id":"b"}'}
    assert [change for key, change in changes if key == a] == [
        ("c", None, '{"id":"a","note":"1"}'),
        ("u", '{"id":"a","note":"1"}', '{"id":"a","note":"3"}'),
    ]
    assert [change for key, change in changes if key == b] == [
        ("c", None, '{"id":"b","note":"2"}'),
        ("d", '{"id":"b","note":"2"}', None),
        None,
    ]
    cli = CommandLine(capsys)
    tailed = cli("tail", pipeline.file, "--from", "beginning", "--limit", "5", "--json").out.splitlines()
    assert {json.loads(line)["key"]["id"] for line in tailed} == {"a", "b"}
    assert cli("verify", pipeline.file).code == 0
    plant_what_the_table_lacks(pipeline)
    assert cli("verify", pipeline.file, "--repair").code == 0
    value_read = read(records(pipeline, 7)[-2][1], SerializationContext(topic, MessageField.VALUE))
    assert (value_read["op"], value_read["before"]) == ("d", '{"id":"ghost"}')
    assert cli("export", pipeline.file, "--to", tmp_path / "out", "--until-end").code == 0
    lines = [
        json.loads(line)
        for file in (tmp_path / "out" / topic).rglob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    assert sorted(str(each["value"] and each["value"]["op"]) for each in lines) == [
        "None",
        "None",
        "c",
        "c",
        "c",
        "d",
        "d",
        "u",
    ]


def test_json_schema_and_protobuf(documented: Documented, registry_client: SchemaRegistryClient) -> None:
    as_json, as_protobuf = documented("json"), documented("protobuf")
    for pipeline in (as_json, as_protobuf):
        put(pipeline, "a", "1")
    as_json.worker(None, str(as_protobuf.file))
    (key, value), *_ = records(as_json, 1)
    for part, content in ((MessageField.KEY, key), (MessageField.VALUE, value)):
        text = registry_client.get_latest_version(f"{as_json.topics[0]}-{part}").schema.schema_str
        assert text is not None
        found = JSONDeserializer(text, schema_registry_client=registry_client)(
            content, SerializationContext(as_json.topics[0], part)
        )
        assert found == {"id": "a"} if part == MessageField.KEY else found["after"] == {"id": "a", "note": "1"}
    (key, value), *_ = records(as_protobuf, 1)
    for part, content, shape in ((MessageField.KEY, key, KEY), (MessageField.VALUE, value, DEBEZIUM)):
        text = registry_client.get_latest_version(f"{as_protobuf.topics[0]}-{part}").schema.schema_str
        assert text is not None
        read = ProtobufDeserializer(message_class(text, str(shape.schema.name)), {"use.deprecated.format": False})
        found = read(content, SerializationContext(as_protobuf.topics[0], part))
        assert found.key == '{"id":"a"}' if part == MessageField.KEY else json.loads(found.after)["note"] == "1"


def test_what_the_registry_refuses_is_one_sentence(
    documented: Documented, registry_client: SchemaRegistryClient
) -> None:
    pipeline = documented("avro", auto_register=False)
    loaded = load(pipeline.file).pipeline
    origin = Origin(pipeline.tables[0], "1", 1, b"")

    def convert(file: Any) -> None:
        converter = make_converter(file, Transformations(file))
        converter.convert(
            ShardRef("arn", "s"), SourcePage([SourceRecord(origin, change(pipeline, "a"))], None, 1, full=False), 1
        )

    with pytest.raises(WorldError, match=f"has no such schema for {pipeline.topics[0]}-key, and it is not"):
        convert(loaded)
    registered = load(pipeline.write_file(schema={**pipeline.settings["schema"], "auto_register": True})).pipeline
    subject = f"{pipeline.topics[0]}-value"
    older = {"type": "record", "name": "Other", "fields": [{"name": "a", "type": "string"}]}
    registry_client.register_schema(subject, Schema(json.dumps(older), "AVRO"))
    registry_client.set_config(subject, ServerConfig(compatibility=ConfigCompatibilityLevel.BACKWARD))
    with pytest.raises(WorldError, match=f"the schema of {subject} is not compatible with those that the registry has"):
        convert(registered)
    registry_client.set_config(subject, ServerConfig(compatibility=ConfigCompatibilityLevel.NONE))
    convert(registered)
    convert(loaded)
