"""A commit that the client sent twice: its first copy may reach the broker late, in the next transaction.

librdkafka sends EndTxn again by itself when the connection breaks, and then says that the commit succeeded.
"""

from __future__ import annotations

import json
import struct

import pytest

from support.kafka_clients import create_topic, read_committed, transactional_producer
from support.names import unique
from support.proxy import END_TXN, KafkaProxy
from tailrace.core.checkpoint import Claim, ClaimKey, Write
from tailrace.core.lane_messages import Committed, ProducerLost, ProducerOpened, Transaction
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.local.kafka import KafkaBroker


@pytest.fixture
def proxied(kafka: KafkaBroker) -> dict[str, str]:
    return {"bootstrap.servers": kafka.proxied_bootstrap_servers}


def test_the_late_copy_commits_what_was_not_to_be_committed(
    kafka: KafkaBroker, kafka_proxy: KafkaProxy, proxied: dict[str, str]
) -> None:
    """Why a producer whose commit was perhaps sent twice must not be used again."""
    topic = create_topic(kafka.client_properties())
    producer = transactional_producer(proxied)
    producer.begin_transaction()
    producer.produce(topic, b"first")
    dropped = kafka_proxy.drop_request(END_TXN, cut=True)
    producer.commit_transaction(20)
    assert dropped.happened.is_set()

    producer.begin_transaction()
    producer.produce(topic, b"half of the second")
    producer.flush(20)
    (error,) = struct.unpack_from(">h", dropped.deliver_late(), 4)

    assert error == 0
    found = [message.value() for message in read_committed(kafka.client_properties(), topic)]
    assert found == [b"first", b"half of the second"]


def test_a_lane_gives_a_producer_up_whose_commit_was_perhaps_sent_twice(
    kafka: KafkaBroker, kafka_proxy: KafkaProxy, proxied: dict[str, str]
) -> None:
    topic = create_topic(kafka.client_properties())
    producer = LaneProducer(
        unique("late.lane"),
        1,
        pipeline=unique("pipe"),
        checkpoint_topic=topic,
        dead_letters_topic=topic,
        properties=proxied,
    )
    assert isinstance(producer.open(20), ProducerOpened)
    assert isinstance(producer.commit(transaction("first")), Committed)
    assert isinstance(producer.commit(transaction("second")), Committed)

    dropped = kafka_proxy.drop_request(END_TXN, cut=True)
    assert isinstance(producer.commit(transaction("third")), Committed)
    assert dropped.happened.is_set()
    given_up = producer.commit(transaction("fourth"))
    assert isinstance(given_up, ProducerLost)
    assert "sent twice" in given_up.reason
    producer.close()

    found = [
        json.loads(message.value() or b"")["nonce"] for message in read_committed(kafka.client_properties(), topic)
    ]
    assert found == ["first", "second", "third"]


def transaction(nonce: str) -> Transaction:
    return Transaction((), (Write(0, ClaimKey(), Claim(owner="someone", nonce=nonce, at_ms=0)),))
