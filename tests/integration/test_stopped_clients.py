"""A Kafka client of a worker stops for good while Kafka goes on, as librdkafka's do now and then after a restart."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from support.bench import Bench
from support.kafka_clients import create_topic, produce, transactional_producer
from support.names import unique
from support.proxy import FETCH, HEARTBEAT, JOIN_GROUP, KafkaProxy
from support.waiting import TIMEOUT_S, wait_for
from tailrace.core import stall
from tailrace.kafka import client_watch
from tailrace.kafka.topic_reader import TopicReader
from tailrace.local.kafka import KafkaBroker
from tailrace.operations import tail

_IMPATIENT = (
    "from tailrace.core import stall; stall.PATIENCE_MS = (3_000,) * 3; from tailrace.cli.entry import main; main()"
)


def test_a_worker_whose_view_has_stopped_goes_on_with_a_new_follower(
    bench: Callable[..., Bench], kafka: KafkaBroker, kafka_proxy: KafkaProxy
) -> None:
    pipeline = bench(through={"bootstrap.servers": kafka.proxied_bootstrap_servers})
    with pipeline.workload:
        worker = pipeline.worker()
        pipeline.wait_published(100)
        lane = pipeline.lane_of(pipeline.tables[0])
        for connection in kafka_proxy.connections(FETCH):
            connection.black_hole()
        transactional_producer(kafka.client_properties(), **{"transactional.id": f"{pipeline.name}.lane-{lane}"})
        worker.wait_logged("lane lost", lane=lane)
        worker.wait_logged("client replaced", client=f"follower of {pipeline.checkpoints_topic}")
        worker.wait_logged("lane taken", lane=lane, count=2)
        pipeline.wait_published(100)
        assert worker.metric("tailrace_clients_replaced_total", client="follower") >= 1
    pipeline.settle()


def test_a_worker_whose_view_stays_stopped_ends_with_a_sentence(
    bench: Callable[..., Bench], kafka: KafkaBroker, kafka_proxy: KafkaProxy
) -> None:
    pipeline = bench()
    with pipeline.workload:
        pipeline.worker()
        pipeline.wait_published(20)
    pipeline.stop_workers()
    kafka_proxy.swallowed = frozenset({FETCH})
    through = pipeline.settings["kafka"] | {"bootstrap.servers": kafka.proxied_bootstrap_servers}
    ran = subprocess.run(
        [sys.executable, "-c", _IMPATIENT, "run", str(pipeline.write_file(kafka=through))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 3, ran.stderr
    assert ran.stderr.count("client replaced") == 2
    assert f"the follower of {pipeline.checkpoints_topic} has stopped" in ran.stderr
    assert "although Kafka answers" in ran.stderr


def test_a_worker_that_its_group_does_not_know_joins_again_with_a_new_client(
    bench: Callable[..., Bench], kafka: KafkaBroker, kafka_proxy: KafkaProxy
) -> None:
    pipeline = bench(through={"bootstrap.servers": kafka.proxied_bootstrap_servers})
    with pipeline.workload:
        worker = pipeline.worker()
        pipeline.wait_published(50)
        kafka_proxy.swallowed = frozenset({JOIN_GROUP, HEARTBEAT})
        wait_for("the group has lost its member", lambda: not pipeline.owners())
        worker.wait_logged("client replaced", client=f"member of the group {pipeline.name}")
        kafka_proxy.swallowed = frozenset()
        wait_for("the worker owns lanes again", lambda: set(pipeline.owners().values()) == {worker.pid})
        pipeline.wait_published(50)
        assert worker.metric("tailrace_clients_replaced_total", client="member") >= 1
    pipeline.settle()


def test_an_outage_replaces_no_client(bench: Callable[..., Bench], kafka: KafkaBroker, kafka_proxy: KafkaProxy) -> None:
    pipeline = bench(
        through={"bootstrap.servers": kafka.proxied_bootstrap_servers}, tuning={"transaction.timeout.ms": 6_000}
    )
    with pipeline.workload:
        worker = pipeline.worker()
        pipeline.wait_published(50)
        kafka_proxy.black_hole()
        worker.wait_logged("Kafka does not answer")
        time.sleep(stall.PATIENCE_MS[0] / 1000 + 5)  # longer than a client may stand still
        kafka_proxy.pass_again()
        pipeline.wait_published(50)
        assert worker.logged("client replaced") == []
    pipeline.settle()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a client of this process stand still for a few looks only."""
    monkeypatch.setattr(stall, "PATIENCE_MS", (1_000,) * 3)
    monkeypatch.setattr(client_watch, "PAUSE_S", 0.3)


@pytest.mark.usefixtures("impatient")
def test_a_reader_of_a_topic_reads_all_of_it_once(kafka: KafkaBroker, kafka_proxy: KafkaProxy) -> None:
    properties = kafka.client_properties()
    topic = create_topic(properties)
    produce(properties, topic, b"one", b"two")
    kafka_proxy.swallowed = frozenset({FETCH})
    found: list[object] = []
    with TopicReader({"bootstrap.servers": kafka.proxied_bootstrap_servers}, topic) as reader:
        reading = threading.Thread(target=lambda: found.extend(message.value() for message in reader.read()))
        reading.start()
        wait_for("a fetch that is never answered", lambda: kafka_proxy.requests[FETCH] > 0)
        kafka_proxy.swallowed = frozenset()
        reading.join(TIMEOUT_S)
        assert found == [b"one", b"two"]


@pytest.mark.usefixtures("impatient")
def test_tail_goes_on_where_it_stood(kafka: KafkaBroker, kafka_proxy: KafkaProxy) -> None:
    properties = kafka.client_properties()
    topic = create_topic(properties, unique("tailed"))
    produce(properties, topic, b"one")
    through = {"bootstrap.servers": kafka.proxied_bootstrap_servers}
    messages = tail.follow(through, lambda name: name == topic, "beginning", lambda: False, lambda _: None)
    assert next(messages).value() == b"one"
    for connection in kafka_proxy.connections(FETCH):
        connection.black_hole()
    produce(properties, topic, b"two")
    assert next(messages).value() == b"two"
