"""What AWS Lambda tells an on-failure destination of a batch that it discarded: where its records are.

Source: https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from tailrace.core.ports import ReadError
from tailrace.core.shard import ShardRef
from tailrace.errors import FileError, excerpt
from tailrace.sources.dynamodb.stream_arn import parse
from tailrace.sources.dynamodb.stream_record import SEQUENCE_DIGITS_MAX

_Sequence = Annotated[str, Meta(pattern=rf"\A[0-9]{{1,{SEQUENCE_DIGITS_MAX}}}\Z")]


class DiscardedBatch(msgspec.Struct, frozen=True):
    """One batch that Lambda gave up. S3 objects hold the invocation's event as well, `payload`."""

    shard: ShardRef
    table: str
    first: str
    """Sequence number of the first record."""
    last: str
    created_ms: int
    """Creation time of the first record."""
    count: int
    """How many records the batch had."""
    payload: bytes | None


class _Info(msgspec.Struct):
    shard_id: str = msgspec.field(name="shardId")
    first: _Sequence = msgspec.field(name="startSequenceNumber")
    last: _Sequence = msgspec.field(name="endSequenceNumber")
    created: Annotated[datetime, Meta(tz=True)] = msgspec.field(name="approximateArrivalOfFirstRecord")
    count: Annotated[int, Meta(ge=1)] = msgspec.field(name="batchSize")
    stream_arn: str = msgspec.field(name="streamArn")

    def __post_init__(self) -> None:
        if int(self.first) > int(self.last):
            raise ValueError(f"its range is from {self.first} back to {self.last}")


class _Message(msgspec.Struct):
    info: _Info = msgspec.field(name="DDBStreamBatchInfo")
    payload: str | None = None


def read_message(content: bytes | str, name: str) -> DiscardedBatch:
    """Read one message; `name` says for people where it was. Raises FileError for what is none."""
    try:
        message = msgspec.json.decode(content, type=_Message)
        info = message.info
        table = parse(info.stream_arn).table
    except (ValueError, RecursionError, ReadError) as error:
        raise FileError(
            f"is no on-failure message of a DynamoDB stream: {excerpt(str(error))}",
            file=name,
            hint="Lambda writes them for an event source mapping with a destination",
        ) from None
    return DiscardedBatch(
        shard=ShardRef(info.stream_arn, info.shard_id),
        table=table,
        first=info.first,
        last=info.last,
        created_ms=round(info.created.timestamp() * 1000),
        count=info.count,
        payload=message.payload.encode() if message.payload is not None else None,
    )
