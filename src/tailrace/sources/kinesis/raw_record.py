"""A record of a stream that DynamoDB did not write, as it is: its partition key is the key, its bytes are the value.

The headers carry the fields that Confluent's Kinesis source connector knows of a record, under its names for them; as
Kafka Connect writes headers, a time is text in ISO 8601.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from tailrace.core.change import Headers, Message
from tailrace.core.shard import ShardRef


def raw_message(
    data: bytes,
    *,
    partition_key: str,
    sequence: str,
    arrived_ms: int,
    shard: ShardRef,
    stream: str,
    sub_sequence: int | None = None,
    hash_key: str | None = None,
) -> Message:
    """Make Kafka's record. One of an aggregate also has its place in it, from 0 on, and any explicit hash key."""
    headers: Headers = [
        ("sequenceNumber", sequence.encode()),
        ("approximateArrivalTimestamp", _iso8601(arrived_ms)),
        ("partitionKey", partition_key.encode()),
        ("shardId", shard.shard_id.encode()),
        ("streamName", stream.encode()),
    ]
    if sub_sequence is not None:
        headers.append(("subSequenceNumber", b"%d" % sub_sequence))
    if hash_key is not None:
        headers.append(("explicitHashKey", hash_key.encode()))
    return Message(partition_key.encode(), data, headers)


@lru_cache(maxsize=16)  # most records of a page arrived in a few milliseconds
def _iso8601(milliseconds: int) -> bytes:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03}Z".encode()
