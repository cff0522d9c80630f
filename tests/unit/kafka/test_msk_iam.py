"""AWS_MSK_IAM: the token is the URL that AWS documents, signed with the right credentials for the right region."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from support.msk_stand_in import MskStandIn
from tailrace.errors import WorldError
from tailrace.kafka import login, msk_iam
from tailrace.kafka.tokens import NoTokenError

BROKERS = "b-1.shop.abc123.c2.kafka.eu-west-1.amazonaws.com:9098,b-2.shop.abc123.c2.kafka.eu-west-1.amazonaws.com:9098"
USER = {"bootstrap.servers": BROKERS, "security.protocol": "SASL_SSL", "sasl.mechanism": "AWS_MSK_IAM"}


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    login._source_of.cache_clear()


def test_the_token_is_the_signed_url_that_aws_documents() -> None:
    text, expires_s = login.token_properties(USER)["oauth_cb"]("")
    assert re.fullmatch(r"[A-Za-z0-9_-]+", text)  # base64url, no padding
    url = urlsplit(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert (url.scheme, url.netloc, url.path) == ("https", "kafka.eu-west-1.amazonaws.com", "/")
    assert query["Action"] == "kafka-cluster:Connect"
    assert query["X-Amz-Credential"].startswith("AKIDEXAMPLE/")
    assert query["X-Amz-Credential"].endswith("/eu-west-1/kafka-cluster/aws4_request")
    assert query["X-Amz-Expires"] == "900"
    assert 800 < expires_s - time.time() <= 900
    with MskStandIn(0, 0, region="eu-west-1", access_key="AKIDEXAMPLE", secret_key="x") as other:
        assert other.refusal(b"n,,\x01auth=Bearer " + text.encode() + b"\x01\x01").startswith("The security token")


@pytest.mark.parametrize(
    ("more", "region"),
    [
        ({}, "eu-west-1"),
        ({"bootstrap.servers": "boot-abc.c1.kafka-serverless.us-east-2.amazonaws.com:9098"}, "us-east-2"),
        ({"bootstrap.servers": "boot.x.c1.kafka.cn-north-1.amazonaws.com.cn:9098"}, "cn-north-1"),
        ({"sasl.aws.region": "ap-south-1"}, "ap-south-1"),
        ({"bootstrap.servers": "kafka.internal:9098"}, None),
    ],
)
def test_the_region_is_that_of_the_brokers(more: dict[str, str], region: str | None) -> None:
    assert msk_iam.settings_of({**USER, **more}).region == region


def test_the_keys_of_the_role_reach_the_session() -> None:
    given = {
        "sasl.aws.role.arn": "arn:aws:iam::123456789012:role/r",
        "sasl.aws.external.id": "x",
        "sasl.aws.profile": "p",
    }
    settings = msk_iam.settings_of({**USER, **given})
    assert (settings.role_arn, settings.external_id, settings.profile) == (*list(given.values())[:2], "p")


def test_credentials_that_are_missing_are_one_sentence_with_the_keys_of_the_kafka_section(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(NoTokenError) as raised:
        login.token_properties(USER)
    assert str(raised.value).startswith(
        "logging in to Kafka failed: there are no AWS credentials; set AWS_ACCESS_KEY_ID"
    )
    assert "kafka.sasl.aws.profile" in str(raised.value)
    login._source_of.cache_clear()
    with pytest.raises(NoTokenError, match=r"AWS cannot be used: .*; check kafka\.sasl\.aws\.profile"):
        login.token_properties({**USER, "sasl.aws.profile": "nobody"})


def test_without_the_extra_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "aws_msk_iam_sasl_signer", None)
    with pytest.raises(WorldError, match=r"aws_msk_iam_sasl_signer is not installed; .*tailrace\[msk-iam\]"):
        login.token_properties(USER)
