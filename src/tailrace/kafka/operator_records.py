"""Writes what an operator decides to the checkpoint topic, beside those who publish: without a fence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message

from tailrace.core.checkpoint import Write
from tailrace.core.checkpoint_bytes import encode_key, encode_record
from tailrace.errors import WorldError
from tailrace.kafka import clients
from tailrace.kafka.checkpoint_topic import topic_name
from tailrace.remedy import Remedy

_BATCH: Final = 1_000
"""Records that are sent before the first of them is waited for: far fewer than a producer's queue holds."""


def write(
    user: Mapping[str, str], pipeline: str, writes: Sequence[Write], *, attempted: str, unconfirmed: Remedy
) -> None:
    """Write records, and return once every replica in sync has all of them.

    Raises WorldError otherwise; `unconfirmed` is the remedy when Kafka does not confirm in time, so that nobody knows
    what is written.
    """
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error)

    producer = clients.producer(user, {"enable.idempotence": True, "acks": "all"})
    topic = topic_name(pipeline)
    try:
        for begin in range(0, len(writes), _BATCH):
            for each in writes[begin : begin + _BATCH]:
                producer.produce(topic, encode_record(each.record), encode_key(each.key), each.partition, delivered)
            left = producer.flush(clients.REQUEST_TIMEOUT_S)
            if failures:
                raise clients.world_error(failures[0], attempted, user)
            if left:
                producer.purge()
                raise WorldError(
                    f"{attempted} was not confirmed within {clients.REQUEST_TIMEOUT_S:.0f} s", remedy=unconfirmed
                )
    except KafkaException as error:
        raise clients.world_error(error, attempted, user) from error
