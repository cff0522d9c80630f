"""The pipeline's topics are deleted, changed or shared: what docs/guarantees.md says of it happens."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka.admin import AdminClient, NewPartitions

from support.bench import Bench
from support.kafka_clients import TIMEOUT_S, client, create_topic, set_topic
from support.names import unique
from support.waiting import wait_for
from tailrace.kafka import clients, topics
from tailrace.local.kafka import KafkaBroker


def test_a_pipeline_without_its_checkpoint_topic_begins_anew(bench: Callable[..., Bench]) -> None:
    """The group's offsets are no positions: they bring nothing back."""
    pipeline = bench(tables=2)
    pipeline.worker()
    pipeline.workload.run(40)
    pipeline.wait_complete()
    pipeline.stop_workers()
    admin = AdminClient(client(pipeline.kafka))
    admin.delete_topics([pipeline.checkpoints_topic])[pipeline.checkpoints_topic].result(TIMEOUT_S)
    wait_for("it is gone", lambda: pipeline.checkpoints_topic not in pipeline.existing_topics())
    pipeline.worker()
    wait_for("all that the streams still hold is published again", lambda: pipeline.verdict().repeated == 40)
    pipeline.stop_workers()


def test_other_partitions_of_a_tables_topic_part_the_changes_of_an_item_and_lose_none(
    bench: Callable[..., Bench],
) -> None:
    pipeline = bench(tables=1, items=20)
    (topic,) = pipeline.topics
    create_topic(pipeline.kafka, topic, partitions=2)
    pipeline.worker()
    pipeline.workload.run(80)
    pipeline.wait_complete()
    assert pipeline.verdict().good
    pipeline.stop_workers()
    admin = AdminClient(client(pipeline.kafka))
    admin.create_partitions([NewPartitions(topic, 7)])[topic].result(TIMEOUT_S)
    pipeline.worker()
    pipeline.workload.run(80)
    pipeline.wait_complete()
    pipeline.stop_workers()
    verdict = pipeline.verdict()
    assert (verdict.found, verdict.lost, verdict.repeated) == (160, 0, 0)
    assert verdict.misplaced > 0


def test_a_topic_that_refuses_old_timestamps_stops_its_table_alone_until_it_takes_them(
    bench: Callable[..., Bench],
) -> None:
    pipeline = bench(tables=2, items=20)
    strict = pipeline.tables[0]
    create_topic(pipeline.kafka, pipeline.topic(strict), config={"message.timestamp.before.max.ms": "1000"})
    pipeline.workload.run(60)
    time.sleep(3)  # the changes grow too old
    worker = pipeline.worker()
    worker.wait_logged("topic refused", table=strict)
    others = sum(change.table != strict for change in pipeline.workload.history)
    wait_for("the other table goes on", lambda: pipeline.verdict().found == others)
    set_topic(pipeline.kafka, pipeline.topic(strict), "message.timestamp.before.max.ms", str(2**63 - 1))
    pipeline.stop_workers()
    pipeline.worker()
    pipeline.settle()


def test_two_pipelines_with_one_topic_publish_every_change_twice(bench: Callable[..., Bench]) -> None:
    pipeline = bench(tables=1)
    other = pipeline.write_file(name=unique("pipe"), topic=f"{pipeline.name}.{{table}}")
    pipeline.worker()
    pipeline.worker(other)
    pipeline.workload.run(40)
    wait_for("each has published", lambda: pipeline.verdict().found == 80)
    pipeline.stop_workers()
    verdict = pipeline.verdict()
    assert (verdict.found, verdict.lost) == (80, 0)


def test_a_topic_that_the_broker_does_not_know_yet_has_no_settings(kafka: KafkaBroker) -> None:
    properties = kafka.client_properties()
    assert topics.config(clients.admin(properties), properties, unique("none")) == {}
