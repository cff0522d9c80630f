"""`tailrace plan` on real services: what run would use and make, and each sentence when it would not start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from support.checkpoints import birth, checkpoint, lineage, shard, write_topic
from support.checkpoints import table as table_record
from support.cli import CommandLine
from support.kafka_clients import TIMEOUT_S, client
from support.names import unique
from support.pipeline_file import write_file
from tailrace.kafka import clients, topics
from tailrace.local.dynamodb import DynamoDBLocal
from tailrace.local.kafka import KafkaBroker
from tailrace.local.service import free_ports

Write = Callable[..., Path]
Make = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


@pytest.fixture
def name() -> str:
    return unique("plan")


@pytest.fixture
def write(
    kafka: KafkaBroker, dynamodb: DynamoDBLocal, name: str, tmp_path: Path, aws_environment: dict[str, str]
) -> Write:
    """Writes a pipeline file on the shared services, a key a line."""

    def make(*tables: str, source: dict[str, str] | None = None, **settings: Any) -> Path:
        where = {"endpoint_url": dynamodb.endpoint_url} | (source or {})
        properties = settings.pop("kafka", kafka.client_properties())
        return write_file(tmp_path, properties, name, tables=tables, source=where, **settings)

    return make


@pytest.fixture
def table(dynamodb_client: Any) -> Make:
    """Makes tables; without a view type their stream is off."""

    def make(view_type: str | None = "NEW_AND_OLD_IMAGES", prefix: str = "orders") -> str:
        table = unique(prefix)
        stream = {"StreamEnabled": True, "StreamViewType": view_type} if view_type else {"StreamEnabled": False}
        dynamodb_client.create_table(
            TableName=table,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification=stream,
        )
        return table

    return make


def line_of(file: Path, text: str) -> int:
    return next(number for number, line in enumerate(file.read_text().splitlines(), 1) if text in line)


def make_topic(kafka: KafkaBroker, topic: str, partitions: int = 1, **config: str) -> None:
    new = NewTopic(topic, partitions, 1, config={key.replace("_", "."): value for key, value in config.items()})
    admin = AdminClient(client(kafka.client_properties()))
    admin.create_topics([new])[topic].result(TIMEOUT_S)


def test_a_new_pipeline_shows_all_that_it_would_make_and_makes_nothing(
    run: CommandLine, write: Write, table: Make, name: str, kafka: KafkaBroker
) -> None:
    orders = table()
    file = write(orders, lanes=4, topics={"properties": {"retention.ms": "1000"}})
    code, out, err = run("plan", file)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"pipeline {name}: new"
    assert lines[1].startswith(f"  kafka         {kafka.bootstrap_servers}, 1 broker, cluster ")
    assert lines[2] == f"  group         {name}, 0 workers"
    assert lines[3] == (
        f"  lanes         4: topic {name}.checkpoints, to be made: 4 partitions, 1 replica, "
        "cleanup.policy=compact, segment.bytes=52428800"
    )
    assert lines[4] == (
        f"  dead letters  topic {name}.dead-letters, to be made: 1 partition, 1 replica, max.message.bytes=8388608"
    )
    assert lines.pop(5).startswith("  note          snapshot: never, so the topics will hold changes only")
    assert lines[5] == f"table {orders}"
    assert lines[6].startswith(f"  stream        arn:aws:dynamodb:ddblocal:000000000000:table/{orders}/stream/")
    assert lines[6].endswith(", NEW_AND_OLD_IMAGES, 1 open and 0 closed shards")
    assert lines[7] == (
        f"  topic         {name}.{orders}, to be made: 6 partitions, 1 replica, "
        "max.message.bytes=4194304, retention.ms=1000"
    )
    assert lines[8:10] == [
        "aws permissions",
        f"  dynamodb:DescribeTable on arn:aws:dynamodb:us-east-1:*:table/{orders} (reading)",
    ]
    properties = kafka.client_properties()
    found = topics.describe(clients.admin(properties), properties).topics
    assert not [topic for topic in found if topic.startswith(name)]


def test_json_holds_the_whole_plan(run: CommandLine, write: Write, table: Make, name: str) -> None:
    orders = table()
    plan = run("plan", write(orders), "--json").json()
    assert (plan["pipeline"], plan["exists"], plan["brokers"], plan["lanes"]) == (name, False, 1, 16)
    (shown,) = plan["tables"]
    assert (shown["table"], shown["open_shards"], shown["closed_shards"], shown["problems"]) == (orders, 1, 0, [])
    assert shown["topic"]["exists"] is False


def test_topics_that_exist_are_shown_as_they_are_with_a_warning(
    run: CommandLine, write: Write, table: Make, name: str, kafka: KafkaBroker
) -> None:
    orders = table()
    make_topic(kafka, f"{name}.{orders}", 3, max_message_bytes="2000000")
    code, out, _ = run("plan", write(orders, topics={"partitions": 12}))
    assert code == 0
    assert f"  topic         {name}.{orders}, exists: 3 partitions, 1 replica\n" in out
    assert f"  warning       topic {name}.{orders} has partitions=3, the file asks for 12; it is used as it is\n" in out
    assert "has max.message.bytes=2000000, less than 4194304: larger records become dead letters" in out


def test_a_new_pipeline_is_refused_for_each_named_table_that_it_cannot_stream(
    run: CommandLine, write: Write, table: Make, dynamodb: DynamoDBLocal
) -> None:
    good, off, keys_only, missing = table(), table(None), table("KEYS_ONLY"), unique("missing")
    file = write(good, off, keys_only, missing, format="item")
    code, out, err = run("plan", file)
    assert code == 3
    assert f"table {good}\n" in out

    def place(index: int, name: str) -> str:
        return f"error: {file}:{line_of(file, f'- {name}')}: source.tables[{index}]: "

    assert sorted(err.splitlines()) == sorted(
        [
            f"{place(1, off)}table {off} has no stream; switch it on: aws dynamodb update-table --table-name {off} "
            "--stream-specification StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES "
            f"--endpoint-url {dynamodb.endpoint_url}; or set source.enable_streams, and workers do it",
            f"{place(2, keys_only)}table {keys_only}: the format item needs the new image, which a stream of view type "
            "KEYS_ONLY does not carry; switch the stream to NEW_IMAGE or NEW_AND_OLD_IMAGES, or choose another format",
            f"{place(3, missing)}there is no table {missing}; "
            "create it, or correct the name, source.region or source.endpoint_url",
        ]
    )


def test_a_wildcard_brings_in_what_matches_and_warns_of_what_cannot_be_streamed(
    run: CommandLine, write: Write, table: Make
) -> None:
    prefix = unique("logs")
    good, off = table(prefix=prefix), table(None, prefix=prefix)
    file = write(f"{prefix}-*", f"{prefix}x-*")
    code, out, err = run("plan", file)
    assert (code, err) == (0, "")
    assert f"table {good}\n" in out
    assert f"  problem       {file}:{line_of(file, f'- {prefix}-')}: source.tables[0]: table {off} has no stream" in out
    assert f"  warning       {file}:{line_of(file, f'- {prefix}x')}: source.tables[1]: {prefix}x-* matches no" in out


def test_a_pipeline_that_has_run_before_is_only_warned_of_a_bad_table(
    run: CommandLine, write: Write, table: Make, name: str, kafka: KafkaBroker
) -> None:
    write_topic(kafka.client_properties(), name, 4, [birth(4)])
    good, missing = table(), unique("missing")
    code, out, err = run("plan", write(good, missing, lanes=4))
    assert (code, err) == (0, "")
    assert f"pipeline {name}: has run before" in out
    assert f"there is no table {missing}" in out


def test_a_pipeline_without_any_table_to_stream_is_refused_unless_shards_are_left_to_publish(
    run: CommandLine, write: Write, name: str, kafka: KafkaBroker
) -> None:
    properties = kafka.client_properties()
    write_topic(properties, name, 4, [birth(4), table_record()])
    file = write("orders", lanes=4)
    code, _, err = run("plan", file)
    assert code == 3
    assert "there is no table orders" in err
    write_topic(properties, name, 4, [lineage(shard(1), 4), checkpoint(shard(1), 4)])
    assert run("plan", file).code == 0
    write_topic(properties, name, 4, [checkpoint(shard(1), 4, state="ended")])
    assert run("plan", file).code == 3


def test_another_number_of_lanes_is_refused_with_the_fix(
    run: CommandLine, write: Write, table: Make, name: str, kafka: KafkaBroker
) -> None:
    write_topic(kafka.client_properties(), name, 4, [birth(4)])
    file = write(table(), lanes=8)
    code, _, err = run("plan", file)
    assert code == 3
    assert err == (
        f"error: {file}:{line_of(file, 'lanes')}: lanes: the file asks for 8 lanes, but {name}.checkpoints has 4; "
        "set `lanes: 4`, or stop every worker and run `tailrace rescale`\n"
    )


def test_more_replicas_than_brokers_are_refused(run: CommandLine, write: Write, table: Make) -> None:
    file = write(table(), topics={"replication": 3})
    code, _, err = run("plan", file)
    place = f"{file}:{line_of(file, 'replication')}: topics.replication"
    assert (code, err) == (3, f"error: {place}: 3 replicas need as many brokers, and the cluster has 1\n")


def test_a_kafka_that_cannot_be_reached_is_one_sentence_with_the_key(
    run: CommandLine, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace.kafka.clients.REQUEST_TIMEOUT_S", 1.0)
    file = write("orders", kafka={"bootstrap.servers": f"127.0.0.1:{free_ports(1)[0]}"})
    code, out, err = run("plan", file)
    assert (code, out) == (3, "")
    assert err.startswith(f"error: {file}:{line_of(file, 'bootstrap')}: kafka.bootstrap.servers: asking Kafka for ")
    assert "check that Kafka runs at kafka.bootstrap.servers" in err
    assert err.count("\n") == 1


def test_a_dynamodb_that_cannot_be_reached_is_one_sentence_with_the_key(run: CommandLine, write: Write) -> None:
    file = write("orders", source={"endpoint_url": f"http://127.0.0.1:{free_ports(1)[0]}"})
    code, out, err = run("plan", file)
    assert (code, out) == (3, "")
    assert err.startswith(f"error: {file}:{line_of(file, 'endpoint_url')}: source.endpoint_url: DescribeTable of table")
    assert err.count("\n") == 1


def test_missing_credentials_are_one_sentence_with_the_key(
    run: CommandLine, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write("orders")
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    for variable in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(variable, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    code, out, err = run("plan", file)
    assert (code, out) == (3, "")
    assert err.startswith(f"error: {file}:{line_of(file, 'source')}: source: there are no AWS credentials")


def test_topics_that_may_not_be_written_are_refused(run: CommandLine, write: Write, name: str, table: Make) -> None:
    orders = table()
    with KafkaBroker(users={"admin": "admin-secret", "shop": "shop-secret"}) as broker:
        make_topic(broker, f"{name}.{orders}")
        allow(broker, AclOperation.DESCRIBE, ResourceType.TOPIC, ResourceType.GROUP)
        file = write(orders, kafka=broker.client_properties("shop"))
        code, _, err = run("plan", file)
        assert code == 3
        assert err == (
            f"error: {file}:{line_of(file, 'kafka')}: kafka: there is no right to write the topic {name}.{orders}; "
            "grant the principal Write on it\n"
        )
        allow(broker, AclOperation.WRITE, ResourceType.TOPIC)
        assert run("plan", file).code == 0


def allow(broker: KafkaBroker, operation: AclOperation, *kinds: ResourceType) -> None:
    """Allow an operation on everything of these kinds to the user `shop`."""
    literal, allowed = ResourcePatternType.LITERAL, AclPermissionType.ALLOW
    bindings = [AclBinding(kind, "*", literal, "User:shop", "*", operation, allowed) for kind in kinds]
    admin = AdminClient(client(broker.client_properties()))
    for future in admin.create_acls(bindings).values():
        future.result(TIMEOUT_S)


def test_a_route_shows_its_topics_and_a_step_that_cannot_work_on_a_table_is_refused(
    run: CommandLine, write: Write, table: Make, name: str
) -> None:
    orders, keys = table(), table("KEYS_ONLY", "keys")
    steps = [
        {"tables": [orders], "route": {"by": "item.type", "topics": {"a": "{pipeline}.as", "b": "{pipeline}.bs"}}},
        {"tables": [keys], "filter": "after.type == 'a'"},
        {"tables": [keys], "mask": {"attributes": ["id"]}},
    ]
    file = write(orders, keys, transform=steps)
    code, out, err = run("plan", file)
    assert code == 3
    made = [line.split()[1].rstrip(",") for line in out.splitlines() if line.startswith("  topic ")]
    assert sorted(made) == sorted([f"{name}.as", f"{name}.bs", f"{name}.{keys}"])
    filtered, masked = err.splitlines()
    assert f"table {keys}: transform[1]: filter: the expression after.type == 'a' needs an image" in filtered
    assert "transform[2]: mask: the key attribute id cannot be masked" in masked
