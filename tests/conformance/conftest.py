"""The services that must behave alike: the simulator, and DynamoDB Local or kinesis-local."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from support.aws_service import Service
from support.kinesis_service import KinesisService
from tailrace.local.dynamodb import CREDENTIALS, REGION
from tailrace_simulator import SimulatedDynamoDB

SERVICES = ["simulator", "dynamodb-local"]


@pytest.fixture(scope="module", params=SERVICES)
def endpoint_url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "dynamodb-local":
        yield request.getfixturevalue("dynamodb").endpoint_url
        return
    with SimulatedDynamoDB(seed=1) as simulated:
        simulated.act("settings", settings={"describe_stream_per_second": 0})  # DynamoDB Local has no limits
        yield simulated.endpoint_url


@pytest.fixture(scope="module")
def service(endpoint_url: str) -> Iterator[Service]:
    options = _options(endpoint_url)
    service = Service(endpoint_url, boto3.client("dynamodb", **options), boto3.client("dynamodbstreams", **options))
    yield service
    service.tables.close()
    service.streams.close()


def _options(endpoint_url: str) -> dict[str, Any]:
    return {
        "endpoint_url": endpoint_url,
        "region_name": REGION,
        "aws_access_key_id": CREDENTIALS["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        # What boto3 would not send must be refused by the service.
        "config": Config(parameter_validation=False, retries={"total_max_attempts": 1}),
    }


@pytest.fixture(scope="module", params=["simulator", "kinesis-local"])
def kinesis(request: pytest.FixtureRequest) -> Iterator[KinesisService]:
    if request.param == "kinesis-local":
        yield from _kinesis(request.param, request.getfixturevalue("kinesis_local").endpoint_url)
        return
    with SimulatedDynamoDB(seed=1) as simulated:
        # kinesis-local has no limits
        no_limits = {"kinesis_reads_per_second": 0, "kinesis_read_bytes_per_second": 0}
        simulated.act("settings", settings=no_limits | {"stream_change_s": 0.01})
        yield from _kinesis(request.param, simulated.endpoint_url)


def _kinesis(name: str, endpoint_url: str) -> Iterator[KinesisService]:
    client = boto3.client("kinesis", **_options(endpoint_url))
    yield KinesisService(name, client)
    client.close()
