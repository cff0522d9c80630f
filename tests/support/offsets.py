"""How far the readers of a topic may read."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import Consumer, TopicPartition

from support.kafka_clients import TIMEOUT_S, client
from support.names import unique


def is_held_back(properties: Mapping[str, str], topic: str) -> bool:
    """Return whether an open transaction keeps `read_committed` readers of a topic from its end."""
    return ends(properties, topic, "read_committed") != ends(properties, topic, "read_uncommitted")


def ends(properties: Mapping[str, str], topic: str, isolation: str) -> list[int]:
    """Return the offset up to which readers of an isolation level may read each partition."""
    settings = {**client(dict(properties)), "group.id": unique("reader"), "isolation.level": isolation}
    consumer = Consumer(settings)
    try:
        partitions = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions
        return [
            consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=TIMEOUT_S)[1]
            for number in sorted(partitions)
        ]
    finally:
        consumer.close()
