"""Publishes what a pipeline makes of the source's records, as its workers do, dead letters among it; no checkpoints."""

from __future__ import annotations

import time

from confluent_kafka import Message, Producer

from support.kafka_clients import TIMEOUT_S, client
from tailrace.config import Pipeline
from tailrace.core.page import Outgoing
from tailrace.core.shard import ShardRef
from tailrace.kafka import checkpoint_topic, clients, topics
from tailrace.kafka.topic_reader import TopicReader
from tailrace.sources.dynamodb.stream_arn import parse
from tailrace.sources.dynamodb.stream_record import decode_page
from tailrace.wiring.pipeline import make_converter, prepare_topics, table_topics
from tailrace.wiring.transformations import Transformations


def publish(pipeline: Pipeline, shard: ShardRef, body: bytes) -> None:
    """Publish the records of an answer of GetRecords or a Lambda event."""
    put(pipeline, parse(shard.stream).table, *convert(pipeline, shard, body))


def convert(pipeline: Pipeline, shard: ShardRef, body: bytes) -> list[Outgoing]:
    """What the records of an answer of GetRecords or a Lambda event become."""
    table, region = parse(shard.stream)
    source = decode_page(body, shard=shard, table=table, region=region)
    return make_converter(pipeline, Transformations(pipeline)).convert(shard, source, time.time_ns()).records


def put(pipeline: Pipeline, table: str, *records: Outgoing) -> None:
    """Write records; makes the topics of the table and of the dead letters if they are missing."""
    admin = clients.admin(pipeline.kafka)
    prepare_topics(pipeline, admin)
    topics.ensure(admin, pipeline.kafka, table_topics(pipeline, table))
    producer = Producer(client(dict(pipeline.kafka)))
    for each in records:
        headers: dict[str, str | bytes | None] = dict(each.headers or [])
        producer.produce(each.topic, each.value, each.key, timestamp=each.timestamp_ms, headers=headers)
    assert producer.flush(TIMEOUT_S) == 0


def create_checkpoint_topic(pipeline: Pipeline) -> None:
    """Make a pipeline exist that has published nothing yet."""
    checkpoint_topic.ensure(clients.admin(pipeline.kafka), pipeline.kafka, pipeline.name, pipeline.lanes, None)


def read_all(pipeline: Pipeline, topic: str) -> list[Message]:
    """All that is committed to a topic. A commit is answered before it shows to others: this waits for it."""
    with TopicReader(pipeline.kafka, topic) as reader:
        return list(reader.read())
