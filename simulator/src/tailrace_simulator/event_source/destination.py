"""What the on-failure destination gets for a batch that is discarded: where its records are, not what they say.

Source: https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from tailrace_simulator.event_source.records import Record, iso_time

Condition = Literal["RetryAttemptsExhausted", "RecordAgeExceeded"]


class Discarded(msgspec.Struct, frozen=True):
    """A batch that is given up, and how it came to that."""

    records: Sequence[Record]
    condition: Condition
    invocations: int
    """How often it was sent; 0: never, and nothing answered."""
    has_errored: bool
    """Its last invocation raised, ended or ran out of time; otherwise it reported failures."""
    request_id: str
    event: bytes


def failure_message(discarded: Discarded, shard_id: str, stream_arn: str, function_arn: str, now_ms: int) -> bytes:
    """Return the message for SQS and SNS, JSON."""
    return msgspec.json.encode(_message(discarded, shard_id, stream_arn, function_arn, now_ms))


def failure_object(discarded: Discarded, shard_id: str, stream_arn: str, function_arn: str, now_ms: int) -> bytes:
    """Return the object for S3, JSON: the same, and the whole event as a string, `payload`."""
    message = _message(discarded, shard_id, stream_arn, function_arn, now_ms)
    return msgspec.json.encode(message | {"payload": discarded.event.decode()})


def failure_object_key(mapping_id: UUID, shard_id: str, now_ms: int, unique: UUID) -> str:
    """Return the name of the object for S3."""
    time = datetime.fromtimestamp(now_ms / 1000, UTC)
    return f"aws/lambda/{mapping_id}/{shard_id}/{time:%Y/%m/%d/%Y-%m-%dT%H.%M.%S}-{unique}"


def _message(discarded: Discarded, shard_id: str, stream_arn: str, function_arn: str, now_ms: int) -> dict[str, Any]:
    first, last = discarded.records[0], discarded.records[-1]
    message: dict[str, Any] = {
        "requestContext": {
            "requestId": discarded.request_id,
            "functionArn": function_arn,
            "condition": discarded.condition,
            "approximateInvokeCount": discarded.invocations,
        }
    }
    if discarded.invocations:
        message["responseContext"] = {"statusCode": 200, "executedVersion": "$LATEST"}
        if discarded.has_errored:
            message["responseContext"]["functionError"] = "Unhandled"
    time = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return message | {
        "version": "1.0",
        "timestamp": time.replace("+00:00", "Z"),
        "KinesisBatchInfo" if stream_arn.split(":")[2] == "kinesis" else "DDBStreamBatchInfo": {
            "shardId": shard_id,
            "startSequenceNumber": first.sequence,
            "endSequenceNumber": last.sequence,
            "approximateArrivalOfFirstRecord": iso_time(first.created_ms),
            "approximateArrivalOfLastRecord": iso_time(last.created_ms),
            "batchSize": len(discarded.records),
            "streamArn": stream_arn,
        },
    }
