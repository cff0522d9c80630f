"""Shard iterators: where reading a shard begins.

Source: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html
"""

from __future__ import annotations

from typing import Any

import msgspec

from tailrace.aws.ask import Call, ask_once
from tailrace.aws.errors import Subject
from tailrace.aws.http import AwsClient
from tailrace.core.ports import ReadError, ReadFailure
from tailrace.core.shard import Position, ShardRef
from tailrace.sources.kinesis.description import Descriptions
from tailrace.sources.kinesis.stream_ref import parse


class _Answer(msgspec.Struct, rename="pascal"):
    shard_iterator: str


class ShardIterators:
    """Gets iterators. Safe to call from many threads at once."""

    def __init__(self, client: AwsClient, descriptions: Descriptions) -> None:
        self._client = client
        self._descriptions = descriptions

    def at(self, shard: ShardRef, position: Position) -> str:
        """Return an iterator at a position, also *at* its sequence number when that is to be read on after.

        Raises `ReadError`, GONE when the stream was deleted, or created again. A denial may be passing: Kinesis does
        not deny a position that was trimmed.
        """
        where: dict[str, Any]
        if position.sequence is not None:
            where = {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": position.sequence}
        elif position.since_ms is not None:
            where = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": position.since_ms / 1000}
        else:
            where = {"ShardIteratorType": position.kind}
        return self._ask(shard, where)

    def exists(self, shard: ShardRef) -> bool:
        """Return whether the shard can be read, by asking for an iterator at its start."""
        try:
            self._ask(shard, {"ShardIteratorType": "TRIM_HORIZON"})
        except ReadError as error:
            if error.failure is ReadFailure.GONE:
                return False
            raise
        return True

    def _ask(self, shard: ShardRef, where: dict[str, Any]) -> str:
        stream = parse(shard.stream)
        self._descriptions.check(stream)
        request = {"StreamARN": stream.arn, "ShardId": shard.shard_id} | where
        return ask_once(Call(self._client, "GetShardIterator", subject_of(shard)), request, _Answer).shard_iterator


def subject_of(shard: ShardRef) -> Subject:
    """Return what calls about a shard name in their errors."""
    stream = parse(shard.stream)
    return Subject(f"shard {shard.shard_id} of stream {stream.name}", stream.arn)


def trimmed(shard: ShardRef, sequence: str) -> ReadError:
    """Return the error of a position that the stream does not have any more."""
    return ReadError(
        f"{subject_of(shard).words} does not have the record {sequence} any more, nor perhaps some after it",
        ReadFailure.TRIMMED,
        hint="it is older than the retention period of the stream, which can be raised",
    )
