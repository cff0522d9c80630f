"""Credentials, regions and roles: found as AWS's own tools find them, and missing ones told with the fix."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from support.fake_aws import Answer, FakeAws, fault, ok, signature_of
from support.http_proxy import HttpProxy
from tailrace.aws.errors import Subject
from tailrace.aws.http import AwsClient, open_pool
from tailrace.aws.session import AwsSession, AwsSettings
from tailrace.core.ports import ReadError, ReadFailure
from tailrace.errors import WorldError
from tailrace.local.service import free_ports
from tailrace.sources.dynamodb.services import STREAMS

ROLE = "arn:aws:iam::210987654321:role/reader"


def assumed(secret_key: str = "role-secret", *, expires: str = "2099-01-01T00:00:00Z") -> Answer:
    return Answer(
        f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
        <AssumedRoleUser><Arn>arn:aws:sts::210987654321:assumed-role/reader/tailrace</Arn>
        <AssumedRoleId>A:tailrace</AssumedRoleId></AssumedRoleUser><Credentials>
        <AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>{secret_key}</SecretAccessKey>
        <SessionToken>role-token</SessionToken><Expiration>{expires}</Expiration>
        </Credentials></AssumeRoleResult></AssumeRoleResponse>""".encode(),
        headers={"Content-Type": "text/xml"},
    )


def soon() -> str:
    """A time so near that credentials which expire then must be renewed before they are used."""
    return (datetime.now(UTC) + timedelta(minutes=5)).isoformat()


def refused_role(code: str = "AccessDenied", status: int = 403) -> Answer:
    return Answer(
        f"""<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
        <Code>{code}</Code><Message>not authorized to perform: sts:AssumeRole</Message></Error>
        </ErrorResponse>""".encode(),
        status,
        {"Content-Type": "text/xml"},
    )


@pytest.fixture
def environment(no_aws_environment: pytest.MonkeyPatch, fake: FakeAws) -> pytest.MonkeyPatch:
    """An environment with a key of its own and the simulator for STS."""
    no_aws_environment.setenv("AWS_ACCESS_KEY_ID", "AKIDSOURCE")
    no_aws_environment.setenv("AWS_SECRET_ACCESS_KEY", "source-secret")
    no_aws_environment.setenv("AWS_ENDPOINT_URL_STS", fake.url)
    return no_aws_environment


def test_without_credentials_the_fix_is_told(no_aws_environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorldError, match="no AWS credentials; set AWS_ACCESS_KEY_ID"):
        AwsSession(AwsSettings(region="eu-west-1"))


def test_without_a_region_the_fix_is_told(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorldError, match=r"no AWS region is set; set source\.region"):
        AwsSession(AwsSettings())


def test_an_unknown_profile_is_told(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorldError, match="staging"):
        AwsSession(AwsSettings(region="eu-west-1", profile="staging"))


