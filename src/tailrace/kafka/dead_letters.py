"""Dead letters: records set aside with their reason, in the same transaction as the changes around them.

Headers are those of Kafka Connect (KIP-298, `__connect.errors.*`), and where the record stands in the source.

A dead letter that is published again is remembered in the same topic, in the transaction that publishes it: by a
*redriven mark*, a record without a value that names the dead letter's offset. It goes to the dead letter's partition,
behind it: Kafka deletes from the front, so retention never takes the mark and leaves the dead letter.
"""

from __future__ import annotations

import re

from confluent_kafka import Message

from tailrace.core.page import Outgoing
from tailrace.core.redrive import DeadLetter, Place
from tailrace.core.shard import ShardRef, is_sequence_number

CONNECTOR_CLASS = "tailrace"
RECORD_TOO_LARGE = "org.apache.kafka.common.errors.RecordTooLargeException"
STAGE = "__connect.errors.stage"
EXCEPTION = "__connect.errors.exception.class.name"
REDRIVEN_OFFSET = "tailrace.redriven.offset"
"""Header of a redriven mark: the offset of the dead letter, in the mark's own partition."""
_OFFSET = re.compile(r"[0-9]{1,19}")


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
        STAGE: stage,
        "__connect.errors.class.name": CONNECTOR_CLASS,
        EXCEPTION: exception,
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


def redriven_mark(topic: str, letter: DeadLetter, *, pipeline: str, outcome: str, now_ms: int) -> Outgoing:
    """Make the mark of a dead letter that was dealt with; `outcome` says how, for people."""
    headers = {
        REDRIVEN_OFFSET: str(letter.place.offset),
        "tailrace.redriven.pipeline": pipeline,
        "tailrace.redriven.outcome": outcome,
        "tailrace.table": letter.table,
    }
    return Outgoing(
        topic=topic,
        key=f"redriven-{letter.place.partition}-{letter.place.offset}".encode(),
        value=None,
        headers=[(name, value.encode()) for name, value in headers.items()],
        timestamp_ms=now_ms,
        sequence=letter.sequence,
        raw=b"",
        partition=letter.place.partition,
    )


def read(message: Message, pipeline: str) -> DeadLetter | Place | None:
    """Read a record of the topic: a dead letter, the place that a mark names, None for what is not the pipeline's."""
    place = Place(message.partition() or 0, message.offset() or 0)
    headers = _texts(message)
    if _OFFSET.fullmatch(offset := headers.get(REDRIVEN_OFFSET, "")):
        return Place(place.partition, int(offset))
    sequence = headers.get("tailrace.sequence", "")
    if headers.get("__connect.errors.connector.name") != pipeline or not is_sequence_number(sequence):
        return None
    value = message.value()
    return DeadLetter(
        place=place,
        table=headers.get("tailrace.table", ""),
        shard=ShardRef(headers.get("tailrace.stream", ""), headers.get("tailrace.shard", "")),
        sequence=sequence,
        created_ms=message.timestamp()[1],
        stage=headers.get(STAGE, ""),
        exception=headers.get(EXCEPTION, ""),
        message=headers.get("__connect.errors.exception.message", ""),
        size_bytes=0 if value is None else len(value),
    )


def _texts(message: Message) -> dict[str, str]:
    pairs = dict(message.headers() or [])
    return {
        name: value.decode(errors="replace") if isinstance(value, bytes) else value or ""
        for name, value in pairs.items()
    }
