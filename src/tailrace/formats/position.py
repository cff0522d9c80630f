"""Which change a record on a topic is of: the stream and sequence number that its format carries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

from tailrace.core.redrive import SourcePosition


class _Source(msgspec.Struct):
    stream: str
    shard: str
    sequence: str
    ts_ms: int


class _Debezium(msgspec.Struct):
    source: _Source


class _CloudEvent(msgspec.Struct):
    specversion: str
    source: str
    sequence: str
    time: datetime | None = None


class _StreamRecord(msgspec.Struct):
    sequence: str = msgspec.field(name="SequenceNumber")
    created_s: float = msgspec.field(name="ApproximateCreationDateTime")


class _LambdaRecord(msgspec.Struct):
    arn: str = msgspec.field(name="eventSourceARN")
    stream_record: _StreamRecord = msgspec.field(name="dynamodb")


def source_position(value: bytes) -> SourcePosition | None:
    """Read the position from a record's value, whichever format wrote it; None for `item`, which carries none."""
    for read in _READERS:
        try:
            return read(value)
        except (ValueError, OverflowError, RecursionError):
            continue
    return None


def _read_debezium(value: bytes) -> SourcePosition:
    source = _debezium(value).source
    return SourcePosition(source.stream, source.shard, int(source.sequence), source.ts_ms)


def _read_lambda_record(value: bytes) -> SourcePosition:
    record = _lambda_record(value)
    created_ms = round(record.stream_record.created_s * 1000)
    return SourcePosition(record.arn, None, int(record.stream_record.sequence), created_ms)


def _read_cloud_event(value: bytes) -> SourcePosition:
    event = _cloud_event(value)
    created_ms = round(event.time.timestamp() * 1000) if event.time else 0
    return SourcePosition(event.source, None, int(event.sequence), created_ms)


_debezium = msgspec.json.Decoder(_Debezium).decode
_lambda_record = msgspec.json.Decoder(_LambdaRecord).decode
_cloud_event = msgspec.json.Decoder(_CloudEvent).decode
_READERS: Final[tuple[Callable[[bytes], SourcePosition], ...]] = (
    _read_debezium,
    _read_lambda_record,
    _read_cloud_event,
)
