"""The services that tests share, started when the first test asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from tailrace.local.dynamodb import CREDENTIALS, REGION, DynamoDBLocal
from tailrace.local.kafka import KafkaBroker
from tailrace.local.service import free_ports


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaBroker]:
    """One broker for all tests: use topics, groups and transactional ids of your own, and do not stop it.

    It keeps every record: tests write changes of long ago, which retention would delete in the middle of one.
    """
    with KafkaBroker(proxy_port=free_ports(1)[0], properties={"log.retention.ms": "-1"}) as broker:
        yield broker


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
