"""Records on their way into an event: as GetRecords gives them, as Lambda passes them on, and the event around them.

Source: https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html and services-ddb-windows.html
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

PAYLOAD_BYTES_MAX: Final = 6 * 1024 * 1024
"""The most that a synchronous invocation takes."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record: `body` is its JSON in an event, `keys` that of the item's key, or the partition key.

    Of Kinesis, `created_ms` is when it arrived.
    """

    sequence: str
    created_ms: int
    read_ms: int
    keys: bytes
    body: bytes


class Span(msgspec.Struct, frozen=True):
    """The time that a tumbling window covers, milliseconds since the epoch; `end_ms` is the next one's start."""

    start_ms: int
    end_ms: int


class WindowPart(msgspec.Struct, frozen=True):
    """What an event says of its window."""

    span: Span
    state: bytes
    is_final: bool
    is_early: bool


def sequence_of(record: dict[str, Any]) -> str:
    """Return the sequence number of a record of GetRecords."""
    return str(record["dynamodb"]["SequenceNumber"] if "dynamodb" in record else record["SequenceNumber"])


def parse_record(record: dict[str, Any], stream_arn: str, shard_id: str, now_ms: int) -> Record:
    """Make a record of GetRecords into one of an event, of DynamoDB Streams or of Kinesis."""
    if "dynamodb" not in record:
        return _parse_kinesis(record, stream_arn, shard_id, now_ms)
    # With `eventSourceARN`, and `userIdentity` in small letters.
    change = record["dynamodb"]
    passed_on = record | {"eventSourceARN": stream_arn}
    if identity := record.get("userIdentity"):
        passed_on["userIdentity"] = {name[0].lower() + name[1:]: value for name, value in identity.items()}
    return Record(
        sequence=change["SequenceNumber"],
        created_ms=round(change["ApproximateCreationDateTime"] * 1000),
        read_ms=now_ms,
        keys=msgspec.json.encode(change["Keys"], order="deterministic"),
        body=msgspec.json.encode(passed_on),
    )


def _parse_kinesis(record: dict[str, Any], stream_arn: str, shard_id: str, now_ms: int) -> Record:
    """Source: https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html."""
    sequence, key = sequence_of(record), record["PartitionKey"]
    passed_on = {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": key,
            "sequenceNumber": sequence,
            "data": record["Data"],
            "approximateArrivalTimestamp": record["ApproximateArrivalTimestamp"],
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{shard_id}:{sequence}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::123456789012:role/lambda",
        "awsRegion": stream_arn.split(":")[3],
        "eventSourceARN": stream_arn,
    }
    return Record(
        sequence=sequence,
        created_ms=round(record["ApproximateArrivalTimestamp"] * 1000),
        read_ms=now_ms,
        keys=key.encode(),
        body=msgspec.json.encode(passed_on),
    )


def make_event(records: Sequence[Record], window: WindowPart | None, shard_id: str, stream_arn: str) -> bytes:
    """Return the event of an invocation."""
    body = b'{"Records":[' + b",".join(record.body for record in records) + b"]"
    if window is not None:
        fields = {
            "window": {"start": iso_time(window.span.start_ms), "end": iso_time(window.span.end_ms)},
            "state": msgspec.Raw(window.state),
            "shardId": shard_id,
            "eventSourceARN": stream_arn,
            "isFinalInvokeForWindow": window.is_final,
            "isWindowTerminatedEarly": window.is_early,
        }
        body += b"," + msgspec.json.encode(fields)[1:-1]
    return body + b"}"


def span_of(created_ms: int, width_s: int) -> Span:
    """Return the tumbling window that a time is in; windows are counted from the epoch."""
    start_ms = created_ms - created_ms % (width_s * 1000)
    return Span(start_ms, start_ms + width_s * 1000)


def iso_time(time_ms: int) -> str:
    """Write a time as AWS does in windows and positions: whole seconds, UTC."""
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
