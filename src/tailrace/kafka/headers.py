"""Names of the headers of the records that Tailrace writes: those of Kafka Connect (KIP-298), and its own."""

from __future__ import annotations

from typing import Final

import msgspec
from confluent_kafka import Message

from tailrace.core.page import Outgoing
from tailrace.core.shard import ShardRef

INTENDED_TOPIC: Final = "__connect.errors.topic"
PIPELINE: Final = "__connect.errors.connector.name"
TASK: Final = "__connect.errors.task.id"
ORIGIN_PARTITION: Final = "__connect.errors.partition"
ORIGIN_OFFSET: Final = "__connect.errors.offset"
STAGE: Final = "__connect.errors.stage"
CONNECTOR_CLASS: Final = "__connect.errors.class.name"
EXCEPTION: Final = "__connect.errors.exception.class.name"
REASON: Final = "__connect.errors.exception.message"

TABLE: Final = "tailrace.table"
STREAM: Final = "tailrace.stream"
SHARD: Final = "tailrace.shard"
SEQUENCE: Final = "tailrace.sequence"

LAKE: Final = "tailrace.lake"
"""On a dead letter of a lake: the lake's name."""

LATE: Final = "tailrace.late"
"""On a change that was read after a newer one of its item had been published; never on one that came in order."""

SNAPSHOT: Final = "tailrace.snapshot"
"""On a row, or a delete, that a snapshot published: the snapshot's id."""

REDRIVEN: Final = "tailrace.redriven"
"""On a record that was published by a redrive, maybe behind newer changes."""
REDRIVEN_OFFSET: Final = "tailrace.redriven.offset"
"""On a redriven mark: the offset of the dead letter, in the mark's own partition."""
REDRIVEN_PIPELINE: Final = "tailrace.redriven.pipeline"
REDRIVEN_OUTCOME: Final = "tailrace.redriven.outcome"

REPLAYED: Final = "tailrace.replayed"
"""On a record that a replay published again, behind newer ones. Without those records, a topic holds what it would hold
had there been no replay."""


def marked(mark: str, shard: ShardRef, record: Outgoing) -> Outgoing:
    """Return a record with a mark and where its change stands in the source; a dead letter tells that by itself."""
    marks = [(mark, b"true")]
    if not record.is_dead_letter:
        marks += [
            (STREAM, shard.stream.encode()),
            (SHARD, shard.shard_id.encode()),
            (SEQUENCE, record.origin.sequence.encode()),
        ]
    return msgspec.structs.replace(record, headers=[*(record.headers or []), *marks])


def is_replayed(message: Message) -> bool:
    """Return whether a record is a repetition that a replay published."""
    return REPLAYED in dict(message.headers() or [])
