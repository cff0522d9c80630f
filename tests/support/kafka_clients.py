"""Short ways to write to a broker and to read all that is committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.cimpl import NewTopic

from support.names import unique
from support.waiting import wait_for

TIMEOUT_S = 20.0


def create_topic(
    properties: dict[str, str],
    name: str | None = None,
    *,
    partitions: int = 1,
    replication_factor: int = 1,
    config: dict[str, str] | None = None,
) -> str:
    """Create a topic, with a name of its own if none is given, and give the name."""
    topic = name or unique("topic")
    admin = AdminClient(client(properties))
    admin.create_topics([NewTopic(topic, partitions, replication_factor, config=config or {})])[topic].result(TIMEOUT_S)
    return topic


def delete_topic(properties: dict[str, str], topic: str) -> None:
    """Delete a topic, and return once the broker does not know it any more."""
    admin = AdminClient(client(properties))
    admin.delete_topics([topic])[topic].result(TIMEOUT_S)
    wait_for(f"{topic} is gone", lambda: topic not in admin.list_topics(timeout=TIMEOUT_S).topics)


def produce(properties: dict[str, str], topic: str, *values: bytes) -> None:
    """Write values, acknowledged by all replicas."""
    producer = Producer(client(properties))
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(TIMEOUT_S) == 0


def transactional_producer(properties: dict[str, str], **more: str | int) -> Producer:
    """A producer with a transactional id of its own, initialised."""
    producer = Producer({**client(properties), "transactional.id": unique("test"), **more})
    producer.init_transactions(TIMEOUT_S)
    return producer


def read_committed(properties: dict[str, str], topic: str, partition: int = 0) -> list[Message]:
    """All records of a partition up to its last stable offset, with `read_committed`."""
    return _read(properties, lambda _: {(topic, partition)})


def read_topics(properties: dict[str, str], topics: Iterable[str]) -> list[Message]:
    """All records of the topics that are there, as `read_committed` reads a partition."""

    def partitions(consumer: Consumer) -> set[tuple[str, int]]:
        known = consumer.list_topics(timeout=TIMEOUT_S).topics
        return {(topic, partition) for topic in topics if topic in known for partition in known[topic].partitions}

    return _read(properties, partitions)


def _read(properties: dict[str, str], partitions_of: Callable[[Consumer], set[tuple[str, int]]]) -> list[Message]:
    settings: dict[str, Any] = {
        **client(properties),
        "group.id": unique("reader"),
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "enable.auto.commit": False,
    }
    consumer = Consumer(settings)
    try:
        ahead = partitions_of(consumer)
        consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in ahead])
        found: list[Message] = []
        while ahead:
            message = consumer.poll(TIMEOUT_S)
            assert message is not None, f"the end of {ahead} was not reached in {TIMEOUT_S} s"
            if (error := message.error()) is None:
                found.append(message)
            elif error.code() == error._PARTITION_EOF:
                ahead.discard((message.topic() or "", message.partition() or 0))
            else:
                assert error.retriable(), error
        return found
    finally:
        consumer.close()


def client(properties: dict[str, str]) -> dict[str, Any]:
    """Properties of a client that comes back quickly and does not write to the terminal."""
    return {**properties, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200, "log_level": 0}


def set_topic(properties: dict[str, str], topic: str, name: str, value: str) -> None:
    """Set a property of a topic."""
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient(client(properties))
    admin.incremental_alter_configs([resource])[resource].result(TIMEOUT_S)
