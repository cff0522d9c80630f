"""The event that AWS Lambda's event source mapping sends for a stream of Kinesis: one batch of one shard.

Source: https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html and services-kinesis-windows.html
"""

from __future__ import annotations

from typing import Final

import msgspec

from tailrace.core.shard import SequenceNumber, ShardRef
from tailrace.errors import excerpt
from tailrace.sources.aws_lambda.event import Batch, EventKind, has_window, not_ours, records_of, shard_id_of
from tailrace.sources.kinesis import stream_ref

_KIND: Final = EventKind("aws:kinesis", "Kinesis Data Streams", "a stream of Kinesis")


class _Data(msgspec.Struct, rename="camel"):
    approximate_arrival_timestamp: float
    data: str
    partition_key: str
    sequence_number: SequenceNumber


class _Record(msgspec.Struct):
    kinesis: _Data
    event_id: str = msgspec.field(name="eventID")


class _Answered(msgspec.Struct, rename="pascal"):
    """A record as GetRecords answers it."""

    approximate_arrival_timestamp: float
    data: str
    partition_key: str
    sequence_number: str


def read_event(event: object) -> Batch | None:
    """Read an event as the runtime hands it to the handler; None when it holds no records (a window's last call).

    The shard's stream is the plain ARN: the event does not tell when the stream was created. A record that is there
    twice counts once. Raises `WorldError` for an event that Kinesis did not send.
    """
    found, arn = records_of(event, _KIND)
    if not found:
        return None
    stream = stream_ref.of(arn, 0)
    if stream is None:
        raise not_ours(f"{excerpt(arn)!r} is not the ARN of a stream", _KIND)
    try:
        records = msgspec.convert(found, list[_Record])
    except ValueError as error:
        raise not_ours(f"its records cannot be understood: {excerpt(str(error))}", _KIND) from None
    shards = {record.event_id.rpartition(":")[0] for record in records} | ({shard_id_of(event)} - {None})
    if len(shards) != 1:
        raise not_ours(f"its records are of {len(shards)} shards, and a batch comes from one", _KIND)
    answered = {
        each.kinesis.sequence_number: _Answered(
            each.kinesis.approximate_arrival_timestamp,
            each.kinesis.data,
            each.kinesis.partition_key,
            each.kinesis.sequence_number,
        )
        for each in records
    }
    return Batch(
        shard=ShardRef(arn, shards.pop() or ""),
        table=stream.name,
        region=stream.region,
        body=msgspec.json.encode({"Records": list(answered.values())}),
        has_window=has_window(event),
    )
