"""What AWS Lambda tells an on-failure destination of a batch that it discarded: where its records are.

Source: https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
and https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tailrace.core.ports import ReadError
from tailrace.core.shard import SequenceNumber, ShardRef
from tailrace.errors import FileError, excerpt
from tailrace.sources.dynamodb.stream_arn import parse
from tailrace.sources.kinesis import stream_ref


class DiscardedBatch(msgspec.Struct, frozen=True):
    """One batch that Lambda gave up. S3 objects hold the invocation's event as well, `payload`."""

    shard: ShardRef
    """Its stream is the plain ARN."""
    noun: Literal["table", "stream"]
    table: str
    """Of a stream of Kinesis its name."""
    first: str
    """Sequence number of the first record."""
    last: str
    created_ms: int
    """When the first record was created, or arrived in Kinesis."""
    count: int
    """How many records the batch had."""
    payload: bytes | None

    @property
    def place(self) -> str:
        """What the batch is of, in words."""
        return f"{self.noun} {self.table}"


class _Info(msgspec.Struct):
    shard_id: str = msgspec.field(name="shardId")
    first: SequenceNumber = msgspec.field(name="startSequenceNumber")
    last: SequenceNumber = msgspec.field(name="endSequenceNumber")
    created: Annotated[datetime, Meta(tz=True)] = msgspec.field(name="approximateArrivalOfFirstRecord")
    count: Annotated[int, Meta(ge=1)] = msgspec.field(name="batchSize")
    stream_arn: str = msgspec.field(name="streamArn")

    def __post_init__(self) -> None:
        if int(self.first) > int(self.last):
            raise ValueError(f"its range is from {self.first} back to {self.last}")


class _Message(msgspec.Struct):
    of_dynamodb: _Info | None = msgspec.field(name="DDBStreamBatchInfo", default=None)
    of_kinesis: _Info | None = msgspec.field(name="KinesisBatchInfo", default=None)
    payload: str | None = None


def read_message(content: bytes | str, name: str) -> DiscardedBatch:
    """Read one message; `name` says for people where it was. Raises FileError for what is none."""
    try:
        message = msgspec.json.decode(content, type=_Message)
        info = message.of_dynamodb or message.of_kinesis
        if info is None:
            raise ValueError("it has neither DDBStreamBatchInfo nor KinesisBatchInfo")  # noqa: TRY301 - one way out
        noun: Literal["table", "stream"] = "table" if message.of_dynamodb else "stream"
        table = parse(info.stream_arn).table if message.of_dynamodb else _stream_name(info.stream_arn)
    except (ValueError, RecursionError, ReadError) as error:
        raise FileError(
            f"is no on-failure message of a stream: {excerpt(str(error))}",
            file=name,
            hint="Lambda writes them for an event source mapping with a destination",
        ) from None
    return DiscardedBatch(
        shard=ShardRef(info.stream_arn, info.shard_id),
        noun=noun,
        table=table,
        first=info.first,
        last=info.last,
        created_ms=round(info.created.timestamp() * 1000),
        count=info.count,
        payload=message.payload.encode() if message.payload is not None else None,
    )


def _stream_name(arn: str) -> str:
    ref = stream_ref.of(arn, 0)
    if ref is None:
        raise ValueError(f"{excerpt(arn)!r} is not the ARN of a stream of Kinesis")
    return ref.name
