"""Answers of Kinesis about one stream, and what is asked of them."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from support.fake_aws import Answer, ok
from tailrace.core.ports import LogPage, ReadError
from tailrace.core.shard import ShardRef

ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/shop-cdc"
CREATED_MS = 1_767_000_000_500
STREAM = f"{ARN}/{CREATED_MS}"
SHARD = ShardRef(STREAM, "shardId-000000000001")
NOW_MS = 1_767_900_000_000


def summary(*, created_ms: int = CREATED_MS, status: str = "ACTIVE", hours: int = 24, arn: str = ARN) -> Answer:
    described = {
        "StreamName": arn.rpartition("/")[2],
        "StreamARN": arn,
        "StreamStatus": status,
        "RetentionPeriodHours": hours,
        "StreamCreationTimestamp": created_ms / 1000,
    }
    return ok(StreamDescriptionSummary=described)


def page(*sequences: int, behind_ms: int = 0, arrived_ms: int = NOW_MS, following: str | None = "next") -> Answer:
    records = [
        {
            "SequenceNumber": str(sequence),
            "ApproximateArrivalTimestamp": arrived_ms / 1000,
            "Data": base64.b64encode(b"value").decode(),
            "PartitionKey": "key",
        }
        for sequence in sequences
    ]
    more = {"NextShardIterator": following} if following else {}
    return ok(Records=records, MillisBehindLatest=behind_ms, **more)


def sequences(found: LogPage) -> list[int]:
    return [int(each.record.origin.sequence) for each in found.records]


def failed(action: Callable[[], object]) -> ReadError:
    with pytest.raises(ReadError) as caught:
        action()
    return caught.value
