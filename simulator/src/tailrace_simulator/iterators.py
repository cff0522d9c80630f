"""Shard iterators: a position in a shard that is good for 15 minutes, as text that clients do not look into.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetShardIterator.html
"""

from __future__ import annotations

import msgspec

from tailrace_simulator.aws_error import AwsError, invalid
from tailrace_simulator.sealed import seal, unseal


class ShardIterator(msgspec.Struct, frozen=True, array_like=True):
    """Where a reader stands: after the sequence number `after` (text: 40 digits do not fit in a JSON number)."""

    stream_arn: str
    shard_id: str
    after: str
    issued_ms: int
    reader: int
    """Number of the GetShardIterator call that this one stems from."""
    uses: int
    """How many GetRecords calls lie between the two."""


def encode(iterator: ShardIterator) -> str:
    """Return an iterator as text, with the stream's ARN before it as AWS has it."""
    return f"{iterator.stream_arn}|1|{seal(iterator)}"


def decode(text: str) -> ShardIterator:
    """Take an iterator's text apart. Raises `AwsError` when it is damaged."""
    iterator = unseal(text.rpartition("|")[2], ShardIterator)
    if iterator is None:
        raise invalid("Invalid ShardIterator: the iterator is not one that this service gave out")
    return iterator


def expired() -> AwsError:
    """Return the error for an iterator that is too old."""
    return AwsError("ExpiredIteratorException", "Iterator expired. The iterator was created more than 15 minutes ago.")
