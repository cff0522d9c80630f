"""Kinds of a newer version in the checkpoint topic: whoever may do without them goes on, and loses none of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing

import pytest
from confluent_kafka import Producer

from support.bench import LANES, Bench
from support.cli import CommandLine
from support.kafka_clients import TIMEOUT_S, client
from support.lambda_batches import of_stream, record, whole, windowed
from support.names import unique
from support.waiting import wait_for
from tailrace.config import load
from tailrace.core.checkpoint import IgnoredKey, TopicKey, TopicRecord
from tailrace.core.checkpoint_bytes import encode_key, encode_record
from tailrace.core.shard import ShardRef, lane_of
from tailrace.function.function import Function
from tailrace.kafka.checkpoint_topic import Follower

VALUE = b'{"v":9,"r":9,"digests":"AAEC"}'


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def window(shard: ShardRef) -> bytes:
    """The key of a kind that this version does not know, of a shard."""
    return json.dumps(["?window", shard, "digests"], separators=(",", ":")).encode()


def write(pipeline: Bench, *records: tuple[int, bytes, bytes | None]) -> None:
    """Write records (partition, key, value) as a newer version would."""
    producer = Producer({**client(pipeline.kafka), "linger.ms": 0})
    for partition, key, value in records:
        producer.produce(pipeline.checkpoints_topic, value, key, partition)
    assert producer.flush(TIMEOUT_S) == 0


def write_newer_kinds(pipeline: Bench, *shards: ShardRef) -> None:
    """Write to every lane a record that stays there and one that is deleted; and one for each shard to its lane."""
    for lane in range(LANES):
        write(pipeline, (lane, b'["?note"]', VALUE), (lane, b'["?gone","a"]', VALUE), (lane, b'["?gone","a"]', None))
    write(pipeline, *((lane_of(shard, LANES), window(shard), VALUE) for shard in shards))


def unread(pipeline: Bench, lanes: int) -> set[tuple[int, bytes, bytes]]:
    """Read which records stand in the topic that this version does not understand: partition, key, value."""
    found: dict[tuple[int, bytes], bytes | None] = {}

    def take(partition: int, key: TopicKey, record: TopicRecord | None) -> None:
        if isinstance(key, IgnoredKey):
            found[partition, encode_key(key)] = encode_record(record)

    with closing(Follower(pipeline.kafka, pipeline.name, range(lanes), to_end=True)) as follower:
        assert follower.read_until(lambda: follower.has_reached_end, take, TIMEOUT_S)
    return {(*place, value) for place, value in found.items() if value is not None}


def test_workers_the_commands_and_the_function_go_on_beside_kinds_of_a_newer_version(
    run: CommandLine, bench: Callable[..., Bench]
) -> None:
    pipeline = bench(tables=4)
    with pipeline.workload:
        worker = pipeline.worker()
        pipeline.wait_published(50)
        shards = [pipeline.shard_of(table) for table in pipeline.tables]
        write_newer_kinds(pipeline, *shards)
        notes = {(lane, b'["?note"]', VALUE) for lane in range(LANES)}
        written = notes | {(lane_of(each, LANES), window(each), VALUE) for each in shards}
        wait_for("the transactions before them have ended", lambda: unread(pipeline, LANES) == written)
        pipeline.wait_published(50)
        late = pipeline.worker()
        pipeline.wait_shared(2)
        pipeline.wait_published(50)
        assert (worker.exit_code, late.exit_code) == (None, None)
        assert run("status", pipeline.file).code == 0

        pipeline.stop_workers()
        more = pipeline.write_file(lanes=LANES + 5)
        assert run("rescale", more).code == 0
        moved = notes | {(lane_of(each, LANES + 5), window(each), VALUE) for each in shards}
        assert unread(pipeline, LANES + 5) == moved
        pipeline.worker(more)
        pipeline.wait_published(50)
    pipeline.settle()

    assert run("switch", more, "--to", "lambda", "--yes").code == 0
    stream, shard_id = shards[0]
    with closing(Function(load(more), unique("sandbox"))) as function:
        batch = windowed([of_stream(record(1), stream)], stream, shard_id)
        assert function.handle(batch, lambda: 60.0) == whole()
    assert unread(pipeline, LANES + 5) == moved


def test_an_unknown_kind_that_is_not_marked_stops_the_worker(bench: Callable[..., Bench]) -> None:
    pipeline = bench(tables=1)
    worker = pipeline.worker()
    wait_for("the table is listed", lambda: pipeline.tables[0] in pipeline.checkpoint_state().tables)
    write(pipeline, (3, b'["window",["arn","shardId-1"]]', VALUE))
    assert worker.wait() == 3
    (sentence,) = worker.lines
    assert f"the record at {pipeline.checkpoints_topic}, partition 3, offset " in sentence
    assert "has format 9, newer than this Tailrace reads" in sentence
    assert sentence.endswith("run the newer version on every host")
