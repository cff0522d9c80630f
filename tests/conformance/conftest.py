"""The services that must behave alike: the simulator and DynamoDB Local."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from botocore.config import Config

from support.aws_service import Service
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
    options = {
        "endpoint_url": endpoint_url,
        "region_name": REGION,
        "aws_access_key_id": CREDENTIALS["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        # What boto3 would not send must be refused by the service.
        "config": Config(parameter_validation=False, retries={"total_max_attempts": 1}),
    }
    service = Service(endpoint_url, boto3.client("dynamodb", **options), boto3.client("dynamodbstreams", **options))
    yield service
    service.tables.close()
    service.streams.close()
