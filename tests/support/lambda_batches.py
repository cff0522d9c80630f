"""Batches as AWS Lambda brings them, and the answers to them."""

from __future__ import annotations

from typing import Any

from support.checkpoints import stream
from support.stream_records import stream_record

SHARD = "shardId-00000001700000000000-1a2b3c4d"
FIRST = 10**22
"""The sequence number before the first."""
FIRST_S = 1_700_000_000


def record(number: int) -> dict[str, Any]:
    """Change number `number` of one item."""
    keys = {"id": {"S": "a"}}
    return of_stream(
        stream_record(
            number,
            sequence=str(FIRST + number),
            created_s=FIRST_S + number,
            keys=keys,
            image={**keys, "n": {"N": str(number)}},
        ),
        stream(),
    )


def of_stream(record: dict[str, Any], arn: str) -> dict[str, Any]:
    """The record as Lambda's events hold it."""
    return record | {"eventSourceARN": arn}


def event(*numbers: int, shard: str | None = SHARD) -> dict[str, Any]:
    """A batch of one shard, in a tumbling window when it names the shard."""
    records = [record(number) for number in numbers]
    return {"Records": records} if shard is None else windowed(records, stream(), shard)


def windowed(records: list[dict[str, Any]], arn: str, shard: str = SHARD) -> dict[str, Any]:
    """A batch of records in a tumbling window."""
    window = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:15:00Z"}
    return {
        "Records": records,
        "shardId": shard,
        "eventSourceARN": arn,
        "window": window,
        "state": {},
        "isFinalInvokeForWindow": False,
        "isWindowTerminatedEarly": False,
    }


def whole(failed_at: int | None = None) -> dict[str, Any]:
    """The answer to a batch in a window."""
    failures = [] if failed_at is None else [{"itemIdentifier": str(FIRST + failed_at)}]
    return {"batchItemFailures": failures, "state": {}}
