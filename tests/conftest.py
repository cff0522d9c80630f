"""The services that tests share, started when the first test asks for them; what tests measured, told at the end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import boto3
import pytest

from support.azurite_store import Azurite
from support.fake_gcs import FakeGcs
from support.kinesis_local import KinesisLocal
from support.seaweed import Seaweed
from tailrace.local.dynamodb import CREDENTIALS, REGION, DynamoDBLocal
from tailrace.local.kafka import KafkaBroker
from tailrace.local.service import free_ports
from tailrace.remedy import speak_as
from tailrace.remedy_sentences import sentence

_TOLD = "told"


def pytest_configure() -> None:
    """Tests interrupt processes, which would ignore that if this one did, as in a shell's background.

    Errors end with the command line's words, as in every process of Tailrace that prints them.
    """
    speak_as(sentence)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaBroker]:
    """One broker for all tests: use topics, groups and transactional ids of your own, and do not stop it.

    It keeps every record: tests write changes of long ago, which retention would delete in the middle of one.
    """
    with KafkaBroker(proxy_port=free_ports(1)[0], properties={"log.retention.ms": "-1"}) as broker:
        yield broker


@pytest.fixture(scope="session")
def seaweed() -> Iterator[Seaweed]:
    """One S3 for all tests: use prefixes of your own, and do not stop it; takes 3 s."""
    with Seaweed() as server:
        yield server


@pytest.fixture(scope="session")
def fake_gcs() -> Iterator[FakeGcs]:
    """One Google Cloud Storage for all tests: use prefixes of your own, and do not stop it."""
    with FakeGcs() as server:
        yield server


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """One Azure Blob Storage for all tests: use prefixes of your own, and do not stop it."""
    with Azurite() as server:
        yield server


@pytest.fixture(scope="session")
def dynamodb() -> Iterator[DynamoDBLocal]:
    """One DynamoDB Local for all tests: use tables of your own, and do not stop it."""
    with DynamoDBLocal() as server:
        yield server


@pytest.fixture(scope="session")
def dynamodb_client(dynamodb: DynamoDBLocal) -> Iterator[Any]:
    """A boto3 client of the shared DynamoDB Local."""
    client = boto3.client(
        "dynamodb",
        endpoint_url=dynamodb.endpoint_url,
        region_name=REGION,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    yield client
    client.close()


@pytest.fixture(scope="session")
def kinesis_local() -> Iterator[KinesisLocal]:
    """One kinesis-local for all tests: use streams of your own, and do not stop it."""
    with KinesisLocal() as server:
        yield server


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Lets a test tell people what it measured, whichever process it runs in."""
    return partial(record_property, _TOLD)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    if told := [text for report in reports for name, text in report.user_properties if name == _TOLD]:
        terminalreporter.section("measured")
        for text in told:
            terminalreporter.write_line(str(text))
