"""Settings and rights of the cluster that docs/guarantees.md asks for: what is told without them, and what happens.

The broker of these tests is set as it should not be, and has users.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AclOperation, ResourceType

from support.bench import LANES, Bench
from support.cli import CommandLine
from support.kafka_clients import create_topic, produce, read_committed, transactional_producer
from support.names import unique
from support.offsets import ends, is_held_back
from support.proxy import END_TXN, PRODUCE, Dropped, KafkaProxy, Request
from support.rights import ban, lift, right, set_rights
from support.waiting import wait_for
from tailrace.local.kafka import KafkaBroker
from tailrace.local.service import free_ports

TRANSACTION_MAX_MS = 60_000
ABORT_INTERVAL_MS = 1_000
EXPIRATION_MS = 4_000
UNSAFE = {
    "transaction.partition.verification.enable": "false",
    "unclean.leader.election.enable": "true",
    "transaction.max.timeout.ms": str(TRANSACTION_MAX_MS),
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": str(ABORT_INTERVAL_MS),
    "transactional.id.expiration.ms": str(EXPIRATION_MS),
    "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT,PROXY:PLAINTEXT",
    "transaction.remove.expired.transaction.cleanup.interval.ms": "500",
}
TOO_LONG = {"transaction.timeout.ms": 2 * TRANSACTION_MAX_MS}
SHORT = {"transaction.timeout.ms": 6_000}
ALL = (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID)

INVALID_PRODUCER_EPOCH = 47
REFUSED_BY_VERIFICATION = {19, 48}
"""INVALID_TXN_STATE; NOT_ENOUGH_REPLICAS in its place while the coordinator is busy with the transaction's end."""


@pytest.fixture(scope="module")
def unsafe() -> Iterator[KafkaBroker]:
    users = {"admin": "admin-secret", "worker": "worker-secret"}
    with KafkaBroker(users=users, properties=UNSAFE, proxy_port=free_ports(1)[0]) as broker:
        yield broker


@pytest.fixture(scope="module")
def admin(unsafe: KafkaBroker) -> dict[str, str]:
    return unsafe.client_properties()


@pytest.fixture
def unsafe_proxy(unsafe: KafkaBroker) -> Iterator[KafkaProxy]:
    assert unsafe.proxy_port
    with KafkaProxy(unsafe.proxy_port, unsafe.behind_proxy_port) as proxy:
        yield proxy


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


# What is told


def test_a_plan_tells_of_settings_that_put_the_promises_at_risk(
    bench: Callable[..., Bench], admin: dict[str, str], run: CommandLine
) -> None:
    """Of the brokers, and of a topic that refuses the times of old changes; `run` logs those of the brokers."""
    pipeline = bench(on=admin, tables=1, tuning=SHORT)
    create_topic(admin, pipeline.topics[0], config={"message.timestamp.before.max.ms": "60000"})
    code, out, _ = run("plan", pipeline.file)
    assert code == 0
    assert "warning       the brokers have transaction.partition.verification.enable=false" in out
    assert "warning       the brokers have unclean.leader.election.enable=true" in out
    assert f"warning       topic {pipeline.topics[0]} has message.timestamp.before.max.ms=60000" in out
    worker = pipeline.worker()
    told = " ".join(line["event"] for line in worker.logged_by("tailrace"))
    assert "transaction.partition.verification.enable=false" in told
    assert "unclean.leader.election.enable=true" in told
    pipeline.workload.run(20)
    pipeline.settle()


def test_a_transaction_time_out_that_the_brokers_do_not_allow_is_refused_with_the_fix(
    bench: Callable[..., Bench], admin: dict[str, str]
) -> None:
    pipeline = bench(on=admin, tables=1, tuning=TOO_LONG)
    refused = pipeline.worker(ready=False)
    assert refused.wait(60) == 3
    (sentence,) = refused.lines
    assert f"transaction.max.timeout.ms={TRANSACTION_MAX_MS}" in sentence
    assert f"set transaction.timeout.ms to {TRANSACTION_MAX_MS} or less in the kafka section" in sentence


