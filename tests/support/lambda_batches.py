"""Batches as AWS Lambda brings them, and the answers to them."""

from __future__ import annotations

from typing import Any

from support.checkpoints import stream

SHARD = "shardId-00000001700000000000-1a2b3c4d"
FIRST = 10**22
"""The sequence number before the first."""


def record(number: int, *, arn: str = stream()) -> dict[str, Any]:
    """Change number `number` of one item."""
    return {
        "eventID": f"{number:032x}",
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_700_000_000 + number,
            "Keys": {"id": {"S": "a"}},
            "NewImage": {"id": {"S": "a"}, "n": {"N": str(number)}},
            "SequenceNumber": str(FIRST + number),
            "SizeBytes": 20,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventSourceARN": arn,
    }


def event(*numbers: int, shard: str | None = SHARD) -> dict[str, Any]:
    """A batch of one shard, in a tumbling window when it names the shard."""
    records = [record(number) for number in numbers]
    if shard is None:
        return {"Records": records}
    window = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:15:00Z"}
    return {
        "Records": records,
        "shardId": shard,
        "eventSourceARN": stream(),
        "window": window,
        "state": {},
        "isFinalInvokeForWindow": False,
        "isWindowTerminatedEarly": False,
    }


def whole(failed_at: int | None = None) -> dict[str, Any]:
    """The answer to a batch in a window."""
    failures = [] if failed_at is None else [{"itemIdentifier": str(FIRST + failed_at)}]
    return {"batchItemFailures": failures, "state": {}}
