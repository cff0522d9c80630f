"""Records of the checkpoint topic, made short; a checkpoint state of them, and a real topic that holds them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from confluent_kafka import Producer

from support.kafka_clients import TIMEOUT_S, client
from tailrace.core.checkpoint import (
    Checkpoint,
    CheckpointKey,
    PipelineKey,
    PipelineRecord,
    ShardKey,
    ShardRecord,
    TableKey,
    TableRecord,
    Write,
)
from tailrace.core.checkpoint_bytes import encode_key, encode_record
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.shard import ShardRef, lane_of
from tailrace.kafka import checkpoint_topic, clients

BORN_MS = 1_700_000_000_000


def stream(table: str = "orders", label: str = "2026-01-01T00:00:00.000") -> str:
    """The ARN of a table's stream."""
    return f"arn:aws:dynamodb:us-east-1:000000000000:table/{table}/stream/{label}"


def shard(number: int, table: str = "orders") -> ShardRef:
    """A shard of a table."""
    return ShardRef(stream(table), f"shardId-{number:020}")


def lineage(shard: ShardRef, lanes: int, *, table: str = "orders", parents: tuple[ShardRef, ...] = ()) -> Write:
    """The record with which the enumerator publishes a shard."""
    record = ShardRecord(table=table, parents=parents, start="TRIM_HORIZON", seen_ms=BORN_MS, initial=False)
    return Write(lane_of(shard, lanes), ShardKey(*shard), record)


def checkpoint(shard: ShardRef, lanes: int, **fields: Any) -> Write:
    """How far a shard is published; open and without a change unless told otherwise."""
    said: dict[str, Any] = {"table": "orders", "state": "open", "sequence": None, "created_ms": None, "at_ms": BORN_MS}
    return Write(lane_of(shard, lanes), CheckpointKey(*shard), Checkpoint(**(said | fields)))


def table(name: str = "orders", **fields: Any) -> Write:
    """How a table stands; streaming unless told otherwise."""
    said: dict[str, Any] = {"stream_arn": stream(name), "view_type": "NEW_AND_OLD_IMAGES", "at_ms": BORN_MS}
    return Write(0, TableKey(name), TableRecord(**({"state": "streaming"} | said | fields)))


def birth(lanes: int) -> Write:
    """The pipeline's birth."""
    return Write(0, PipelineKey(), PipelineRecord(lanes=lanes, created_ms=BORN_MS))


def view_of(lanes: int, *writes: Write) -> CheckpointState:
    """A checkpoint state that has seen these records."""
    checkpoint_state = CheckpointState(lanes)
    for write in writes:
        checkpoint_state.apply(write.partition, write.key, write.record)
    return checkpoint_state


def write_topic(kafka: dict[str, str], pipeline: str, lanes: int, writes: Iterable[Write]) -> None:
    """Make a pipeline's checkpoint topic and write records to it."""
    checkpoint_topic.ensure(clients.admin(kafka), kafka, pipeline, lanes, 1)
    write_records(kafka, pipeline, writes)


def write_records(kafka: dict[str, str], pipeline: str, writes: Iterable[Write]) -> None:
    """Write records to the checkpoint topic of a pipeline."""
    producer = Producer(client(kafka))
    topic = checkpoint_topic.topic_name(pipeline)
    for each in writes:
        producer.produce(topic, encode_record(each.record), encode_key(each.key), each.partition)
    assert producer.flush(TIMEOUT_S) == 0
