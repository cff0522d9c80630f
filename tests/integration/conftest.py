"""Services of a test's own, to break them; a proxy before the shared broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.proxy import KafkaProxy
from tailrace.local.dynamodb import CREDENTIALS, DynamoDBLocal
from tailrace.local.kafka import KafkaBroker


@pytest.fixture
def own_kafka() -> Iterator[KafkaBroker]:
    """A broker that the test may restart, freeze and kill; takes some 4 s."""
    with KafkaBroker() as broker:
        yield broker


@pytest.fixture
def own_dynamodb() -> Iterator[DynamoDBLocal]:
    """A DynamoDB Local that the test may freeze and kill; takes a second."""
    with DynamoDBLocal() as server:
        yield server


@pytest.fixture
def kafka_proxy(kafka: KafkaBroker) -> Iterator[KafkaProxy]:
    """A proxy before the shared broker: clients begin at `kafka.proxied_bootstrap_servers`."""
    assert kafka.proxy_port
    with KafkaProxy(kafka.proxy_port, kafka.behind_proxy_port) as proxy:
        yield proxy


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Sets the credentials that DynamoDB Local wants, for this process and those that it starts."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return CREDENTIALS
