"""Which keys have changed since a mark, on a real broker."""

from __future__ import annotations

from contextlib import closing

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from support.kafka_clients import TIMEOUT_S, client
from support.names import unique
from tailrace.local.kafka import KafkaBroker
from tailrace.snapshot.window import Window


def test_a_partition_that_a_topic_was_given_meanwhile_is_read_too(kafka: KafkaBroker) -> None:
    """A key may hash to it from now on; marks that are older than the partition count its records too."""
    topic = unique("window")
    admin = AdminClient(client(kafka.client_properties()))
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(TIMEOUT_S)

    def write(key: str, partition: int) -> None:
        producer = Producer(client(kafka.client_properties()))
        producer.produce(topic, b"{}", key, partition=partition)
        assert producer.flush(TIMEOUT_S) == 0

    keys = [(topic, b"before"), (topic, b"since"), (topic, b"never")]
    with closing(Window(kafka.client_properties())) as window:
        write("before", 0)
        window.follow([topic])
        first = window.mark([topic])
        admin.create_partitions([NewPartitions(topic, 2)])[topic].result(TIMEOUT_S)
        write("since", 1)
        window.read_to_end([topic], TIMEOUT_S)
        assert window.changed(keys, first) == {(topic, b"since")}
        assert window.changed(keys, window.mark([topic])) == set()
