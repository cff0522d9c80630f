"""Records and topics that are refused: dead letters in their place, one table stopped, all others go on."""

from __future__ import annotations

import base64
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import msgspec
import pytest
from confluent_kafka import Message
from confluent_kafka.admin import AclOperation, AdminClient, ResourceType
from confluent_kafka.cimpl import NewTopic

from support.bench import Bench
from support.kafka_clients import client, read_committed
from support.rights import ban, lift, right, set_rights
from support.waiting import wait_for
from tailrace.config import load
from tailrace.core.ports import SourcePage, SourceRecord
from tailrace.core.shard import Position, ShardRef
from tailrace.errors import RecordError
from tailrace.local.kafka import KafkaBroker
from tailrace.wiring.worker_parts import PipelineParts
from tailrace.worker.metrics import Metrics
from tailrace.worker.worker import Worker

TOPIC_MAX_BYTES = 250_000
"""More than the small records of a page together: the broker judges batches."""
LETTER_MAX_BYTES = 340_000
TOO_LARGE = 300_000
SORELY_TOO_LARGE = 390_000
"""Too large for a dead letter too."""
KAFKAS_MAX_BYTES = 1_048_588
"""What a topic takes that nobody has given a `max.message.bytes`."""


def make_topic(pipeline: Bench, topic: str, *, partitions: int, max_bytes: int) -> None:
    admin = AdminClient(client(pipeline.kafka))
    new = NewTopic(topic, partitions, 1, config={"max.message.bytes": str(max_bytes)})
    admin.create_topics([new])[topic].result(20)


