"""The fault proxy before a real broker: clients stay behind it, and an answer can be lost."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaException

from support.kafka_clients import create_topic, read_committed, transactional_producer
from support.proxy import END_TXN, PRODUCE, KafkaProxy
from tailrace.local.kafka import KafkaBroker


@pytest.fixture
def proxied(kafka: KafkaBroker) -> dict[str, str]:
    return {"bootstrap.servers": kafka.proxied_bootstrap_servers}


def test_clients_stay_behind_the_proxy(kafka: KafkaBroker, kafka_proxy: KafkaProxy, proxied: dict[str, str]) -> None:
    topic = create_topic(kafka.client_properties())
    producer = transactional_producer(proxied)
    producer.begin_transaction()
    producer.produce(topic, b"a")
    producer.commit_transaction(20)
    assert kafka_proxy.requests[PRODUCE] == 1
    assert kafka_proxy.requests[END_TXN] == 1


def test_a_commit_whose_answer_is_lost_has_happened(
    kafka: KafkaBroker, kafka_proxy: KafkaProxy, proxied: dict[str, str]
) -> None:
    topic = create_topic(kafka.client_properties())
    producer = transactional_producer(proxied)
    producer.begin_transaction()
    producer.produce(topic, b"a")
    lost = kafka_proxy.lose_answer(END_TXN, cut=False)

    with pytest.raises(KafkaException):
        producer.commit_transaction(2)

    assert lost.is_set()
    assert [message.value() for message in read_committed(kafka.client_properties(), topic)] == [b"a"]
