"""Follows topics as records are committed to them, without a consumer group that would stay behind."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from tailrace.config import Pipeline
from tailrace.errors import WorldError
from tailrace.kafka import clients
from tailrace.kafka.watched_consumer import WatchedConsumer

_LOOK_S = 2.0
"""Time between two looks for new topics and partitions."""
_POLL_S = 0.2
_PASSING = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._PARTITION_EOF,
}
"""A topic that is being deleted, whose partitions go at the next look; a partition that was read to its present end."""

Start = Literal["beginning", "end"]


def tables_by_topic(pipeline: Pipeline) -> Callable[[str], str | None]:
    """Return the function that tells which table's changes a topic of the pipeline holds; None for other topics."""
    routed = [(template, step) for step in pipeline.transform if step.route for template in step.route.templates]
    matches = [_tables_of(pipeline, template, step.tables) for template, step in routed]
    matches.append(_tables_of(pipeline, pipeline.topic, ()))
    own = {pipeline.checkpoints_topic, pipeline.dead_letters_topic}

    def table_of(topic: str) -> str | None:
        if topic in own:
            return None
        return next((table for match in matches if (table := match(topic)) is not None), None)

    return table_of


def _tables_of(pipeline: Pipeline, template: str, tables: tuple[str, ...]) -> Callable[[str], str | None]:
    """Return the function that tells which table a topic of one template stands for."""
    parts = [re.escape(part) for part in template.replace("{pipeline}", pipeline.name).split("{table}")]
    if len(parts) == 1:
        return {template.replace("{pipeline}", pipeline.name): tables[0] if tables else pipeline.source.only_table}.get
    pattern = re.compile(f"{parts[0]}(?P<table>.+?){'(?P=table)'.join(parts[1:])}")

    def table_of(topic: str) -> str | None:
        found = pattern.fullmatch(topic)
        return found["table"] if found and pipeline.source.reads(found["table"]) else None

    return table_of


def follow(
    kafka: Mapping[str, str],
    wanted: Callable[[str], bool],
    start: Start,
    stopped: Callable[[], bool],
    found: Callable[[list[str]], None],
) -> Iterator[Message]:
    """Return the committed records of every wanted topic, as they come, until `stopped`.

    A topic or partition that appears later is read from its beginning: all in it is new. `found` is told the
    topics of new partitions. Raises `WorldError` when Kafka cannot be reached or refuses.
    """
    consumer = WatchedConsumer(kafka, {"group.id": "tailrace-tail"}, "reader of the topics")
    assigned: set[tuple[str, int]] = set()
    first_look, look_at = True, time.monotonic()
    try:
        while not stopped():
            if time.monotonic() >= look_at:
                new = _partitions(consumer.client, wanted, first=first_look) - assigned
                if new:
                    offset = OFFSET_END if start == "end" and first_look else OFFSET_BEGINNING
                    consumer.assign(TopicPartition(*partition, offset) for partition in sorted(new))
                    found(sorted({topic for topic, _ in new}))
                assigned |= new
                first_look, look_at = False, time.monotonic() + _LOOK_S
            message = consumer.poll(_POLL_S)
            if message is None:
                continue
            if (error := message.error()) is None:
                yield message
            elif error.code() not in _PASSING and not error.retriable():
                raise clients.world_error(error, f"reading the topic {message.topic()}", kafka)
    except KafkaException as error:
        raise clients.world_error(error, "reading the topics", kafka) from error
    finally:
        consumer.close()


def _partitions(consumer: Consumer, wanted: Callable[[str], bool], *, first: bool) -> set[tuple[str, int]]:
    """List the partitions of the wanted topics. Later than at first a failure passes: there will be another look."""
    try:
        topics = consumer.list_topics(timeout=clients.REQUEST_TIMEOUT_S if first else _LOOK_S).topics
    except KafkaException:
        if first:
            raise
        return set()
    return {(name, partition) for name, topic in topics.items() if wanted(name) for partition in topic.partitions}


def require_topic(kafka: Mapping[str, str], topic: str) -> None:
    """Raise `WorldError` unless the topic exists."""
    if topic not in clients.metadata(clients.admin(kafka), kafka).topics:
        raise WorldError(f"the topic {topic} does not exist", hint="check its name, or give the pipeline file instead")
