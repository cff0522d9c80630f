"""Dead letters: records set aside with their reason, in the same transaction as the changes around them.

Headers are those of Kafka Connect (KIP-298, `__connect.errors.*`), and where the record stands in the source.
"""

from __future__ import annotations

from tailrace.core.page import Outgoing
from tailrace.core.shard import ShardRef

CONNECTOR_CLASS = "tailrace"


def dead_letter(
    topic: str,
    *,
    pipeline: str,
    table: str,
    shard: ShardRef,
    sequence: str,
    created_ms: int,
    key: bytes | None,
    raw: bytes | None,
    intended_topic: str,
    stage: str,
    exception: str,
    message: str,
) -> Outgoing:
    """Make the dead letter of one record; `raw` None when the record itself is too large to be kept."""
    headers = {
        "__connect.errors.topic": intended_topic,
        "__connect.errors.connector.name": pipeline,
        "__connect.errors.task.id": "0",
        "__connect.errors.stage": stage,
        "__connect.errors.class.name": CONNECTOR_CLASS,
        "__connect.errors.exception.class.name": exception,
        "__connect.errors.exception.message": message,
        "tailrace.table": table,
        "tailrace.stream": shard.stream_arn,
        "tailrace.shard": shard.shard_id,
        "tailrace.sequence": sequence,
    }
    return Outgoing(
        topic=topic,
        key=key,
        value=raw,
        headers=[(name, value.encode()) for name, value in headers.items()],
        timestamp_ms=created_ms,
        sequence=sequence,
        raw=raw or b"",
    )
