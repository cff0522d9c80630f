"""Every way to log in, on one real broker: who may, who may not and why, and the rights that `plan --acls` prints.

The broker has a listener for each. MSK's IAM is checked by a stand-in before it, OpenID tokens by the broker itself.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

from support import tls
from support.bench import Bench
from support.cli import CommandLine
from support.kafka_clients import create_topic
from support.msk_stand_in import MskStandIn
from support.names import unique
from support.oidc_issuer import Issuer
from support.rights import lift, set_rights
from support.secure_kafka import SecureKafka
from support.waiting import wait_for
from tailrace.errors import WorldError
from tailrace.kafka import clients, login

ACCESS_KEY, SECRET_KEY, REGION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "eu-west-1"
WITHIN_S = 12.0
"""Far less than librdkafka would try: a refused login is told after some three seconds."""


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as started:
        yield started


@pytest.fixture(scope="module")
def secure(issuer: Issuer) -> Iterator[SecureKafka]:
    with SecureKafka(issuer) as broker:
        broker.add_scram_user()
        yield broker


@pytest.fixture(scope="module")
def admin(secure: SecureKafka) -> dict[str, str]:
    return secure.client_properties()


@pytest.fixture
def msk(secure: SecureKafka, monkeypatch: pytest.MonkeyPatch) -> Iterator[MskStandIn]:
    """MSK, with its key in the environment."""
    assert secure.proxy_port
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    login._source_of.cache_clear()
    keys = {"region": REGION, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    with MskStandIn(secure.proxy_port, secure.behind_proxy_port, **keys) as stand_in:
        yield stand_in
    login._source_of.cache_clear()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def of_msk(secure: SecureKafka) -> dict[str, str]:
    return {
        "bootstrap.servers": secure.proxied_bootstrap_servers,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "AWS_MSK_IAM",
        "sasl.aws.region": REGION,
    }


# Who may


@pytest.mark.parametrize("way", ["SCRAM-SHA-256", "SCRAM-SHA-512", "SSL", "OIDC", "token command"])
def test_every_kind_of_client_logs_in(way: str, secure: SecureKafka, admin: dict[str, str]) -> None:
    transact(secure.token_command() if way == "token command" else secure.login(way), create_topic(admin))


def test_every_kind_of_client_logs_in_to_msk_with_iam(
    secure: SecureKafka, msk: MskStandIn, admin: dict[str, str]
) -> None:
    transact(of_msk(secure), create_topic(admin))
    assert len(msk.logins) >= len(("admin", "producer", "consumer"))


def transact(user: dict[str, str], topic: str) -> None:
    """Look for a topic, write to it in a transaction, and read it."""
    assert topic in clients.metadata(clients.admin(user), user).topics
    producer = clients.producer(user, {"transactional.id": unique("login")})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, b"here")
    producer.commit_transaction(20)
    consumer = clients.consumer(user, {"group.id": unique("login"), "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    read = consumer.poll(20)
    consumer.close()
    assert read is not None
    assert read.value() == b"here"


def test_tokens_of_a_command_are_renewed_while_a_worker_runs(
    bench: Callable[..., Bench], secure: SecureKafka, issuer: Issuer, admin: dict[str, str]
) -> None:
    """They hold for eight seconds, and the broker ends a session with its token."""
    issuer.life_s = 8
    try:
        pipeline = bench(on=admin, through=secure.token_command(), tables=1)
        worker = pipeline.worker()
        pipeline.workload.run(30)
        pipeline.wait_complete()
        issued = issuer.issued
        wait_for("tokens were renewed", lambda: issuer.issued >= issued + 2, 60)
        pipeline.workload.run(30)
        pipeline.settle()
        assert not worker.logged("token not renewed")
    finally:
        issuer.life_s = 300


# Who may not


@pytest.mark.parametrize(
    ("way", "wrong", "told"),
    [
        ("PLAIN", {"sasl.password": "x"}, "Invalid username or password"),
        ("SCRAM-SHA-512", {"sasl.password": "x"}, "invalid credentials with SASL mechanism SCRAM-SHA-512"),
        ("PLAIN", {"sasl.mechanism": "SCRAM-SHA-256"}, "broker's supported mechanisms: PLAIN"),
        ("SSL", {"ssl.certificate.location": str(tls.STRANGER), "ssl.key.location": str(tls.STRANGER)}, "SSL alert"),
        ("SSL", {"ssl.ca.location": str(tls.STRANGER)}, "verify that ssl.ca.location is correctly configured"),
        ("OIDC", {"sasl.oauthbearer.client.secret": "x"}, "unknown client or wrong secret"),
        (
            "OIDC",
            {"sasl.oauthbearer.token.endpoint.url": "http://127.0.0.1:1/token"},
            "Failed to connect to 127.0.0.1:1",
        ),
        ("OIDC", {"sasl.oauthbearer.token.command": "false"}, "failed with exit code 1"),
    ],
)
def test_a_wrong_login_is_one_sentence_within_seconds(
    way: str, wrong: dict[str, str], told: str, secure: SecureKafka
) -> None:
    user = secure.login(way) | wrong
    refusal(user, told)


def test_a_token_that_the_broker_refuses_is_one_sentence(secure: SecureKafka, issuer: Issuer) -> None:
    foreign = issuer.token(aud="somebody else")
    refusal(secure.token_command() | {"sasl.oauthbearer.token.command": f"echo {foreign}"}, "invalid_token")


def test_a_signature_that_msk_refuses_is_one_sentence(
    secure: SecureKafka, msk: MskStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    refusal(of_msk(secure), "The security token included in the request is invalid")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell refused logins sooner: the broker is near."""
    monkeypatch.setattr(clients, "_REFUSED_S", 1.0)


