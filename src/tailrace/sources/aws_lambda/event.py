"""The event that an event source mapping of AWS Lambda sends: one batch of one shard. That of DynamoDB Streams in full.

Source: https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html and services-ddb-windows.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from tailrace.core.ports import ReadError
from tailrace.core.shard import ShardRef
from tailrace.errors import WorldError
from tailrace.sources.dynamodb import stream_arn

_encode = msgspec.json.Encoder().encode


class Batch(msgspec.Struct, frozen=True):
    """One event. `body` is the JSON of its records, in the shape of an answer of GetRecords."""

    shard: ShardRef
    table: str
    """Of a stream of Kinesis its name."""
    region: str
    body: bytes
    has_window: bool
    """It belongs to a tumbling window. Then the event names its shard, and the shard's batches come one at a time:
    Lambda allows a mapping no other."""

    @property
    def is_exact(self) -> bool:
        """What is published of the shard can be known."""
        return self.has_window and bool(self.shard.shard_id)


class EventKind(NamedTuple):
    """What sends events."""

    source: str
    """`eventSource` of its records."""
    name: str
    mapped: str
    """What an event source mapping reads."""


_DYNAMODB: Final = EventKind("aws:dynamodb", "DynamoDB Streams", "a DynamoDB stream")


def read_event(event: object) -> Batch | None:
    """Read an event as the runtime hands it to the handler; None when it holds no records (a window's last call).

    Raises `WorldError` for an event that DynamoDB Streams did not send.
    """
    records, arn = records_of(event, _DYNAMODB)
    if not records:
        return None
    try:
        table, region = stream_arn.parse(arn)
    except ReadError as error:
        raise not_ours(error.message, _DYNAMODB) from error
    return Batch(
        shard=ShardRef(arn, shard_id_of(event) or ""),
        table=table,
        region=region,
        body=_json({"Records": records}),
        has_window=has_window(event),
    )


def records_of(event: object, kind: EventKind) -> tuple[list[Any], str]:
    """Return an event's records, and the ARN of the stream that all of them name; `""` if there are none.

    Raises `WorldError` for an event of another kind.
    """
    if not isinstance(event, Mapping) or not isinstance(event.get("Records", []), list):
        raise not_ours(f"it is {'an object without Records' if isinstance(event, Mapping) else 'not an object'}", kind)
    records: list[Any] = event.get("Records", [])
    if not records:
        return [], ""
    sources = {_text(record, "eventSource") for record in records}
    if sources != {kind.source}:
        raise not_ours(f"its records come from {', '.join(sorted(sources))}", kind)
    arns = {_text(record, "eventSourceARN") for record in records}
    if len(arns) != 1:
        raise not_ours(f"its records name {len(arns)} streams, and a batch comes from one", kind)
    return records, arns.pop()


def has_window(event: object) -> bool:
    """Return whether the event belongs to a tumbling window: its answer must then carry `state`."""
    return isinstance(event, Mapping) and "window" in event


def shard_id_of(event: object) -> str | None:
    """Return the shard that the event itself names, which it does in a tumbling window."""
    shard_id = event.get("shardId") if isinstance(event, Mapping) else None
    return shard_id if isinstance(shard_id, str) else None


def not_ours(why: str, kind: EventKind) -> WorldError:
    """Return the error for an event that is not of this kind."""
    return WorldError(
        f"the event is not one of {kind.name}: {why}",
        hint=f"let an event source mapping of {kind.mapped} invoke this function, and nothing else",
    )


def _text(record: object, name: str) -> str:
    value = record.get(name) if isinstance(record, Mapping) else None
    return value if isinstance(value, str) else f"records without {name}"


def _json(value: object) -> bytes:
    try:
        return _encode(value)
    except UnicodeEncodeError:  # half a surrogate pair: only the liberal encoder writes it, and one record suffers
        return json.dumps(value).encode()
