"""Services of a test's own, to break them; a proxy before the shared broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient

from support.apicurio import Apicurio
from support.bench import Bench
from support.names import unique
from support.proxy import KafkaProxy
from support.serve_process import ServeProcess
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


@pytest.fixture(scope="session")
def registry() -> Iterator[Apicurio]:
    """One schema registry for all tests, which may stop it and start it again: it keeps its schemas."""
    with Apicurio() as server:
        yield server


@pytest.fixture
def registry_client(registry: Apicurio) -> Iterator[SchemaRegistryClient]:
    """A client of the shared schema registry."""
    with SchemaRegistryClient({"url": registry.url}) as made:
        yield made


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


@pytest.fixture
def bench(
    kafka: KafkaBroker, dynamodb: DynamoDBLocal, tmp_path: Path, aws_environment: dict[str, str]
) -> Iterator[Callable[..., Bench]]:
    """Makes pipelines under test on the shared services, or on others; ends their workers after the test."""
    with ExitStack() as opened:

        def make(*, on: Mapping[str, str] | None = None, endpoint_url: str | None = None, **options: Any) -> Bench:
            where = on or kafka.client_properties()
            return opened.enter_context(Bench(tmp_path, where, endpoint_url or dynamodb.endpoint_url, **options))

        yield make


@pytest.fixture
def client_properties(kafka: KafkaBroker, tmp_path: Path) -> Path:
    """The file for `--kafka`, of the shared broker."""
    path = tmp_path / "client.properties"
    lines = [f"{name}={value}" for name, value in kafka.client_properties().items()]
    path.write_text("\n".join([*lines, "session.timeout.ms=6000", ""]))
    return path


@pytest.fixture
def start_serve(
    client_properties: Path, tmp_path: Path, aws_environment: dict[str, str]
) -> Iterator[Callable[..., ServeProcess]]:
    """Starts processes of `tailrace serve` that are one group; ends them after the test."""
    group = unique("connect")
    started: list[ServeProcess] = []

    def make(*arguments: str, **options: Any) -> ServeProcess:
        process = ServeProcess(client_properties, group, tmp_path / f"serve-{len(started)}.log", *arguments, **options)
        started.append(process)
        return process.__enter__()

    yield make
    for process in started:
        process.stop()
