"""The defaults hold on a cluster of three brokers: replicated topics, and any one broker may die."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from support.bench import Bench
from support.kafka_clients import set_topic
from support.offsets import ends
from support.waiting import wait_for
from tailrace.kafka import clients, topics
from tailrace.local.kafka import KafkaCluster


@pytest.fixture
def cluster() -> Iterator[KafkaCluster]:
    with KafkaCluster(brokers=3) as started:
        yield started


def test_one_of_three_brokers_dies_and_then_a_topic_asks_for_all_three(
    bench: Callable[..., Bench], cluster: KafkaCluster
) -> None:
    """Without the replicas that it asks for, a topic's lane publishes nothing; the other lanes go on."""
    kafka = {"bootstrap.servers": cluster.bootstrap_servers}
    pipeline = bench(on=kafka, tuning={"transaction.timeout.ms": 6_000})
    with pipeline.workload:
        workers = [pipeline.worker(), pipeline.worker()]
        pipeline.wait_published(200)
        admin = clients.admin(kafka)
        own = [pipeline.checkpoints_topic, pipeline.dead_letters_topic, *pipeline.topics]
        wait_for("every topic is made", lambda: topics.describe(admin, kafka).topics.keys() >= set(own))
        assert {topics.describe(admin, kafka).topics[name].replication for name in own} == {3}
        assert {topics.config(admin, kafka, name)["min.insync.replicas"] for name in own} == {"2"}
        cluster.brokers[-1].kill()
        pipeline.wait_published(300)
        wait_for("the cluster misses it", lambda: len(clients.metadata(admin, kafka).brokers) == 2)
        new = topics.TopicSpec(f"{pipeline.topics[0]}.new", 1)
        topics.ensure(admin, kafka, [new])
        wait_for("the topic shows", lambda: new.name in topics.describe(admin, kafka).topics)
        assert topics.describe(admin, kafka).topics[new.name].replication == 3
        strict = pipeline.topics[0]
        lane = pipeline.lane_of(pipeline.tables[0])
        set_topic(kafka, strict, "min.insync.replicas", "3")
        wait_for("its lane is lost", lambda: any(worker.logged("lane lost", lane=lane) for worker in workers))
        published = ends(kafka, strict, "read_committed")
        pipeline.wait_published(100)
        assert ends(kafka, strict, "read_committed") == published
        set_topic(kafka, strict, "min.insync.replicas", "2")
    pipeline.settle()