def put(pipeline: Bench, table: str, name: str, size: int) -> None:
    """Write an item that no codec makes smaller: the broker judges batches as they are sent."""
    item = {
        "id": {"S": name},
        "version": {"N": "1"},
        "body": {"S": base64.b64encode(random.Random(name).randbytes(size * 3 // 4)).decode()},
    }
    pipeline.dynamodb.put_item(TableName=table, Item=item)


def put_random(pipeline: Bench, table: str, name: str, number: int, size: int = 400_000) -> None:
    """Write an item of random bytes: both images of an update of 400,000 are more than a megabyte in JSON."""
    body = random.Random(f"{name}-{number}").randbytes(size)
    item = {"id": {"S": name}, "version": {"N": str(number)}, "body": {"B": body}}
    pipeline.dynamodb.put_item(TableName=table, Item=item)


def letters(pipeline: Bench) -> list[Message]:
    return read_committed(pipeline.kafka, pipeline.dead_letters_topic)


def headers(message: Message) -> dict[str, str]:
    pairs = cast(list[tuple[str, bytes]], message.headers() or [])
    return {name: value.decode() for name, value in pairs}


def name_of(message: Message) -> str:
    return str(msgspec.json.decode(message.key() or b"{}")["id"])


def test_records_that_are_too_large_become_dead_letters_and_nothing_else_does(bench: Callable[..., Bench]) -> None:
    pipeline = bench(tables=3, items=20, rate=100)
    large, sorely = pipeline.tables[:2]
    for topic in pipeline.topics:
        make_topic(pipeline, topic, partitions=2, max_bytes=TOPIC_MAX_BYTES)
    make_topic(pipeline, pipeline.dead_letters_topic, partitions=1, max_bytes=LETTER_MAX_BYTES)
    expected: dict[str, list[str]] = {table: [] for table in pipeline.tables}
    for number in range(4):
        pipeline.workload.run(30)
        for table, size in ((large, TOO_LARGE), (sorely, SORELY_TOO_LARGE if number % 2 else TOO_LARGE)):
            put(pipeline, table, f"large-{number}", size)
            expected[table].append(f"large-{number}")
    pipeline.workload.run(30)
    pipeline.worker()
    with pipeline.workload:
        wait_for("every large record is a dead letter", lambda: len(letters(pipeline)) >= 8)
        put(pipeline, large, "large-later", TOO_LARGE)
        expected[large].append("large-later")
        pipeline.wait_published(50)
    pipeline.settle()

    found: dict[str, list[str]] = {table: [] for table in pipeline.tables}
    for letter in letters(pipeline):
        told = headers(letter)
        table = told["tailrace.table"]
        found[table].append(name_of(letter))
        shard = pipeline.shard_of(table)
        assert (told["tailrace.stream"], told["tailrace.shard"]) == tuple(shard)
        assert told["tailrace.sequence"].isdigit()
        assert told["__connect.errors.topic"] == pipeline.topic(table)
        assert told["__connect.errors.connector.name"] == pipeline.name
        assert told["__connect.errors.stage"] == "PRODUCE"
        assert told["__connect.errors.exception.class.name"].endswith("RecordTooLargeException")
        assert told["__connect.errors.exception.message"]
        bare = table == sorely and name_of(letter) in {"large-1", "large-3"}
        assert (letter.value() is None) == bare
        assert bare or b'"x' not in (letter.value() or b"")[:1]
        assert bare or told["tailrace.sequence"].encode() in (letter.value() or b"")
    assert found == expected


@pytest.mark.parametrize("codec", ["lz4", "none"])
def test_records_above_a_megabyte_hold_their_lane_up_for_seconds(bench: Callable[..., Bench], codec: str) -> None:
    pipeline = bench(tables=2, items=20, tuning={"compression.type": codec}, settings={"lanes": 1})
    for topic in pipeline.topics:
        make_topic(pipeline, topic, partitions=1, max_bytes=KAFKAS_MAX_BYTES)
    large = pipeline.tables[0]
    worker = pipeline.worker()
    pipeline.workload.run(30)
    pipeline.wait_complete()
    for number in range(16):
        put_random(pipeline, large, "large", number)
        pipeline.workload.run(2)
    put_random(pipeline, large, "other", 0)
    put_random(pipeline, large, "x", 0, size=10)
    pipeline.wait_complete(timeout_s=60)
    wait_for("every large record is a dead letter", lambda: len(letters(pipeline)) >= 15, timeout_s=60)
    published = read_committed(pipeline.kafka, pipeline.topic(large))
    assert [name_of(record) for record in published if name_of(record) in {"large", "other", "x"}].count("large") == 1
    assert {"other", "x"} <= {name_of(record) for record in published}
    sequences = [int(headers(letter)["tailrace.sequence"]) for letter in letters(pipeline)]
    assert len(sequences) == 15
    assert sequences == sorted(sequences)
    assert len(worker.logged("record set aside", table=large)) == 15
    if codec == "none":
        assert worker.logged("lane lost") == [], "what is surely too large is never sent"
    pipeline.stop_workers()


def test_records_above_a_megabyte_are_found_without_the_right_to_see_the_topic_s_limit(
    bench: Callable[..., Bench],
) -> None:
    """Nor is it Kafka's default: the batches become smaller until only what is too large is refused."""
    with KafkaBroker(users={"admin": "admin-secret", "worker": "worker-secret"}) as broker:
        pipeline = bench(
            on=broker.client_properties(),
            through=broker.client_properties("worker"),
            tables=2,
            items=20,
            settings={"lanes": 1},
        )
        kinds = (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID)
        blind = ban(ResourceType.TOPIC, pipeline.name, AclOperation.DESCRIBE_CONFIGS)
        set_rights(broker.client_properties(), blind, *(right(kind, pipeline.name) for kind in kinds))
        large = pipeline.tables[0]
        for topic in pipeline.topics:
            make_topic(pipeline, topic, partitions=1, max_bytes=TOPIC_MAX_BYTES)
        for number in range(30):
            put(pipeline, large, f"small-{number}", 30_000)
        for number in range(5):
            put_random(pipeline, large, "large", number)
        pipeline.workload.run(30)
        pipeline.worker()
        pipeline.wait_complete(timeout_s=60)
        wait_for("every large record is a dead letter", lambda: len(letters(pipeline)) == 5, timeout_s=60)
        published = [name_of(record) for record in read_committed(pipeline.kafka, pipeline.topic(large))]
        assert len([name for name in published if name.startswith("small-")]) == 30
        assert {name_of(letter) for letter in letters(pipeline)} == {"large"}
        pipeline.stop_workers()


def test_with_errors_fail_only_the_shard_of_the_refused_record_stops(bench: Callable[..., Bench]) -> None:
    pipeline = bench(tables=3, items=20, settings={"errors": "fail"})
    bad = pipeline.tables[0]
    for topic in pipeline.topics:
        make_topic(pipeline, topic, partitions=2, max_bytes=TOPIC_MAX_BYTES)
    worker = pipeline.worker()
    pipeline.workload.run(90)
    pipeline.wait_complete()
    put(pipeline, bad, "large", TOO_LARGE)
    worker.wait_logged("shard failed", table=bad)
    pipeline.workload.run(90)
    others = [change for change in pipeline.workload.history[90:] if change.table != bad]
    goal = 90 + len(others)
    wait_for("the other tables go on", lambda: pipeline.verdict().found == goal)
    pipeline.stop_workers()

    verdict = pipeline.verdict()
    assert (verdict.found, verdict.lost) == (goal, 90 - len(others))
    assert (verdict.repeated, verdict.out_of_order, verdict.unexpected) == (0, 0, 0)
    checkpoint = pipeline.checkpoint_state().checkpoints[pipeline.shard_of(bad)]
    assert checkpoint.state == "failed"
    assert checkpoint.detail
    assert worker.logged("shard failed", table=bad)[0]["level"] == "error"
    assert letters(pipeline) == []


def test_a_topic_without_the_right_to_write_stops_its_table_alone_until_it_is_granted(
    bench: Callable[..., Bench],
) -> None:
    with KafkaBroker(users={"admin": "admin-secret", "worker": "worker-secret"}) as broker:
        pipeline = bench(on=broker.client_properties(), through=broker.client_properties("worker"), tables=3, items=20)
        refused = pipeline.tables[0]
        admin = broker.client_properties()
        writing = ban(ResourceType.TOPIC, pipeline.topic(refused), AclOperation.WRITE)
        kinds = (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID)
        set_rights(admin, writing, *(right(kind, pipeline.name) for kind in kinds))
        worker = pipeline.worker()
        pipeline.workload.run(90)
        worker.wait_logged("topic refused", table=refused)
        pipeline.workload.run(90)
        others = [change for change in pipeline.workload.history if change.table != refused]
        wait_for("the other tables go on", lambda: pipeline.verdict().found == len(others))
        assert {line["table"] for line in worker.logged("topic refused")} == {refused}
        assert pipeline.topic(refused) in worker.logged("topic refused")[0]["detail"]
        lift(admin, writing)
        pipeline.settle()


class _Poisoned:
    """Reads as another reader does, but does not understand the records of items whose name begins with `bad`.

    Only the name counts: an event's ID is random hexadecimal text, and begins with `bad` now and then.
    """

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> SourcePage:
        page: SourcePage = self._reader.read(shard, position, iterator)
        return msgspec.structs.replace(page, records=[self._poison(record) for record in page.records])

    def _poison(self, record: SourceRecord) -> SourceRecord:
        if b'{"S":"bad' not in record.origin.raw:
            return record
        return msgspec.structs.replace(record, change=None, message=None, error=RecordError("the record is poison"))


@contextmanager
def _worker_in_process(pipeline: Bench) -> Iterator[Worker]:
    loaded = load(pipeline.file)
    parts = PipelineParts(loaded.pipeline)
    parts.prepare()
    parts.reader = _Poisoned(parts.reader)
    metrics = Metrics(parts.name, loaded.pipeline.dead_letters_topic, transcoder=parts.transcoder.name)
    worker = Worker(parts, metrics)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(20)
        parts.close()
        assert not thread.is_alive()


def test_a_record_that_cannot_be_converted_becomes_a_dead_letter_and_stalls_nothing(
    bench: Callable[..., Bench],
) -> None:
    pipeline = bench(tables=2, items=20)
    table = pipeline.tables[0]
    with _worker_in_process(pipeline):
        for number in range(3):
            pipeline.workload.run(60)
            put(pipeline, table, f"bad-{number}", 10)
        pipeline.workload.run(60)
        pipeline.wait_complete()
        wait_for("the poison is set aside", lambda: len(letters(pipeline)) == 3)
    assert pipeline.verdict().good

    found = letters(pipeline)
    assert [f'"bad-{number}"'.encode() in (letter.value() or b"") for number, letter in enumerate(found)] == [True] * 3
    told = [headers(letter) for letter in found]
    assert {each["__connect.errors.exception.message"] for each in told} == {"the record is poison"}
    assert {each["__connect.errors.stage"] for each in told} == {"VALUE_CONVERTER"}
    sequences = [int(each["tailrace.sequence"]) for each in told]
    assert sequences == sorted(sequences)
    checkpoint = pipeline.checkpoint_state().checkpoints[pipeline.shard_of(table)]
    assert checkpoint.state == "open"
    assert int(checkpoint.sequence or 0) > sequences[-1]


def test_with_errors_fail_a_record_that_cannot_be_converted_stops_its_shard(
    bench: Callable[..., Bench],
) -> None:
    pipeline = bench(tables=2, items=20, settings={"errors": "fail"})
    bad, other = pipeline.tables
    with _worker_in_process(pipeline):
        pipeline.workload.run(60)
        pipeline.wait_complete()
        put(pipeline, bad, "bad", 10)

        def is_told() -> bool:
            found = pipeline.checkpoint_state().checkpoints.get(pipeline.shard_of(bad))
            return found is not None and found.state == "failed"

        wait_for("the shard says so", is_told)
        pipeline.workload.run(60)
        kept = 60 + sum(change.table == other for change in pipeline.workload.history[60:])
        wait_for("the other table goes on", lambda: pipeline.verdict().found == kept)
    verdict = pipeline.verdict()
    assert (verdict.found, verdict.repeated, verdict.out_of_order, verdict.unexpected) == (kept, 0, 0, 0)
    assert letters(pipeline) == []