def test_what_denies_every_lane_is_told_again_and_again_with_the_fix_until_it_is_fixed(
    bench: Callable[..., Bench], unsafe: KafkaBroker, admin: dict[str, str], run: CommandLine
) -> None:
    """A user who may not see the brokers' settings: no right to the transactional ids, then to write checkpoints."""
    pipeline = bench(on=admin, through=unsafe.client_properties("worker"), tables=2, items=20, tuning=SHORT)
    set_rights(admin, *(right(kind, pipeline.name) for kind in ALL[:2]))
    worker = pipeline.worker()
    worker.wait_logged("lane denied", count=3, lane=0)
    denied = worker.logged("lane denied", lane=0)[-1]
    assert denied["level"] == "error"
    assert f"init_transactions of {pipeline.name}.lane-0" in denied["detail"]
    assert "grant the principal Write and Describe on the transactional ids" in denied["detail"]
    assert denied["detail"] in worker.unready()
    shown = run("status", pipeline.file)
    assert "! not taken yet by their workers: lanes 0;" in shown.out
    assert run("status", pipeline.file, "--json").json()["untaken"] == [0]

    set_rights(admin, right(ALL[2], pipeline.name))
    pipeline.workload.run(60)
    pipeline.wait_complete()
    assert worker.unready() == ""
    assert run("status", pipeline.file, "--json").json()["untaken"] == []

    writing = ban(ResourceType.TOPIC, pipeline.checkpoints_topic, AclOperation.WRITE)
    set_rights(admin, writing)
    pipeline.workload.run(60)
    before = pipeline.verdict().found
    told = f"writing {pipeline.checkpoints_topic} failed"
    wait_for("it is told", lambda: any(told in line["detail"] for line in worker.logged("lane denied")))
    assert pipeline.verdict().found == before
    lift(admin, writing)
    pipeline.settle()


def test_without_the_right_to_see_settings_a_time_out_that_is_not_allowed_denies_every_lane(
    bench: Callable[..., Bench], unsafe: KafkaBroker, admin: dict[str, str]
) -> None:
    pipeline = bench(on=admin, through=unsafe.client_properties("worker"), tables=1, tuning=TOO_LONG)
    set_rights(admin, *(right(kind, pipeline.name) for kind in ALL))
    worker = pipeline.worker()
    worker.wait_logged("lane denied", count=2, lane=0)
    assert "transaction.max.timeout.ms" in worker.logged("lane denied")[-1]["detail"]
    pipeline.stop_workers()


@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
def test_a_checkpoint_topic_that_is_not_compacted_alone_is_refused_with_the_fix(
    bench: Callable[..., Bench], kafka: KafkaBroker, policy: str
) -> None:
    pipeline = bench(tables=1)
    topic = pipeline.checkpoints_topic
    create_topic(kafka.client_properties(), topic, partitions=LANES, config={"cleanup.policy": policy})
    refused = pipeline.worker(ready=False)
    assert refused.wait(60) == 3
    (sentence,) = refused.lines
    assert f"{topic} has cleanup.policy={policy}: Kafka would delete checkpoints" in sentence
    assert "--add-config cleanup.policy=compact" in sentence


# Writes that come late


class _Held:
    """A producer whose second transaction is under way, its write held on the way to the broker."""

    def __init__(self, direct: dict[str, str], proxied: dict[str, str], proxy: KafkaProxy) -> None:
        self.direct = direct
        self.proxy = proxy
        self.topic = create_topic(direct)
        self.own = {"transactional.id": unique("lane")}
        self.producer = transactional_producer(proxied, **self.own)
        self.publish(b"first")
        self.write: Dropped = proxy.drop_request(PRODUCE)
        self.producer.begin_transaction()
        self.producer.produce(self.topic, b"held")
        self.producer.poll(0)
        assert self.write.happened.wait(20)

    def publish(self, value: bytes, producer: Producer | None = None) -> None:
        """Publish a record in a transaction of its own."""
        producer = producer or self.producer
        producer.begin_transaction()
        producer.produce(self.topic, value)
        producer.commit_transaction(20)

    def deliver(self) -> int:
        """Let the held write arrive, and give the broker's error code (0: it was taken)."""
        body = self.write.deliver_late()
        # https://kafka.apache.org/protocol#The_Messages_Produce: one topic, one partition, then the code
        flexible = self.write.request is not None and self.write.request.api_version >= 9
        at = 1 + 1 + 1 + len(self.topic) + 1 if flexible else 4 + 2 + len(self.topic) + 4
        partition, code = struct.unpack_from(">ih", body, at)
        assert partition == 0
        return int(code)

    def values(self) -> list[bytes | str | None]:
        """Return what read_committed readers see."""
        return [message.value() for message in read_committed(self.direct, self.topic)]


@pytest.fixture(params=["verified", "not verified"])
def late(request: pytest.FixtureRequest) -> Iterator[_Held]:
    """On a broker with transaction.partition.verification.enable, and on one without."""
    verified = request.param == "verified"
    broker: KafkaBroker = request.getfixturevalue("kafka" if verified else "unsafe")
    proxy: KafkaProxy = request.getfixturevalue("kafka_proxy" if verified else "unsafe_proxy")
    late = _Held(broker.client_properties(), {"bootstrap.servers": broker.proxied_bootstrap_servers}, proxy)
    yield late
    late.producer.purge()


def test_a_late_write_of_a_fenced_producer_is_refused_with_and_without_verification(late: _Held) -> None:
    successor = transactional_producer(late.direct, **late.own)
    assert late.deliver() == INVALID_PRODUCER_EPOCH
    late.publish(b"next", successor)
    assert late.deliver() == INVALID_PRODUCER_EPOCH
    assert not is_held_back(late.direct, late.topic)
    assert late.values() == [b"first", b"next"]


