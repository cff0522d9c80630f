"""Schemas inferred from items, or declared, in a real registry: workers that race and are killed, what is refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka.schema_registry import ConfigCompatibilityLevel, Schema, SchemaRegistryClient, ServerConfig
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from support.apicurio import Apicurio
from support.bench import Bench
from support.cli import CommandLine
from support.kafka_clients import read_committed
from support.names import unique
from support.waiting import wait_for
from tailrace.kafka import headers
from tailrace.operations.record_view import header_texts

Make = Callable[..., Bench]


@pytest.fixture(scope="module")
def registry() -> Iterator[Apicurio]:
    with Apicurio() as server:
        yield server


@pytest.fixture
def client(registry: Apicurio) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": registry.url}) as made:
        yield made


@pytest.fixture
def make(bench: Callable[..., Bench], registry: Apicurio) -> Make:
    """Makes a pipeline of one table, whose topic may have a name."""

    def pipeline(topic: str = "{pipeline}.{table}", declare: str | None = None, **schema: Any) -> Bench:
        schema = {"type": "avro", "mode": "inferred", "registry": {"url": registry.url}} | schema
        settings = {"topic": topic, "topics": {"partitions": 1}}
        if declare is None:
            return bench(tables=1, settings=settings | {"schema": schema})
        made = bench(tables=1, settings=settings)
        made.settings["schema"] = schema | {"mode": "declared", "declared_versions": {made.tables[0]: declare}}
        made.file = made.write_file()
        return made

    return pipeline


def put(pipeline: Bench, item_id: str, **attributes: Any) -> None:
    pipeline.dynamodb.put_item(TableName=pipeline.tables[0], Item={"id": {"S": item_id}} | attributes)


def records(pipeline: Bench, topic: str, count: int) -> list[bytes]:
    def found() -> list[bytes]:
        there = topic in pipeline.existing_topics()
        return [each.value() or b"" for each in read_committed(pipeline.kafka, topic)] if there else []

    wait_for(f"{topic} has {count} records", lambda: len(found()) >= count)
    return found()


def letters(pipeline: Bench, count: int) -> list[str]:
    def found() -> list[str]:
        held = read_committed(pipeline.kafka, pipeline.dead_letters_topic)
        return [header_texts(each.headers())[headers.REASON] for each in held]

    wait_for(f"there are {count} dead letters", lambda: len(found()) >= count)
    return found()


def test_workers_that_race_and_are_killed_agree_on_one_schema(make: Make, client: SchemaRegistryClient) -> None:
    """Two pipelines write to one topic, each with attributes that the other does not know."""
    topic = unique("shared")
    pipelines = [make(topic), make(topic)]
    workers = [each.worker() for each in pipelines]
    names = "abcdefgh"
    for place, name in enumerate(names):
        for number, pipeline in enumerate(pipelines):
            put(pipeline, f"{number}{name}", **{f"{name}{number}": {"S": "x"}, "n": {"N": f"{place}.5"}})
            if place == len(names) // 2 and number == 0:
                workers[number].kill()
                workers[number] = pipeline.worker(ready=False)
    found = records(pipelines[0], topic, 2 * len(names))
    read = AvroDeserializer(client)
    items = [read(each, SerializationContext(topic, MessageField.VALUE))["after"] for each in found]
    written = {f"{number}{name}": (f"{name}{number}", place) for place, name in enumerate(names) for number in (0, 1)}
    assert Counter(item["id"] for item in items) == dict.fromkeys(written, 1)
    for item in items:
        name, place = written[item["id"]]
        assert (item[name], float(item["n"])) == ("x", place + 0.5)
        assert all(value is None for other, value in item.items() if other not in {"id", "n", name})
    # One more item of each, which have what the other has: nobody adds a version.
    subject = f"{topic}-value"
    for number, pipeline in enumerate(pipelines):
        put(pipeline, f"{number}more", **{f"{name}{other}": {"S": "y"} for name in names for other in (0, 1)})
    records(pipelines[0], topic, 2 * len(names) + 2)
    versions = client.get_versions(subject)
    for number, pipeline in enumerate(pipelines):
        put(pipeline, f"{number}last", h0={"S": "z"}, h1={"S": "z"})
    last = records(pipelines[0], topic, 2 * len(names) + 4)[-2:]
    assert client.get_versions(subject) == versions
    latest = client.get_latest_version(subject).schema_id
    assert [int.from_bytes(each[1:5], "big") for each in last] == [latest, latest]


def test_what_does_not_fit_is_told_and_set_aside(
    make: Make, client: SchemaRegistryClient, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = make()
    topic = pipeline.topic(pipeline.tables[0])
    worker = pipeline.worker()
    put(pipeline, "a", size={"N": "1"})
    records(pipeline, topic, 1)
    put(pipeline, "b", size={"S": "large"})
    put(pipeline, "c", size={"N": "0.1234567891"})
    put(pipeline, "d", **{"order-id": {"S": "x"}})
    told = letters(pipeline, 3)
    assert "attribute before.size is a number and text" in told[0]
    assert "has more than 9 digits behind the point" in told[1]
    assert "order-id cannot be a name in Avro" in told[2]
    subject = f"{topic}-value"
    client.set_config(subject, ServerConfig(compatibility=ConfigCompatibilityLevel.FULL))
    put(pipeline, "e", tags={"L": []})
    records(pipeline, topic, 2)
    put(pipeline, "e", tags={"L": [{"S": "x"}]})
    assert "is not compatible with those that the registry has" in letters(pipeline, 4)[3]
    put(pipeline, "f", size={"N": "2"})
    records(pipeline, topic, 3)
    worker.terminate()
    assert worker.wait() == 0
    file = pipeline.write_file(transform=[{"rename": {"order-id": "order_id"}}])
    redriven = CommandLine(capsys)("redrive", file, "--json")
    last = records(pipeline, topic, 4)[-1]
    item = AvroDeserializer(client)(last, SerializationContext(topic, MessageField.VALUE))["after"]
    assert (item["id"], item["order_id"]) == ("d", "x"), redriven


def test_a_registry_that_is_down_and_a_subject_of_someone_else(
    make: Make, registry: Apicurio, client: SchemaRegistryClient
) -> None:
    pipeline = make(type="json")
    topic = pipeline.topic(pipeline.tables[0])
    worker = pipeline.worker()
    put(pipeline, "a", note={"S": "one"})
    records(pipeline, topic, 1)
    registry.stop()
    put(pipeline, "a", note={"S": "two"})  # its shape is known
    records(pipeline, topic, 2)
    put(pipeline, "a", more={"S": "three"})
    worker.wait_logged("read failed")
    assert "does not answer" in worker.tail()
    registry.start()
    records(pipeline, topic, 3)
    assert client.get_versions(f"{topic}-value") == [1, 2]
    other = make(type="protobuf", numbers="string")
    subject = f"{other.topic(other.tables[0])}-value"
    client.register_schema(subject, Schema('{"type": "string"}', "AVRO"))
    put(other, "a")
    stopped = other.worker()
    stopped.wait_logged("read failed")
    assert "has a schema that Tailrace cannot extend: version 1 is in AVRO, not in PROTOBUF" in stopped.tail()
    assert client.get_versions(subject) == [1]


def test_a_declared_schema(make: Make, client: SchemaRegistryClient) -> None:
    fields = [{"name": "id", "type": "string"}, {"name": "size", "type": ["null", "long"], "default": None}]
    order = json.dumps({"type": "record", "name": "Order", "namespace": "shop", "fields": fields})
    item = unique("item")
    client.register_schema(item, Schema(order, "AVRO"))
    pipeline = make(declare=f"{item}/1")
    topic = pipeline.topic(pipeline.tables[0])
    pipeline.worker()
    put(pipeline, "a", size={"N": "9007199254740993"})
    put(pipeline, "b", size={"N": "1.5"})
    put(pipeline, "c", colour={"S": "red"})
    put(pipeline, "d")
    found = records(pipeline, topic, 2)
    read = AvroDeserializer(client)
    items = [read(each, SerializationContext(topic, MessageField.VALUE))["after"] for each in found]
    assert items == [{"id": "a", "size": 9007199254740993}, {"id": "d", "size": None}]
    told = letters(pipeline, 2)
    assert "attribute size: the number 1.5 is no int64" in told[0]
    assert "attribute colour is not in the declared schema" in told[1]
    assert client.get_versions(f"{topic}-value") == [1]