def test_the_region_comes_from_the_settings_first_then_from_the_chain(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_REGION", "sa-east-1")
    assert AwsSession(AwsSettings()).region == "sa-east-1"
    environment.setenv("AWS_DEFAULT_REGION", "us-west-2")
    assert AwsSession(AwsSettings()).region == "us-west-2"
    assert AwsSession(AwsSettings(region="eu-west-1")).region == "eu-west-1"


def test_a_profile_gives_its_credentials_and_region(no_aws_environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("[profile lab]\nregion=eu-north-1\naws_access_key_id=AKIDLAB\naws_secret_access_key=s\n")
    no_aws_environment.setenv("AWS_CONFIG_FILE", str(config))
    session = AwsSession(AwsSettings(profile="lab"))
    assert (session.region, session.credentials().access_key) == ("eu-north-1", "AKIDLAB")


def test_endpoints_are_those_of_aws_or_the_one_that_was_given(environment: pytest.MonkeyPatch) -> None:
    session = AwsSession(AwsSettings(region="eu-west-1"))
    assert session.endpoint("dynamodb") == "https://dynamodb.eu-west-1.amazonaws.com"
    assert session.endpoint("dynamodbstreams") == "https://streams.dynamodb.eu-west-1.amazonaws.com"
    china = AwsSession(AwsSettings(region="cn-north-1"))
    assert china.endpoint("dynamodbstreams") == "https://streams.dynamodb.cn-north-1.amazonaws.com.cn"
    given = AwsSession(AwsSettings(region="eu-west-1", endpoint_url="http://localhost:8000"))
    assert given.endpoint("dynamodb") == given.endpoint("dynamodbstreams") == "http://localhost:8000"


def test_an_endpoint_that_is_no_address_is_told(environment: pytest.MonkeyPatch) -> None:
    session = AwsSession(AwsSettings(region="eu-west-1", endpoint_url="localhost"))
    with pytest.raises(WorldError, match=r"source\.endpoint_url"):
        session.endpoint("dynamodb")


def test_certificates_that_do_not_exist_are_told(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    session = AwsSession(AwsSettings(region="eu-west-1"))
    assert Path(session.certificates()).is_file()
    environment.setenv("AWS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    with pytest.raises(WorldError, match=r"missing\.pem do not exist"):
        AwsSession(AwsSettings(region="eu-west-1")).certificates()


def call_through(proxy: str, environment: pytest.MonkeyPatch, endpoint: str, **more: str) -> bytes:
    """Call GetRecords with these settings of proxies in the environment."""
    environment.delenv("NO_PROXY")
    session = AwsSession(AwsSettings(region="eu-west-1"))
    for name, value in {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, **more}.items():
        environment.setenv(name, value)
    pool = open_pool(session, endpoint, connections=1, connect_timeout_s=1, read_timeout_s=1)
    try:
        return AwsClient(session, pool, endpoint, STREAMS).call("GetRecords", b"{}", Subject("x", "*"))
    finally:
        pool.clear()


@pytest.fixture
def proxy() -> Iterator[HttpProxy]:
    with HttpProxy("ann", "p@ss/word") as proxy:
        yield proxy


def test_a_proxy_of_the_environment_is_used(environment: pytest.MonkeyPatch, fake: FakeAws) -> None:
    fake.answers("GetRecords", ok(), ok())
    call_through(fake.url, environment, "http://dynamodb.invalid")
    assert fake.asked[0].headers["host"] == "dynamodb.invalid"


def test_a_proxy_without_a_scheme_is_used(environment: pytest.MonkeyPatch, fake: FakeAws) -> None:
    fake.answers("GetRecords", ok())
    call_through(fake.url.removeprefix("http://"), environment, "http://dynamodb.invalid")
    assert fake.asked[0].headers["host"] == "dynamodb.invalid"


def test_no_proxy_is_asked_for_a_host_that_no_proxy_names(
    environment: pytest.MonkeyPatch, fake: FakeAws, proxy: HttpProxy
) -> None:
    fake.answers("GetRecords", ok())
    call_through(f"http://{proxy.address}", environment, fake.url, NO_PROXY="127.0.0.1")
    assert proxy.let_through == []


def test_a_proxy_gets_its_user_and_password_and_aws_does_not(
    environment: pytest.MonkeyPatch, fake: FakeAws, proxy: HttpProxy
) -> None:
    fake.answers("GetRecords", ok(n=1))
    assert json.loads(call_through(f"http://ann:p%40ss%2Fword@{proxy.address}", environment, fake.url)) == {"n": 1}
    assert proxy.let_through == [f"POST {fake.url}/"]
    assert "proxy-authorization" not in fake.asked[0].headers


def test_a_tunnel_gets_the_user_and_password(environment: pytest.MonkeyPatch, fake: FakeAws, proxy: HttpProxy) -> None:
    endpoint = fake.url.replace("http:", "https:")
    with pytest.raises(ReadError, match="TLS failed"):  # behind the tunnel nobody speaks TLS
        call_through(f"http://ann:p%40ss%2Fword@{proxy.address}", environment, endpoint)
    assert proxy.let_through == [f"CONNECT {endpoint.removeprefix('https://')}"]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("user", ["", "ann:wrong-word@"])
def test_a_proxy_that_wants_another_password_is_named_without_one(
    environment: pytest.MonkeyPatch, proxy: HttpProxy, scheme: str, user: str
) -> None:
    with pytest.raises(ReadError) as caught:
        call_through(f"http://{user}{proxy.address}", environment, f"{scheme}://dynamodb.invalid")
    assert caught.value.failure is ReadFailure.DENIED
    assert str(caught.value) == (
        f"GetRecords of x was refused by the proxy http://{proxy.address}: 407 Proxy Authentication Required; give the "
        "proxy's user and password, each URL-encoded: HTTPS_PROXY=http://user:password@host:port"
    )


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_is_named_and_not_taken_for_aws(environment: pytest.MonkeyPatch, scheme: str) -> None:
    (port,) = free_ports(1)
    with pytest.raises(ReadError) as caught:
        call_through(f"http://ann:secret-word@127.0.0.1:{port}", environment, f"{scheme}://dynamodb.invalid")
    assert caught.value.failure is ReadFailure.UNAVAILABLE
    assert str(caught.value) == (
        f"GetRecords of x did not get to dynamodb.invalid through the proxy http://127.0.0.1:{port}: "
        "Connection refused; check HTTPS_PROXY (HTTP_PROXY for http:// addresses), or name the host in NO_PROXY"
    )


def test_a_role_is_assumed_with_the_external_id_and_signs_the_requests(
    environment: pytest.MonkeyPatch, fake: FakeAws
) -> None:
    fake.answers("AssumeRole", assumed())
    fake.answers("GetRecords", ok())
    settings = AwsSettings(region="eu-west-1", endpoint_url=fake.url, role_arn=ROLE, external_id="shop-7")
    session = AwsSession(settings)
    pool = open_pool(session, fake.url, connections=1, connect_timeout_s=1, read_timeout_s=1)
    AwsClient(session, pool, fake.url, STREAMS).call("GetRecords", b"{}", Subject("x", "*"))
    pool.clear()

    asked_role, asked_records = fake.asked
    arguments = parse_qs(asked_role.body.decode())
    assert arguments["RoleArn"] == [ROLE]
    assert arguments["ExternalId"] == ["shop-7"]
    assert arguments["RoleSessionName"] == ["tailrace"]
    assert "Credential=AKIDSOURCE/" in asked_role.headers["authorization"]
    assert "Credential=ASIAROLE/" in asked_records.headers["authorization"]
    assert asked_records.headers["x-amz-security-token"] == "role-token"
    given, right = signature_of(asked_records, "role-secret", host=fake.url.removeprefix("http://"))
    assert given == right


def test_a_role_is_assumed_again_only_when_its_credentials_are_about_to_expire(
    environment: pytest.MonkeyPatch, fake: FakeAws
) -> None:
    fake.answers("AssumeRole", assumed("first", expires=soon()), assumed("second"))
    session = AwsSession(AwsSettings(region="eu-west-1", role_arn=ROLE))
    assert session.credentials().secret_key == "second"
    assert session.credentials().secret_key == "second"
    assert fake.operations() == ["AssumeRole"] * 2


def test_a_role_that_may_not_be_assumed_is_told_at_once(environment: pytest.MonkeyPatch, fake: FakeAws) -> None:
    fake.answers("AssumeRole", refused_role())
    with pytest.raises(WorldError, match=r"sts:AssumeRole; check source\.role_arn, source\.external_id"):
        AwsSession(AwsSettings(region="eu-west-1", role_arn=ROLE))


def test_credentials_that_come_expired_point_at_the_clock(environment: pytest.MonkeyPatch, fake: FakeAws) -> None:
    fake.answers("AssumeRole", assumed(expires="2001-01-01T00:00:00Z"))
    with pytest.raises(WorldError, match="clock"):
        AwsSession(AwsSettings(region="eu-west-1", role_arn=ROLE))


@pytest.mark.parametrize(
    ("answer", "expected", "words"),
    [
        (refused_role("ExpiredToken"), ReadFailure.DENIED, "renew the credentials"),
        (refused_role("InternalFailure", 500), ReadFailure.UNAVAILABLE, "InternalFailure"),
        (refused_role("Throttling", 400), ReadFailure.THROTTLED, "Throttling"),
        (Answer(b"<html>bad gateway", 502), ReadFailure.UNAVAILABLE, "Bad Gateway"),
        (Answer(b"{}", 500), ReadFailure.UNAVAILABLE, "check the network"),
        (fault("closed"), ReadFailure.UNAVAILABLE, "check the network"),
    ],
)
def test_credentials_that_cannot_be_renewed_are_a_read_error_that_may_pass(
    environment: pytest.MonkeyPatch,
    fake: FakeAws,
    answer: Answer,
    expected: ReadFailure,
    words: str,
) -> None:
    environment.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    fake.answers("AssumeRole", assumed(expires=soon()))
    session = AwsSession(AwsSettings(region="eu-west-1", role_arn=ROLE))
    fake.answers("AssumeRole", *[answer] * 3)
    with pytest.raises(ReadError) as caught:
        session.credentials()
    assert caught.value.failure is expected
    assert words in str(caught.value)
    fake.reset()
    fake.answers("AssumeRole", assumed("renewed"))
    assert session.credentials().secret_key == "renewed"


def test_credentials_that_cannot_be_renewed_are_told_by_the_error_alone(
    environment: pytest.MonkeyPatch, fake: FakeAws, caplog: pytest.LogCaptureFixture
) -> None:
    fake.answers("AssumeRole", assumed(expires=soon()))
    session = AwsSession(AwsSettings(region="eu-west-1", role_arn=ROLE))
    fake.answers("AssumeRole", refused_role())
    caplog.clear()
    with pytest.raises(ReadError):
        session.credentials()
    assert caplog.records == []


def test_credentials_that_still_hold_and_cannot_be_renewed_are_one_sentence_of_the_log(
    environment: pytest.MonkeyPatch, fake: FakeAws, caplog: pytest.LogCaptureFixture
) -> None:
    in_twelve_minutes = (datetime.now(UTC) + timedelta(minutes=12)).isoformat()
    fake.answers("AssumeRole", assumed("held", expires=in_twelve_minutes), refused_role())
    session = AwsSession(AwsSettings(region="eu-west-1", role_arn=ROLE))
    assert session.credentials().secret_key == "held"
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "the AWS credentials of this moment still hold, and could not be renewed: AssumeRole was refused: AccessDenied"
    )
    assert record.exc_info is None


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
@pytest.mark.parametrize("stored", ["hidden-word\n", "hidden word", "hidden-wörd"])
def test_a_key_that_was_stored_with_more_than_itself_is_told_and_not_shown(
    environment: pytest.MonkeyPatch, name: str, stored: str
) -> None:
    environment.setenv(name, stored)
    with pytest.raises(WorldError, match="a key, secret or token is empty, or holds a space, a line end") as caught:
        AwsSession(AwsSettings(region="eu-west-1"))
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("answer", [b"{}", b"[]", b"\xff", b'{"AccessKeyId":null}'])
def test_a_container_whose_answer_holds_no_credentials_is_told(
    no_aws_environment: pytest.MonkeyPatch, fake: FakeAws, answer: bytes
) -> None:
    no_aws_environment.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{fake.url}/credentials")
    no_aws_environment.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)
    fake.answers_else(Answer(answer))
    with pytest.raises(WorldError, match="AWS credentials cannot be had"):
        AwsSession(AwsSettings(region="eu-west-1"))


def test_an_access_key_wins_over_the_chain(environment: pytest.MonkeyPatch) -> None:
    settings = AwsSettings(region="eu-west-1", access_key_id="AKIDGIVEN", secret_access_key="given")
    assert AwsSession(settings).credentials()[:2] == ("AKIDGIVEN", "given")


def test_a_service_can_have_an_address_of_its_own(environment: pytest.MonkeyPatch) -> None:
    own = {"resourcegroupstaggingapi": "http://localhost:8001"}
    session = AwsSession(AwsSettings(region="eu-west-1", endpoint_url="http://localhost:8000", endpoints=own))
    assert session.endpoint("resourcegroupstaggingapi") == "http://localhost:8001"
    assert session.endpoint("dynamodb") == "http://localhost:8000"
