"""A record in the checkpoint topic that Tailrace did not write stops the pipeline alone, and can be taken back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from support.bench import Bench
from support.checkpoints import lineage, shard, write_topic
from support.cli import CommandLine
from support.kafka_clients import TIMEOUT_S, client
from support.names import unique
from support.worker_process import LoggedWorker
from tailrace.core.checkpoint import CheckpointKey
from tailrace.core.checkpoint_bytes import encode_key, encode_record
from tailrace.core.shard import ShardRef
from tailrace.errors import WorldError
from tailrace.kafka import watched_consumer
from tailrace.kafka.checkpoint_topic import Follower, read_checkpoint_state
from tailrace.local.kafka import KafkaBroker


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def write(kafka: dict[str, str], topic: str, partition: int, key: bytes, value: bytes | None) -> int:
    """Write a record as another program would; give its offset."""
    offsets: list[int | None] = []
    producer = Producer({**client(kafka), "linger.ms": 0})
    producer.produce(topic, value, key, partition, lambda _, message: offsets.append(message.offset()))
    assert producer.flush(TIMEOUT_S) == 0
    return offsets[0] or 0


def refusal_of(worker: LoggedWorker) -> str:
    """Return the one sentence with which a worker ended, on account of the world."""
    assert worker.wait(60) == 3
    (sentence,) = worker.lines
    assert not [line for line in worker.logged_by("tailrace.worker") if "exception" in line]
    return sentence


def test_a_foreign_record_stops_the_workers_of_its_pipeline_alone_until_it_is_taken_back(
    bench: Callable[..., Bench], run: CommandLine
) -> None:
    pipeline, neighbour = bench(tables=2), bench(tables=1, seed=2)
    with pipeline.workload, neighbour.workload:
        workers = [pipeline.worker(), pipeline.worker()]
        neighbour.worker()
        pipeline.wait_published(50)
        offset = write(dict(pipeline.kafka), pipeline.checkpoints_topic, 3, b"hello\n", b"world")
        where = f"{pipeline.checkpoints_topic}, partition 3, offset {offset}"
        told = (
            f"error: the record at {where} is not a Tailrace checkpoint "
            "(its key: JSON is malformed: invalid character (byte 0)); another program writes to this topic: give the "
            "pipeline a name of its own, or keep that program out and write a record of the same key without a value "
            "behind this one"
        )
        assert [refusal_of(worker) for worker in workers] == [told, told]
        assert refusal_of(pipeline.worker(ready=False)) == told
        code, _, err = run("status", pipeline.file)
        assert (code, err.splitlines()) == (3, [told])

        write(dict(pipeline.kafka), pipeline.checkpoints_topic, 3, b"hello\n", None)
        pipeline.worker()
        pipeline.wait_published(50)
        neighbour.wait_published(50)
    neighbour.settle()
    pipeline.settle()


def test_a_checkpoint_that_another_program_overwrote_stops_the_worker_until_the_last_good_one_is_back(
    bench: Callable[..., Bench],
) -> None:
    pipeline = bench(tables=1)
    with pipeline.workload:
        worker = pipeline.worker()
        pipeline.wait_published(50)
        ref, lane = pipeline.shard_of(pipeline.tables[0]), pipeline.lane_of(pipeline.tables[0])
        worker.terminate()
        assert worker.wait() == 0
        key, good = encode_key(CheckpointKey(*ref)), encode_record(pipeline.checkpoint_state().checkpoints[ref])
        write(
            dict(pipeline.kafka),
            pipeline.checkpoints_topic,
            lane,
            key,
            (good or b"").replace(b'"sequence":"', b'"sequence":"x'),
        )
        refused = refusal_of(pipeline.worker(ready=False))
        assert f"error: the record at {pipeline.checkpoints_topic}, partition {lane}, offset " in refused
        assert "(its value: Expected `str` matching regex" in refused
        assert "write the last good value of the same key again behind this one" in refused

        write(dict(pipeline.kafka), pipeline.checkpoints_topic, lane, key, good)
        pipeline.worker()
        pipeline.wait_published(50)
    pipeline.settle()


@pytest.fixture
def topic(kafka: KafkaBroker) -> tuple[dict[str, str], str]:
    """A pipeline's checkpoint topic of two lanes that holds one shard; how to reach it, and the pipeline's name."""
    properties, name = kafka.client_properties(), unique("pipe")
    write_topic(properties, name, 2, [lineage(shard(1), 2)])
    return properties, name


FOREIGN = [
    (b"hello", b"world"),
    (b'["planet","earth"]', b"{}"),
    (b'["taken"]', b"\xff"),
    (b'["checkpoint","arn","shard"]', b"[" * 100_000),
]


def test_a_foreign_record_is_told_of_soon_in_a_lane_that_is_written_to_all_the_time(
    topic: tuple[dict[str, str], str],
) -> None:
    kafka, name = topic
    write(kafka, f"{name}.checkpoints", 1, b"hello", b"world")
    done = threading.Event()

    def write_on() -> None:
        producer = Producer({**client(kafka), "linger.ms": 0})
        while not done.wait(0.05):
            producer.produce(f"{name}.checkpoints", None, encode_key(CheckpointKey("arn", "busy")), 1)
            assert producer.flush(TIMEOUT_S) == 0

    writer = threading.Thread(target=write_on)
    writer.start()
    follower = Follower(kafka, name, [1])
    begun_s = time.monotonic()
    try:
        with pytest.raises(WorldError, match=r"^the record at "):
            follower.read_until(lambda: False, lambda *_: None, TIMEOUT_S)
        assert time.monotonic() - begun_s < 15
    finally:
        done.set()
        writer.join()
        follower.close()


@pytest.mark.parametrize(("key", "value"), FOREIGN)
def test_a_foreign_record_counts_as_long_as_nothing_of_its_key_follows_however_far_behind(
    topic: tuple[dict[str, str], str], monkeypatch: pytest.MonkeyPatch, key: bytes, value: bytes
) -> None:
    monkeypatch.setattr(watched_consumer, "_RECORDS_MAX", 1)  # what follows is not in the same fetch
    kafka, name = topic
    write(kafka, f"{name}.checkpoints", 1, key, value)
    for number in range(20):
        write(kafka, f"{name}.checkpoints", 1, encode_key(CheckpointKey("arn", f"s{number}")), None)
    with pytest.raises(WorldError, match=rf"^the record at {name}\.checkpoints, partition 1, offset \d+ "):
        read_checkpoint_state(kafka, name, 2)

    write(kafka, f"{name}.checkpoints", 1, key, None)
    assert set(read_checkpoint_state(kafka, name, 2).shards) == {ShardRef(*shard(1))}
    write(kafka, f"{name}.checkpoints", 1, key, value)
    with pytest.raises(WorldError, match=r", partition 1, offset "):
        read_checkpoint_state(kafka, name, 2)
