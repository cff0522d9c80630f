"""A broker that has just started, or was frozen, names no broker or is silent: that stops and misleads no process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

import tailrace
from support.metadata_broker import MetadataBroker
from tailrace.errors import UnreachableError
from tailrace.kafka import clients, topics
from tailrace.kafka.clients import Admin

TIMEOUT_S = 10.0


@pytest.fixture
def broker() -> Iterator[MetadataBroker]:
    with MetadataBroker() as broker:
        yield broker


@pytest.fixture
def admin(broker: MetadataBroker) -> Admin:
    """Return a client that knew the broker before it was fenced."""
    admin = clients.admin(broker.client_properties, TIMEOUT_S)
    clients.ping(admin, {}, "shop.checkpoints", TIMEOUT_S)
    broker.fenced = True
    return admin


def test_a_cluster_without_brokers_does_not_answer_a_ping(admin: Admin) -> None:
    for _ in range(3):
        with pytest.raises(UnreachableError, match="asking Kafka whether it is there failed: no broker"):
            clients.ping(admin, {}, "shop.checkpoints", TIMEOUT_S)


def test_a_cluster_without_brokers_cannot_be_described(admin: Admin) -> None:
    with pytest.raises(UnreachableError, match="asking Kafka for its topics failed"):
        topics.describe(admin, {})


def test_a_leader_that_is_silent_holds_no_offset_rather_than_a_made_up_one(broker: MetadataBroker) -> None:
    admin = clients.admin(broker.client_properties, timeout_s=1.0)
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # as the library is
    (answer,) = clients.offsets(admin, {TopicPartition("shop.orders", 0): latest}).values()
    with pytest.raises(KafkaException) as error:
        answer.result(TIMEOUT_S)
    assert error.value.args[0].code() == KafkaError._TIMED_OUT


@pytest.mark.parametrize("call", [".describe_cluster(", ".list_offsets("])
def test_calls_that_abort_or_mislead_are_made_by_nobody_else(call: str) -> None:
    """`clients` says why, and what to use."""
    product = Path(tailrace.__file__).parent
    callers = {path.name for path in product.rglob("*.py") if call in path.read_text()}
    assert callers <= {"clients.py"}