def test_a_late_copy_of_a_write_that_was_sent_again_is_not_written_twice(late: _Held) -> None:
    """The connection breaks, the client sends again and commits; then the first copy arrives, and once more."""
    late.proxy.cut()
    late.producer.commit_transaction(20)
    late.deliver()
    successor = transactional_producer(late.direct, **late.own)
    late.publish(b"next", successor)
    assert late.deliver() == INVALID_PRODUCER_EPOCH
    assert not is_held_back(late.direct, late.topic)
    assert late.values() == [b"first", b"held", b"next"]


def test_only_verification_refuses_a_late_write_of_a_producer_that_aborts_and_goes_on(
    late: _Held, request: pytest.FixtureRequest
) -> None:
    """Tailrace drops a producer instead. Without verification such a write holds back every reader, for good."""
    late.producer.purge()
    late.producer.abort_transaction(20)
    wait_for("its marker is written", lambda: ends(late.direct, late.topic, "read_uncommitted") == [3])
    if "not verified" in request.node.name:
        assert late.deliver() == 0
        assert is_held_back(late.direct, late.topic)
        produce(late.direct, late.topic, b"behind")
        assert late.values() == [b"first"]
    else:
        assert late.deliver() in REFUSED_BY_VERIFICATION
        assert not is_held_back(late.direct, late.topic)
        assert late.values() == [b"first"]


# Time


def test_a_lane_whose_transactional_id_has_expired_is_taken_again(
    bench: Callable[..., Bench], admin: dict[str, str]
) -> None:
    """`transactional.id.expiration.ms` is 7 days by default, and 4 s here."""
    pipeline = bench(on=admin, tables=2, tuning=SHORT)
    worker = pipeline.worker()
    pipeline.workload.run(40)
    pipeline.wait_complete()
    lanes = {pipeline.lane_of(table) for table in pipeline.tables}
    time.sleep(2 * EXPIRATION_MS / 1000)  # the lanes have nothing to commit
    pipeline.workload.run(40)
    pipeline.wait_complete()
    for lane in lanes:
        assert worker.logged("lane lost", lane=lane)
    pipeline.settle()


def test_what_a_killed_worker_leaves_open_holds_readers_back_until_its_time_out_or_until_its_lane_is_taken(
    bench: Callable[..., Bench], unsafe: KafkaBroker, unsafe_proxy: KafkaProxy, admin: dict[str, str]
) -> None:
    """Two pipelines whose worker dies as it commits: nobody takes the lanes of one, another worker those of the other.

    The broker aborts what is older than `transaction.timeout.ms` when it looks, here every second (10 s by default).
    """
    proxied = {"bootstrap.servers": unsafe.proxied_bootstrap_servers}
    for is_followed in (False, True):
        timeout_ms = TRANSACTION_MAX_MS if is_followed else SHORT["transaction.timeout.ms"]
        pipeline = bench(on=admin, through=proxied, tables=1, tuning={"transaction.timeout.ms": timeout_ms})
        worker = pipeline.worker()
        pipeline.workload.run(20)
        pipeline.wait_complete()
        topic, lane = pipeline.topics[0], pipeline.lane_of(pipeline.tables[0])
        commit = unsafe_proxy.drop_request(_commit_of(pipeline.name, lane))
        pipeline.workload.run(20)
        assert commit.happened.wait(20)
        worker.kill()
        killed_s = time.monotonic()
        assert is_held_back(admin, topic)
        if is_followed:
            pipeline.worker(ready=False).wait_logged("lane taken", lane=lane)
            assert time.monotonic() - killed_s < timeout_ms / 1000, "the broker has not aborted it yet"
        wait_for("the readers go on", partial(_is_free, admin, topic), 2 * timeout_ms / 1000)
        if not is_followed:
            pipeline.worker()
        pipeline.settle()


def _is_free(admin: dict[str, str], topic: str) -> bool:
    return not is_held_back(admin, topic)


def _commit_of(pipeline: str, lane: int) -> Callable[[Request], bool]:
    name = f"{pipeline}.lane-{lane}".encode()
    return lambda request: request.api_key == END_TXN and name in request.frame


# Several clusters


def test_one_name_on_two_clusters_is_two_pipelines(bench: Callable[..., Bench], admin: dict[str, str]) -> None:
    pipeline = bench(tables=2)
    here, there = dict(pipeline.kafka), {**pipeline.kafka, **admin}
    pipeline.worker()
    pipeline.worker(pipeline.write_file(kafka={**pipeline.settings["kafka"], **admin}))
    pipeline.workload.run(60)
    for pipeline.kafka in (there, here):
        pipeline.wait_complete()
        assert pipeline.verdict().good
    pipeline.settle()
