"""Reading a topic to its end: committed records only, and past transactions that are still open when it matters."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import pytest
from confluent_kafka import Message, Producer

from support.kafka_clients import client, create_topic, produce, transactional_producer
from support.names import unique
from support.waiting import wait_for
from tailrace.errors import WorldError
from tailrace.kafka.topic_reader import TopicReader, fetch
from tailrace.local.kafka import KafkaBroker


def values(messages: Iterable[Message]) -> list[str]:
    return [str((message.value() or b"").decode()) for message in messages]


def test_what_an_open_transaction_hides_is_waited_for(kafka: KafkaBroker) -> None:
    properties = kafka.client_properties()
    topic = create_topic(properties)
    produce(properties, topic, b"before")
    producer = transactional_producer(properties)
    producer.begin_transaction()
    producer.produce(topic, b"open")
    producer.flush()
    produce(properties, topic, b"behind")
    with TopicReader(properties, topic) as reader:
        seen: list[str] = []

        def read() -> None:
            for message in reader.read():
                seen.extend(values([message]))

        waiting = threading.Thread(target=read)
        waiting.start()
        wait_for("what is not hidden", lambda: seen == ["before"])
        waiting.join(1)
        assert waiting.is_alive(), "it waits for the transaction"
        producer.commit_transaction()
        waiting.join(30)
        assert seen == ["before", "open", "behind"]
        assert values(reader.read()) == []


def test_an_aborted_transaction_at_the_end_is_no_obstacle(kafka: KafkaBroker) -> None:
    properties = kafka.client_properties()
    topic = create_topic(properties)
    producer = transactional_producer(properties)
    producer.begin_transaction()
    producer.produce(topic, b"never")
    producer.flush()
    producer.abort_transaction()
    with TopicReader(properties, topic) as reader:
        assert values(reader.read()) == []
        produce(properties, topic, b"later")
        assert values(reader.read()) == ["later"]


def test_it_begins_before_the_first_record_that_is_young_enough(kafka: KafkaBroker) -> None:
    properties = kafka.client_properties()
    topic = create_topic(properties)
    producer = Producer(client(properties))
    for time_ms in (1_000, 9_000, 2_000):
        producer.produce(topic, f"{time_ms}", timestamp=time_ms)
    producer.flush()
    with TopicReader(properties, topic, 5_000) as reader:
        assert values(reader.read()) == ["9000", "2000"]
    with TopicReader(properties, topic, 10_000) as reader:
        assert values(reader.read()) == []
        produce(properties, topic, b"new")
        assert values(reader.read()) == ["new"]


def test_single_records_are_read_again(kafka: KafkaBroker) -> None:
    properties = kafka.client_properties()
    topic = create_topic(properties, partitions=2)
    producer = Producer(client(properties))
    for partition, value in ((0, "a"), (0, "b"), (0, "c"), (1, "d")):
        producer.produce(topic, value, partition=partition)
    producer.flush()
    found = fetch(properties, topic, [(0, 2), (0, 0), (1, 0)])
    assert {place: message.value() for place, message in found.items()} == {(0, 0): b"a", (0, 2): b"c", (1, 0): b"d"}


def test_a_topic_that_is_not_there_is_told(kafka: KafkaBroker) -> None:
    with TopicReader(kafka.client_properties(), unique("none")) as reader, pytest.raises(WorldError, match="failed"):
        list(reader.read())
