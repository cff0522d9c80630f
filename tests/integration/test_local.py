"""Kafka and DynamoDB Local on this machine: they start, keep what they promise, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from support.kafka_clients import client, create_topic, produce, read_committed
from support.names import unique
from support.waiting import wait_for
from tailrace.errors import WorldError
from tailrace.local.artifacts import cache_dir
from tailrace.local.dynamodb import DynamoDBLocal
from tailrace.local.kafka import SUPER_USER, KafkaBroker, KafkaCluster
from tailrace.local.stack import LocalStack


def runs(pid: int) -> bool:
    """Whether a process that need not be our child is there, zombies not counted."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(shown.strip()) and not shown.startswith("Z")


def values(properties: dict[str, str], topic: str) -> list[bytes | None]:
    return [message.value() for message in read_committed(properties, topic)]


def test_the_stack_serves_both_and_leaves_nothing() -> None:
    with LocalStack() as stack:
        pids = [stack.kafka.pid, stack.dynamodb.pid]
        folders = [stack.kafka.folder, stack.dynamodb.folder]
        topic = create_topic(stack.kafka.client_properties())
        produce(stack.kafka.client_properties(), topic, b"a")
        assert values(stack.kafka.client_properties(), topic) == [b"a"]
        assert all(runs(pid) for pid in pids)
    assert not any(runs(pid) for pid in pids)
    assert not any(folder.exists() for folder in folders)


def test_a_stream_of_dynamodb_local_has_one_shard(dynamodb_client: Any) -> None:
    table = dynamodb_client.create_table(
        TableName=unique("orders"),
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    assert table["TableDescription"]["LatestStreamArn"]


def test_kafka_keeps_its_topics_over_restart_and_kill(own_kafka: KafkaBroker) -> None:
    properties = own_kafka.client_properties()
    topic = create_topic(properties)
    produce(properties, topic, b"before")

    own_kafka.restart()
    produce(properties, topic, b"after restart")
    own_kafka.kill()
    own_kafka.start()
    produce(properties, topic, b"after kill")

    assert own_kafka.client_properties() == properties
    assert values(properties, topic) == [b"before", b"after restart", b"after kill"]


def test_a_frozen_service_answers_nothing_until_it_is_resumed(own_dynamodb: DynamoDBLocal) -> None:
    own_dynamodb.freeze()
    assert not own_dynamodb._is_ready(timeout_s=0.3)
    own_dynamodb.resume()
    own_dynamodb.wait_until_ready()


def test_three_brokers_serve_on_when_one_is_killed() -> None:
    with KafkaCluster(3) as cluster:
        properties = {"bootstrap.servers": cluster.bootstrap_servers}
        topic = create_topic(properties, replication_factor=3)
        produce(properties, topic, b"three")
        cluster.brokers[0].kill()
        produce(properties, topic, b"two")
        assert values(properties, topic) == [b"three", b"two"]


def test_a_user_may_do_only_what_acls_allow() -> None:
    with KafkaBroker(users={SUPER_USER: "secret", "guest": "guest"}) as broker:
        topic = create_topic(broker.client_properties())
        produce(broker.client_properties(), topic, b"mine")

        refused: list[KafkaError | None] = []
        guest = Producer(client(broker.client_properties("guest")))
        guest.produce(topic, b"not mine", on_delivery=lambda error, _: refused.append(error))
        guest.flush(20)
        assert [error and error.code() for error in refused] == [KafkaError.TOPIC_AUTHORIZATION_FAILED]

        stranger = broker.client_properties() | {"sasl.password": "wrong"}
        with pytest.raises(KafkaException):
            AdminClient(client(stranger)).list_topics(timeout=2)


def test_a_service_that_cannot_start_says_why(dynamodb: DynamoDBLocal, tmp_path: Path) -> None:
    with pytest.raises(WorldError, match=r"kafka ended while starting: .*see .*kafka\.log"):
        KafkaBroker(folder=tmp_path, port=dynamodb.port).start()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_service_outlives_its_parent(how: signal.Signals) -> None:
    program = """
import sys
from tailrace.local.dynamodb import DynamoDBLocal
with DynamoDBLocal() as server:
    print(server.pid, server.folder, flush=True)
    sys.stdin.read()
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with parent:
        assert parent.stdout
        pid, folder = parent.stdout.readline().split()
        assert runs(int(pid))
        parent.send_signal(how)
        parent.wait()
        wait_for("the service ends", lambda: not runs(int(pid)))
        wait_for("its folder is removed", lambda: not Path(folder.decode()).exists())


@pytest.fixture
def own_cache(tmp_path: Path, kafka: KafkaBroker, dynamodb: DynamoDBLocal) -> Iterator[dict[str, str]]:
    """An environment whose cache has the jars (the shared services fetched them) and nothing else."""
    (tmp_path / "jars").symlink_to(cache_dir() / "jars")
    environment = os.environ | {"TAILRACE_CACHE": str(tmp_path)}
    yield environment
    local(environment, "down")


def local(environment: dict[str, str], *arguments: str) -> Any:
    program = "from tailrace.cli.local import app; app()"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, "--json"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_up_leaves_both_running_until_down(own_cache: dict[str, str]) -> None:
    assert local(own_cache, "status")["running"] is False

    started = local(own_cache, "up")
    assert local(own_cache, "status") == started
    assert local(own_cache, "up") == started
    topic = create_topic({"bootstrap.servers": started["bootstrap.servers"]})
    produce({"bootstrap.servers": started["bootstrap.servers"]}, topic, b"a")

    assert local(own_cache, "down") == {"stopped": True}
    assert local(own_cache, "status")["running"] is False
    assert local(own_cache, "down") == {"stopped": False}
    assert not Path(started["folder"]).exists()
