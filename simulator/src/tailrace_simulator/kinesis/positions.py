"""Positions in a shard: where reading begins, and iterators, which are good for 5 minutes. Pure.

Source: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html
"""

from __future__ import annotations

import msgspec

from tailrace_simulator.aws_error import AwsError
from tailrace_simulator.kinesis.account import invalid_argument
from tailrace_simulator.kinesis.shards import Shard
from tailrace_simulator.sealed import unseal


class ShardIterator(msgspec.Struct, frozen=True, array_like=True):
    """Where a reader stands: after the sequence number `after`, in text."""

    stream: str
    created_ms: int
    """When the stream was created: another one of the same name is another stream."""
    shard_id: str
    after: str
    issued_ms: int


def decode(text: str) -> ShardIterator:
    """Take an iterator's text apart. Raises `AwsError` when it is damaged."""
    iterator = unseal(text, ShardIterator)
    if iterator is None:
        raise invalid_argument("Invalid ShardIterator.")
    return iterator


def expired(iterator: ShardIterator, now_ms: int, life_s: float) -> AwsError:
    """Return the error for an iterator that is too old."""
    return AwsError(
        "ExpiredIteratorException",
        f"Iterator expired. The iterator was created at time {iterator.issued_ms} while right now it is {now_ms} which "
        f"is further in the future than the tolerated delay of {life_s * 1000:.0f} milliseconds.",
    )


def position(shard: Shard, kind: str, sequence: str | None, at_s: float | None, now_ms: int) -> int:
    """Return the sequence number after which reading starts. Raises `AwsError`."""
    wants_sequence = kind in {"AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"}
    if wants_sequence is (sequence is None) or (kind == "AT_TIMESTAMP") is (at_s is None):
        raise invalid_argument(
            "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) "
            "TRIM_HORIZON or LATEST and no StartingSequenceNumber or (3) AT_TIMESTAMP and a timestamp. "
            f"Request specified {kind}."
        )
    if kind == "LATEST":
        return shard.newest
    if sequence is not None:
        number = int(sequence)
        if number < shard.starting or (shard.ending is not None and number > shard.ending):
            raise invalid_argument(
                f"StartingSequenceNumber {sequence} used in GetShardIterator on shard {shard.shard_id} is invalid "
                "because it did not come from this stream."
            )
        return number if kind == "AFTER_SEQUENCE_NUMBER" else number - 1
    if at_s is not None:
        if at_s * 1000 > now_ms:
            raise invalid_argument(
                "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis"
            )
        return shard.before_time(at_s * 1000)
    return max(shard.starting, shard.trimmed_through)
