"""Connectors' documented configurations run as they are; only names, endpoints and credentials are ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from support.cli import CommandLine
from support.kinesis_bench import kinesis_of
from support.names import unique
from support.waiting import wait_for
from support.worker_process import LoggedWorker
from tailrace.errors import WorldError
from tailrace.kafka.topic_reader import TopicReader
from tailrace.local.dynamodb import DynamoDBLocal
from tailrace.local.kafka import KafkaBroker
from tailrace.local.workload import TableSpec, connect, create_table
from tailrace_simulator import SimulatedDynamoDB

SECRETS = {"aws.access.key.id": "AKIAIOSFODNN7EXAMPLE"}


class Found(NamedTuple):
    key: Any
    value: Any
    headers: dict[str, Any]


@contextmanager
def running(client_properties: Path, config: dict[str, str] | str) -> Iterator[LoggedWorker]:
    """Run a connector whose file is beside that of the clients."""
    if isinstance(config, str):
        file = client_properties.with_name("connector.properties")
        file.write_text(config)
    else:
        file = client_properties.with_name("connector.json")
        file.write_text(json.dumps({"name": unique("connector"), "config": config}))
    worker = LoggedWorker(file, "--kafka", str(client_properties))
    try:
        yield worker
    finally:
        worker.close()


def records(kafka: KafkaBroker, topic: str) -> list[Found]:
    try:
        with TopicReader(kafka.client_properties(), topic) as reader:
            return [found(message) for message in reader.read()]
    except WorldError:
        return []  # there is no such topic yet


def found(message: Any) -> Found:
    return Found(message.key(), message.value(), dict(message.headers() or []))


def test_confluents_dynamodb_source(
    kafka: KafkaBroker,
    dynamodb: DynamoDBLocal,
    client_properties: Path,
    aws_environment: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = unique("orders")
    database = connect(dynamodb.endpoint_url)
    create_table(database, TableSpec(table))
    database.put_item(TableName=table, Item={"id": {"S": "before"}, "n": {"N": "1.50"}})
    config = {
        "connector.class": "DynamoDbCdcSource",
        "kafka.auth.mode": "KAFKA_API_KEY",
        **SECRETS,
        "aws.secret.access.key": "secret-of-aws",
        "aws.region": "us-east-1",
        "dynamodb.service.endpoint": dynamodb.endpoint_url,
        "dynamodb.table.discovery.mode": "INCLUDELIST",
        "dynamodb.table.sync.mode": "SNAPSHOT_CDC",
        "dynamodb.table.includelist": table,
        "output.data.format": "JSON",
        "dynamodb.cdc.max.poll.records": "5000",
        "dynamodb.snapshot.max.poll.records": "1000",
        "tasks.max": "1",
    }
    with running(client_properties, config):
        wait_for("the table is loaded", lambda: "SNAPSHOT" in modes(kafka, table), 90)
        database.put_item(TableName=table, Item={"id": {"S": "a"}, "n": {"N": "2"}})
        database.delete_item(TableName=table, Key={"id": {"S": "a"}})
        wait_for(
            "the delete and its tombstone", lambda: [each.value for each in of(kafka, table, "a")][-1:] == [None], 60
        )
    created, deleted, tombstone = of(kafka, table, "a")
    envelope = json.loads(created.value)
    assert (envelope["op"], envelope["source"]["tableName"], envelope["source"]["sync_mode"]) == ("c", table, "CDC")
    assert json.loads(envelope["after"]["document"]) == {"id": {"S": "a"}, "n": {"N": "2"}}
    gone = json.loads(deleted.value)
    assert (gone["op"], gone["after"], json.loads(gone["before"]["document"])["n"]) == ("d", None, {"N": "2"})
    assert tombstone.value is None
    tailrace = CommandLine(capsys)
    given = (client_properties.with_name("connector.json"), "--kafka", client_properties)
    assert tailrace("validate", *given).code == 0
    planned = tailrace("plan", *given)
    assert (planned.code, table in planned.out) == (0, True), planned
    assert yaml.safe_load(tailrace("import", *given).out)["source"]["tables"] == [table]


def modes(kafka: KafkaBroker, topic: str) -> set[str]:
    return {json.loads(each.value)["source"]["sync_mode"] for each in records(kafka, topic) if each.value}


def of(kafka: KafkaBroker, topic: str, item_id: str) -> list[Found]:
    return [each for each in records(kafka, topic) if json.loads(each.key) == {"id": item_id}]


@pytest.mark.parametrize("managed", [False, True], ids=["self-managed", "managed"])
def test_confluents_kinesis_sources(
    kafka: KafkaBroker, client_properties: Path, aws_environment: dict[str, str], managed: bool
) -> None:
    topic = unique("kinesis-topic")
    common = {
        **SECRETS,
        "aws.secret.key.id": "secret-of-aws",
        "kafka.topic": topic,
        "kinesis.stream": "my_kinesis",
        "kinesis.region": "US_EAST_1",
        "kinesis.position": "TRIM_HORIZON",
        "tasks.max": "1",
    }
    with SimulatedDynamoDB() as simulated:
        client = kinesis_of(simulated)
        client.create_stream(StreamName="my_kinesis", ShardCount=2)
        for number in range(10):
            client.put_record(StreamName="my_kinesis", Data=f"record {number}".encode(), PartitionKey=f"key {number}")
        client.close()
        if managed:
            chosen = {
                "connector.class": "KinesisSource",
                "kafka.auth.mode": "KAFKA_API_KEY",
                "output.data.format": "BYTES",
            }
            with pytest.MonkeyPatch.context() as patched:
                patched.setenv("AWS_ENDPOINT_URL_KINESIS", simulated.endpoint_url)
                with running(client_properties, common | chosen):
                    wait_for("all records", lambda: len(records(kafka, topic)) == 10, 60)
        else:
            chosen = {
                "connector.class": "io.confluent.connect.kinesis.KinesisSourceConnector",
                "kinesis.base.url": simulated.endpoint_url,
                "confluent.topic.bootstrap.servers": "localhost:9092",
                "confluent.topic.replication.factor": "1",
                "key.converter": "org.apache.kafka.connect.storage.StringConverter",
                "value.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
            }
            lines = "".join(f"{name}={value}\n" for name, value in {"name": topic, **common, **chosen}.items())
            with running(client_properties, lines):
                wait_for("all records", lambda: len(records(kafka, topic)) == 10, 60)
    by_key = {each.key: each for each in records(kafka, topic)}
    assert by_key[b"key 3"].value == b"record 3"
    assert {"sequenceNumber", "approximateArrivalTimestamp", "partitionKey", "shardId", "streamName"} == set(
        by_key[b"key 3"].headers
    )