def refusal(user: dict[str, str], told: str) -> None:
    begun_s = time.monotonic()
    with pytest.raises(WorldError) as raised:
        clients.metadata(clients.admin(user), user)
    assert told in str(raised.value)
    assert "; " in str(raised.value)  # how to fix it
    assert "\n" not in str(raised.value)
    assert time.monotonic() - begun_s < WITHIN_S


# What who may do


def printed(run: CommandLine, pipeline: Bench, *options: str) -> list[AclBinding]:
    """Return the ACLs that `plan --acls` prints for the user `worker`."""
    told = run("plan", pipeline.file, "--acls", "--principal", "User:worker", *options)
    assert told.code == 0
    return [acl for line in told.out.splitlines() for acl in bindings(shlex.split(line))]


def bindings(words: list[str]) -> Iterator[AclBinding]:
    given = dict(zip(words[3::2], words[4::2], strict=False))  # the options that come once
    options = [(name, words[index + 1]) for index, name in enumerate(words) if name.startswith("--")]
    assert words[0] == "kafka-acls"
    assert given
    principal = next(value for name, value in options if name == "--allow-principal")
    pattern = next(value for name, value in options if name == "--resource-pattern-type")
    kinds = {f"--{kind.name.lower().replace('_', '-')}": kind for kind in ResourceType}
    for name, value in options:
        if name in kinds:
            for operation in (each for option, each in options if option == "--operation"):
                yield AclBinding(
                    kinds[name],
                    value,
                    ResourcePatternType[pattern.upper()],
                    principal,
                    "*",
                    AclOperation[{"DescribeConfigs": "DESCRIBE_CONFIGS"}.get(operation, operation.upper())],
                    AclPermissionType.ALLOW,
                )


def test_a_pipeline_runs_with_exactly_the_rights_that_plan_prints(
    bench: Callable[..., Bench], secure: SecureKafka, admin: dict[str, str], run: CommandLine, tmp_path: Path
) -> None:
    """The worker, a snapshot, and what an operator asks meanwhile; then a lake with its own."""
    lake = {"location": (tmp_path / "lake").as_uri()}
    pipeline = bench(on=admin, through=secure.login("PLAIN"), tables=1, settings={"lake": lake})
    rights = printed(run, pipeline)
    set_rights(admin, *rights)
    try:
        assert run("plan", pipeline.file).code == 0
        worker = pipeline.worker()
        pipeline.workload.run(40)
        pipeline.wait_complete()
        assert run("snapshot", "start", pipeline.file, "--table", pipeline.tables[0], "--wait").code == 0
        assert run("status", pipeline.file).code == 0
        assert len(run("tail", pipeline.file, "--from", "beginning", "--limit", "5").out.splitlines()) >= 5
        verified = run("verify", pipeline.file)
        assert verified.code == 0, verified
        assert run("redrive", pipeline.file).code == 0
        assert not [line for line in worker.logged_by("tailrace") if "AUTHORIZATION" in str(line)]
        pipeline.stop_workers()
        lift(admin, *rights)
        rights = printed(run, pipeline, "--lake")
        set_rights(admin, *rights)
        assert run("lake", pipeline.file, "--once").code == 0
    finally:
        lift(admin, *rights)


@pytest.mark.parametrize(
    ("right", "told"),
    [
        ((ResourceType.GROUP, "{}", AclOperation.READ), "grant the principal Read on the consumer group"),
        ((ResourceType.TOPIC, "{}.checkpoints", AclOperation.CREATE), "grant the principal Read, Write"),
    ],
)
def test_with_one_right_less_a_worker_ends_with_one_sentence(
    bench: Callable[..., Bench],
    secure: SecureKafka,
    run: CommandLine,
    right: tuple[ResourceType, str, AclOperation],
    told: str,
) -> None:
    admin = secure.client_properties()
    pipeline = bench(on=admin, through=secure.login("PLAIN"), tables=1, items=1)
    kind, name, operation = right
    missing = (kind, name.format(pipeline.name), operation)
    rights = printed(run, pipeline)
    kept = [acl for acl in rights if (acl.restype, acl.name, acl.operation) != missing]
    assert len(kept) == len(rights) - 1
    set_rights(admin, *kept)
    try:
        refused = pipeline.worker(ready=False)
        assert refused.wait(60) == 3
        (sentence,) = refused.lines
        assert told in sentence
    finally:
        lift(admin, *kept)
