"""A simulator for AWS, credentials for it, and a clock that does not wait."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.fake_aws import ACCESS_KEY, SECRET_KEY, TOKEN, FakeAws
from tailrace.aws.session import AwsSession, AwsSettings
from tailrace.sources.dynamodb.streams import DynamoDBStreams


@pytest.fixture(scope="session")
def _server() -> Iterator[FakeAws]:
    server = FakeAws()
    yield server
    server.close()


@pytest.fixture
def no_aws_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    _clear(monkeypatch)
    return monkeypatch


@pytest.fixture
def fake(_server: FakeAws, no_aws_environment: pytest.MonkeyPatch) -> Iterator[FakeAws]:
    """The simulator for AWS, with an empty script."""
    yield _server
    _server.reset()


@pytest.fixture(scope="session")
def session(_server: FakeAws) -> AwsSession:
    """A session whose endpoints are the simulator's, with a known key."""
    with pytest.MonkeyPatch.context() as environment:
        _clear(environment)
        environment.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        environment.setenv("AWS_SESSION_TOKEN", TOKEN)
        return AwsSession(AwsSettings(region="eu-west-1", endpoint_url=_server.url))


@pytest.fixture
def slept() -> list[float]:
    """The pauses that the source made, seconds."""
    return []


@pytest.fixture
def streams(fake: FakeAws, session: AwsSession, slept: list[float]) -> Iterator[DynamoDBStreams]:
    source = DynamoDBStreams(session, readers=2, connect_timeout_s=30, read_timeout_s=30, sleep=slept.append)
    yield source
    source.close()


def _clear(environment: pytest.MonkeyPatch) -> None:
    """Keep what this machine knows of AWS, and its proxies, out of the tests."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "DEFAULT_PROFILE", "REGION"):
        environment.delenv(f"AWS_{name}", raising=False)
    environment.delenv("AWS_DEFAULT_REGION", raising=False)
    environment.delenv("AWS_CA_BUNDLE", raising=False)
    environment.setenv("AWS_CONFIG_FILE", "/dev/null")
    environment.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        environment.delenv(name, raising=False)
    environment.setenv("NO_PROXY", "*")
