"""Names of the headers of the records that Tailrace writes: those of Kafka Connect (KIP-298), and its own."""

from __future__ import annotations

from typing import Final

INTENDED_TOPIC: Final = "__connect.errors.topic"
PIPELINE: Final = "__connect.errors.connector.name"
TASK: Final = "__connect.errors.task.id"
STAGE: Final = "__connect.errors.stage"
CONNECTOR_CLASS: Final = "__connect.errors.class.name"
EXCEPTION: Final = "__connect.errors.exception.class.name"
REASON: Final = "__connect.errors.exception.message"

TABLE: Final = "tailrace.table"
STREAM: Final = "tailrace.stream"
SHARD: Final = "tailrace.shard"
SEQUENCE: Final = "tailrace.sequence"

SNAPSHOT: Final = "tailrace.snapshot"
"""On a row, or a delete, that a snapshot published: the snapshot's id."""

REDRIVEN: Final = "tailrace.redriven"
"""On a record that was published by a redrive, maybe behind newer changes."""
REDRIVEN_OFFSET: Final = "tailrace.redriven.offset"
"""On a redriven mark: the offset of the dead letter, in the mark's own partition."""
REDRIVEN_PIPELINE: Final = "tailrace.redriven.pipeline"
REDRIVEN_OUTCOME: Final = "tailrace.redriven.outcome"
