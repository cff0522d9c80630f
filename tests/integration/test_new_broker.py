"""What `plan` and `run` say of a broker that nobody has used before, and of one that cannot make its own topics."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from support.cli import CommandLine
from support.pipeline_file import write_file
from support.waiting import wait_for
from tailrace.local.dynamodb import CREDENTIALS
from tailrace.local.kafka import KafkaBroker
from tailrace_simulator import SimulatedDynamoDB

SETTINGS = ("transaction.state.log.replication.factor", "offsets.topic.replication.factor")


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The endpoint of a DynamoDB with two tables whose topics have names that Kafka takes for the same."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with SimulatedDynamoDB() as simulated:
        client = boto3.client("dynamodb", endpoint_url=simulated.endpoint_url)
        for table in ("a_b", "a.b"):
            client.create_table(
                TableName=table,
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                BillingMode="PAY_PER_REQUEST",
                StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
            )
        yield simulated.endpoint_url
        client.close()


def metadata_is_served(broker: KafkaBroker) -> bool:
    try:
        return bool(AdminClient({**broker.client_properties(), "log_level": "0"}).list_topics(timeout=1).brokers)
    except Exception:
        return False


def file_of(folder: Path, broker: KafkaBroker, endpoint_url: str, table: str) -> Path:
    return write_file(folder, broker.client_properties(), "shop", tables=[table], source={"endpoint_url": endpoint_url})


def test_the_first_plan_on_a_new_broker_waits_for_its_coordinators(
    tables: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broker = KafkaBroker()
    try:
        broker.spawn()
        wait_for("the broker", lambda: metadata_is_served(broker))
        ended = CommandLine(capsys)("plan", file_of(tmp_path, broker, tables, "a_b"))
        assert (ended.code, ended.err) == (0, "")
        admin = AdminClient({**broker.client_properties()})
        admin.create_topics([NewTopic("shop.a.b", 1)])["shop.a.b"].result()
        refused = CommandLine(capsys)("plan", file_of(tmp_path, broker, tables, "a_b"))
        assert refused.code == 3
        assert "the topic shop.a_b cannot be made beside shop.a.b" in refused.err
        both = CommandLine(capsys)("plan", file_of(tmp_path, broker, tables, "a?b"))
        assert "the topic shop.a_b cannot be made beside shop.a.b" in both.out
    finally:
        broker.close()


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_broker_that_cannot_make_its_own_topics_is_named_with_its_settings(
    command: str, tables: str, tmp_path: Path
) -> None:
    broker = KafkaBroker(properties=dict.fromkeys(SETTINGS, "3"))
    try:
        broker.spawn()
        wait_for("the broker", lambda: metadata_is_served(broker))
        ended = subprocess.run(
            [sys.executable, "-m", "tailrace", command, str(file_of(tmp_path, broker, tables, "a_b"))],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    finally:
        broker.close()
    assert ended.returncode == 3
    for setting in SETTINGS:
        assert f"{setting}=3, and the cluster has 1 broker" in ended.stderr
