"""Which rows of an export have changed since, on a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from support.kafka_clients import TIMEOUT_S, client
from support.names import unique
from support.waiting import wait_for
from tailrace.core.checkpoint import SnapshotRecord
from tailrace.core.ports import LoadedExport
from tailrace.kafka import clients, headers, topics
from tailrace.local.kafka import KafkaBroker
from tailrace.snapshot.export_window import ExportWindow
from tailrace.sources.dynamodb.policy import POLICY

FULL_MS = 1_700_000_000_000
INCREMENTAL_MS = FULL_MS + 3_600_000
OWN = "own"
RECORD = SnapshotRecord(
    id=OWN,
    source="export",
    reason="manual",
    segments=1,
    at_ms=INCREMENTAL_MS,
    exports=(LoadedExport("full", FULL_MS), LoadedExport("incremental", INCREMENTAL_MS, FULL_MS)),
)


@pytest.fixture
def topic(kafka: KafkaBroker) -> str:
    name = unique("window")
    admin = AdminClient(client(kafka.client_properties()))
    admin.create_topics([NewTopic(name, 3, 1)])[name].result(TIMEOUT_S)
    return name


@pytest.fixture
def window(kafka: KafkaBroker) -> Iterator[ExportWindow]:
    with closing(ExportWindow(RECORD, POLICY, kafka.client_properties())) as made:
        yield made


def write(kafka: KafkaBroker, topic: str, records: dict[str, tuple[int, str | None]]) -> None:
    """Write changes, or rows of a snapshot: each key's time, and the snapshot."""
    producer = Producer(client(kafka.client_properties()))
    for key, (at_ms, snapshot) in records.items():
        marks: dict[str, str | bytes | None] = {headers.SNAPSHOT: snapshot} if snapshot else {}
        producer.produce(topic, b"{}", key, timestamp=at_ms, headers=marks)
    assert producer.flush(TIMEOUT_S) == 0


def changed(window: ExportWindow, topic: str, keys: set[str], export: int) -> set[str]:
    mark = window.mark_export([topic], export)
    return {key.decode() for _, key in window.changed([(topic, key.encode()) for key in keys], mark)}


def catch_up(window: ExportWindow, topic: str) -> None:
    window.follow([topic])

    def is_caught_up() -> bool:
        window.read_on()
        return window.is_caught_up

    wait_for("the window has caught up", is_caught_up)
    window.read_to_end([topic], TIMEOUT_S)


def test_a_row_is_compared_with_the_changes_since_its_own_export(
    kafka: KafkaBroker, topic: str, window: ExportWindow
) -> None:
    written: dict[str, tuple[int, str | None]] = {
        "long before": (FULL_MS - 600_000, None),
        "a little before": (FULL_MS - 30_000, None),
        "between": (FULL_MS + 600_000, None),
        "after": (INCREMENTAL_MS + 1, None),
    }
    write(kafka, topic, written)
    catch_up(window, topic)

    keys = {*written, "never"}
    assert changed(window, topic, keys, 0) == {"a little before", "between", "after"}
    assert changed(window, topic, keys, 1) == {"after"}

    write(kafka, topic, {"later": (INCREMENTAL_MS + 2, None)})
    window.read_to_end([topic], TIMEOUT_S)
    assert changed(window, topic, {"later"}, 1) == {"later"}


def test_rows_of_another_snapshot_count_if_they_are_newer(kafka: KafkaBroker, topic: str, window: ExportWindow) -> None:
    written: dict[str, tuple[int, str | None]] = {
        "change": (FULL_MS, None),
        "newer row": (FULL_MS + 1, "another"),
        "older row": (FULL_MS - 600_000, "another"),
        "own row": (FULL_MS + 1, OWN),
    }
    write(kafka, topic, written)
    catch_up(window, topic)

    assert changed(window, topic, {*written}, 0) == {"change", "newer row"}


def test_a_topic_that_may_have_deleted_changes_since_an_export_is_forgetful(kafka: KafkaBroker, topic: str) -> None:
    properties = kafka.client_properties()
    admin = clients.admin(properties)

    def is_forgetful() -> bool:
        return topics.forgetful(admin, properties, [topic, "absent"], FULL_MS) == [topic]

    def delete_before(offset: int) -> None:
        admin.delete_records([TopicPartition(topic, 0, offset)])[TopicPartition(topic, 0, offset)].result(TIMEOUT_S)

    assert not is_forgetful()
    producer = Producer(client(properties))
    for at_ms in (FULL_MS - 2000, FULL_MS - 1000, FULL_MS, FULL_MS + 1000):
        producer.produce(topic, b"{}", b"key", partition=0, timestamp=at_ms)
    assert producer.flush(TIMEOUT_S) == 0
    assert not is_forgetful()
    delete_before(1)
    assert not is_forgetful(), "what is older is still there"
    delete_before(2)
    assert is_forgetful()
    delete_before(4)
    assert is_forgetful(), "nothing is left"


def test_a_topic_without_a_record_since_the_export_has_no_changes(
    kafka: KafkaBroker, topic: str, window: ExportWindow
) -> None:
    write(kafka, topic, {"long before": (FULL_MS - 600_000, None)})
    catch_up(window, topic)

    assert changed(window, topic, {"long before"}, 0) == set()
