"""Dead letters: records set aside with their reason, in the same transaction as the changes around them.

Headers are those of Kafka Connect (KIP-298, `__connect.errors.*`), and where the record is in the source.

A dead letter that is published again is remembered in the same topic, in the transaction that publishes it: by a
*redriven mark*, a record without a value that names the dead letter's offset. It goes to the dead letter's partition,
behind it: Kafka deletes from the front, so retention never takes the mark and leaves the dead letter.
"""

from __future__ import annotations

import re

from confluent_kafka import Message

from tailrace.core.change import Origin
from tailrace.core.page import Outgoing, SetAside
from tailrace.core.redrive import DeadLetter, Place
from tailrace.core.shard import ShardRef, is_sequence_number
from tailrace.kafka import headers

CONNECTOR_CLASS = "tailrace"
RECORD_TOO_LARGE = "org.apache.kafka.common.errors.RecordTooLargeException"
_OFFSET = re.compile(r"[0-9]{1,19}")


def dead_letter(
    topic: str,
    *,
    pipeline: str,
    shard: ShardRef,
    origin: Origin,
    key: bytes | None,
    value: bytes | None,
    intended_topic: str,
    stage: str,
    exception: str,
    message: str,
) -> Outgoing:
    """Make the dead letter of one record; `value` is the source's, None when that is too large to be kept."""
    texts = {
        headers.INTENDED_TOPIC: intended_topic,
        headers.PIPELINE: pipeline,
        headers.TASK: "0",
        headers.STAGE: stage,
        headers.CONNECTOR_CLASS: CONNECTOR_CLASS,
        headers.EXCEPTION: exception,
        headers.REASON: message,
        headers.TABLE: origin.table,
        headers.STREAM: shard.stream,
        headers.SHARD: shard.shard_id,
        headers.SEQUENCE: origin.sequence,
    }
    return Outgoing(
        topic=topic,
        key=key,
        value=value,
        headers=[(name, text.encode()) for name, text in texts.items()],
        timestamp_ms=origin.created_ms,
        origin=origin,
        is_dead_letter=True,
    )


def too_large(topic: str, pipeline: str, shard: ShardRef, record: Outgoing, mark: SetAside) -> Outgoing:
    """Make the dead letter of a record that is too large for its topic."""
    return dead_letter(
        topic,
        pipeline=pipeline,
        shard=shard,
        origin=record.origin,
        key=record.key,
        value=None if mark.bare else record.origin.raw,
        intended_topic=record.topic,
        stage="PRODUCE",
        exception=RECORD_TOO_LARGE,
        message=mark.reason,
    )


def redriven_mark(topic: str, letter: DeadLetter, *, pipeline: str, outcome: str, now_ms: int) -> Outgoing:
    """Make the mark of a dead letter that was dealt with; `outcome` says how, for people."""
    texts = {
        headers.REDRIVEN_OFFSET: str(letter.place.offset),
        headers.REDRIVEN_PIPELINE: pipeline,
        headers.REDRIVEN_OUTCOME: outcome,
        headers.TABLE: letter.table,
    }
    return Outgoing(
        topic=topic,
        key=f"redriven-{letter.place.partition}-{letter.place.offset}".encode(),
        value=None,
        headers=[(name, text.encode()) for name, text in texts.items()],
        timestamp_ms=now_ms,
        origin=Origin(letter.table, letter.sequence, letter.created_ms, body=b""),
        partition=letter.place.partition,
    )


def read(message: Message, pipeline: str) -> DeadLetter | Place | None:
    """Read a record of the topic: a dead letter, the place that a mark names, None for what is not the pipeline's."""
    place = Place(message.partition() or 0, message.offset() or 0)
    texts = _texts(message)
    if _OFFSET.fullmatch(offset := texts.get(headers.REDRIVEN_OFFSET, "")):
        return Place(place.partition, int(offset))
    sequence = texts.get(headers.SEQUENCE, "")
    if texts.get(headers.PIPELINE) != pipeline or not is_sequence_number(sequence):
        return None
    value = message.value()
    return DeadLetter(
        place=place,
        table=texts.get(headers.TABLE, ""),
        shard=ShardRef(texts.get(headers.STREAM, ""), texts.get(headers.SHARD, "")),
        sequence=sequence,
        created_ms=message.timestamp()[1],
        stage=texts.get(headers.STAGE, ""),
        exception=texts.get(headers.EXCEPTION, ""),
        message=texts.get(headers.REASON, ""),
        size_bytes=0 if value is None else len(value),
    )


def _texts(message: Message) -> dict[str, str]:
    pairs = dict(message.headers() or [])
    return {
        name: value.decode(errors="replace") if isinstance(value, bytes) else value or ""
        for name, value in pairs.items()
    }
