"""A secret never appears: not in an error, a repr, a dump or what is shown; wherever the file holds it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tailrace.config import FileErrors, LoadedPipeline, Secrets, load
from tailrace.config.secrets import is_secret, secrets_in, without_user_info

PLANTED = "hunter2-PLANTED"
GOOD = """\
name: shop
kafka:
  bootstrap.servers: localhost:9092
source:
  type: dynamodb-streams
  role_arn: arn:aws:iam::123456789012:role/tailrace
  tables: [orders]
"""


def loaded(folder: Path, content: str) -> LoadedPipeline:
    path = folder / "pipeline.yaml"
    path.write_text(content)
    return load(path)


def kafka(line: str) -> str:
    return GOOD.replace("source:\n", f"  {line}\nsource:\n")


SECRET_LINES = [
    "sasl.password: hunter2-PLANTED",
    "sasl.password: ${env:PLANTED}",
    "sasl.password: ${file:planted}",
    "sasl.username: ${env:PLANTED}",
    "ssl.key.password: hunter2-PLANTED",
    "ssl.keystore.password: ${env:PLANTED}",
    "sasl.oauthbearer.client.secret: hunter2-PLANTED",
    "sasl.oauthbearer.client.credentials.client.secret: hunter2-PLANTED",
    "sasl.oauthbearer.config: principal=me pw=hunter2-PLANTED",
    "sasl.oauthbearer.extensions: token=hunter2-PLANTED",
    "sasl.oauthbearer.assertion.private.key.passphrase: hunter2-PLANTED",
    "sasl.oauthbearer.token.endpoint.url: https://me:hunter2-PLANTED@example.com/token",
]


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PLANTED", PLANTED)
    (tmp_path / "planted").write_text(PLANTED + "\n")


@pytest.mark.parametrize(
    "content",
    [*map(kafka, SECRET_LINES), GOOD + "  external_id: hunter2-PLANTED\n", GOOD + "  external_id: ${env:PLANTED}\n"],
)
def test_a_right_file_keeps_its_secret(content: str, tmp_path: Path) -> None:
    whole = loaded(tmp_path, content)
    pipeline = whole.pipeline
    values = [*pipeline.kafka.values(), pipeline.source.external_id and pipeline.source.external_id.get_secret_value()]
    assert any(PLANTED in value for value in values if value), "the clients still need it"
    for shown in (
        repr(whole),
        str(pipeline),
        repr(pipeline.kafka),
        repr(whole.secrets),
        json.dumps(pipeline.shown()),
        pipeline.model_dump_json(),
        str(pipeline.model_dump()),
        f"{pipeline.source!r} {pipeline.kafka}",
    ):
        assert PLANTED not in shown
    assert whole.secrets.redact(f"a {PLANTED} b https://me:{PLANTED}@example.com") == "a *** b https://***@example.com"


@pytest.mark.parametrize(
    "content",
    [
        kafka("sasl.password: hunter2-PLANTED\n  linger.ms: fast"),
        kafka("sasl.password: *hunter2-PLANTED"),
        kafka("sasl.password: &hunter2-PLANTED"),
        kafka("sasl.password: !hunter2-PLANTED x"),
        kafka("sasl.password: !h!hunter2-PLANTED x"),
        kafka("sasl.password: %hunter2-PLANTED"),
        kafka("sasl.password: @hunter2-PLANTED"),
        kafka('sasl.password: "hunter2-PLANTED\\q"'),
        kafka('sasl.password: "hunter2-PLANTED'),
        kafka("sasl.password: hunter2-PLANTED: x"),
        kafka("sasl.password: [hunter2-PLANTED]"),
        kafka("sasl.password: {hunter2-PLANTED: x}").replace("{hunter2-PLANTED: x}", "{a: hunter2-PLANTED}"),
        kafka("sasl.pasword: hunter2-PLANTED"),
        kafka("security.protocol: ${env:PLANTED}"),
        kafka("linger.ms: ${env:PLANTED}"),
        kafka("compression.type: ${env:PLANTED}"),
        kafka("debug: ${env:PLANTED}"),
        kafka("security.protocol: sasl_ssl\n  sasl.mechanism: ${env:PLANTED}"),
        kafka("security.protocol: ssl\n  ssl.key.pem: hunter2-PLANTED"),
        kafka("security.protocol: ssl\n  ssl.keystore.location: ${env:PLANTED}"),
        kafka("plugin.library.paths: ${env:PLANTED}"),
        kafka("acks: ${env:PLANTED}"),
        kafka("unknown: ${env:PLANTED}"),
        GOOD.replace("localhost:9092", "${env:PLANTED} x"),
        GOOD.replace("shop", "${env:PLANTED} x"),
        GOOD.replace("orders", '"${env:PLANTED} x"'),
        GOOD + "  endpoint_url: http://me:hunter2-PLANTED@localhost:8000\n",
        GOOD + "  endpoint_url: ${env:PLANTED}\n",
        GOOD + "  role_arn: ${env:PLANTED}\n",
        GOOD + "  region: ${env:PLANTED} x\n",
        GOOD + "  start: ${env:PLANTED}\n",
        GOOD + "  poll: {min: '${env:PLANTED}'}\n",
        GOOD + "  external_id: [hunter2-PLANTED]\n",
        GOOD + "  password: hunter2-PLANTED\n",
        GOOD + "format: ${env:PLANTED}\n",
        GOOD + "lanes: ${env:PLANTED}\n",
        GOOD + "buffer: ${env:PLANTED}\n",
        GOOD + "tombstones: ${env:PLANTED}\n",
        GOOD + "topic: ${file:planted}{x}\n",
        GOOD + "topics: {replication: '${env:PLANTED}'}\n",
        GOOD + "batch: ${env:PLANTED}\n",
    ],
)
def test_a_wrong_file_keeps_its_secret(content: str, tmp_path: Path) -> None:
    with pytest.raises(FileErrors) as caught:
        loaded(tmp_path, content)
    errors = caught.value.errors
    for shown in (str(caught.value), repr(caught.value), *(f"{error.message} {error.hint}" for error in errors)):
        assert PLANTED not in shown


def test_a_secret_of_many_lines_is_found_line_by_line_and_escaped() -> None:
    pem = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\n-----END KEY-----"
    secrets = Secrets([pem])
    for text in (pem, json.dumps(pem), repr(pem), "line 2: MIIEvQIBADANBgkq"):
        assert "MIIEvQIBADANBgkq" not in secrets.redact(text)


def test_a_secret_is_found_in_other_spellings() -> None:
    secrets = Secrets(['p"w/é w'])
    assert secrets.redact('p"w/é w | p\\"w/\\u00e9 w | p%22w%2F%C3%A9%20w') == "*** | *** | ***"


def test_the_longest_secret_goes_first() -> None:
    assert Secrets(["abcd", "abcdef"]).redact("abcdef") == "***"


def test_a_very_short_secret_is_blotted_out_as_a_word() -> None:
    assert Secrets(["a"]).redact("a banana, a:b") == "*** banana, ***:b"


def test_a_short_secret_is_no_part_of_a_name_or_a_word() -> None:
    secrets = Secrets(["adm"])
    for text in ("adm.yaml:3: admin", "./adm.yaml", "/etc/adm/pipeline.yaml", "shop.adm", "adm-orders"):
        assert secrets.redact(text) == text
    leaking = "adm, adm. 'adm' \"adm\" password=adm adm:adm (adm) sasl.password: adm"
    assert "adm" not in secrets.redact(leaking)


def test_a_long_secret_is_found_inside_a_word() -> None:
    assert Secrets(["hunter22"]).redact("https://hooks/hunter22/x xhunter22x") == "https://hooks/***/x x***x"


def test_no_secret_leaves_the_text_as_it_is() -> None:
    assert Secrets().redact("anything") == Secrets([""]).redact("anything") == "anything"


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("sasl.password", True),
        ("ssl.key.pem", True),
        ("sasl.jaas.config", True),
        ("api_token", True),
        ("sasl.oauthbearer.token.endpoint.url", False),
        ("sasl.oauthbearer.token.command", False),
        ("sasl.aws.external.id", True),
        ("ssl.key.location", False),
        ("sasl.username", False),
        ("message.max.bytes", False),
        ("keys", False),
    ],
)
def test_secrets_are_known_by_the_name_of_their_key(key: str, secret: bool) -> None:
    assert is_secret(key) is secret


@pytest.mark.parametrize(
    "lines",
    [
        "ssl.ca.pem: ${secret:kafka#ca}",
        "ssl.certificate.pem: ${secret:kafka#certificate}\n  ssl.key.pem: ${secret:kafka#key}",
        "ssl.key.password: ${secret:arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/kafka-AbCdEf#password}",
        "security.protocol: ${secret:kafka#protocol}",
    ],
)
def test_a_secret_that_is_not_read_is_not_checked_for_what_it_holds(lines: str, tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(kafka(lines))
    assert load(path, with_secrets=False).pipeline.name == "shop"


def test_a_reference_that_can_name_no_secret_is_a_mistake_without_asking_aws(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(kafka("sasl.password: ${secret:prod kafka}"))
    with pytest.raises(FileErrors) as error:
        load(path, with_secrets=False)
    assert str(error.value) == (
        f"{path}:4: kafka.sasl.password: names no secret: prod kafka; "
        "write `${secret:NAME}`, or `${secret:NAME#KEY}` for one of its keys"
    )


def test_the_container_of_a_location_in_azure_is_no_secret() -> None:
    location = "abfss://lake@shop.dfs.core.windows.net/x"
    assert secrets_in(location) == set()
    assert without_user_info(location) == location
    assert without_user_info("abfs://me:pw@shop/x 1http://me@shop") == "abfs://***@shop/x 1http://***@shop"
