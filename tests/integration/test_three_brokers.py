"""The defaults hold on a cluster of three brokers: replicated topics, and any one broker may die."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from support.bench import Bench
from support.waiting import wait_for
from tailrace.kafka import clients, topics
from tailrace.local.kafka import KafkaCluster


@pytest.fixture
def cluster() -> Iterator[KafkaCluster]:
    with KafkaCluster(brokers=3) as started:
        yield started


def test_one_of_three_brokers_dies(bench: Callable[..., Bench], cluster: KafkaCluster) -> None:
    kafka = {"bootstrap.servers": cluster.bootstrap_servers}
    pipeline = bench(on=kafka, rate=200, tuning={"transaction.timeout.ms": 6_000})
    with pipeline.workload:
        pipeline.worker()
        pipeline.worker()
        pipeline.wait_published(200, timeout_s=60)
        admin = clients.admin(kafka)
        own = [pipeline.checkpoints_topic, pipeline.dead_letters_topic, *pipeline.topics]
        wait_for("every topic is made", lambda: topics.describe(admin, kafka).topics.keys() >= set(own))
        assert {topics.describe(admin, kafka).topics[name].replication for name in own} == {3}
        assert {topics.config(admin, kafka, name)["min.insync.replicas"] for name in own} == {"2"}
        cluster.brokers[-1].kill()
        pipeline.wait_published(300, timeout_s=90)
    pipeline.settle()
