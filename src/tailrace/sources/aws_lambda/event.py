"""The event that AWS Lambda's event source mapping sends for DynamoDB Streams: one batch of one shard.

Source: https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html and services-ddb-windows.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from tailrace.core.ports import ReadError
from tailrace.core.shard import ShardRef
from tailrace.errors import WorldError
from tailrace.sources.dynamodb import stream_arn

_encode = msgspec.json.Encoder().encode


class Batch(msgspec.Struct, frozen=True):
    """One event. `body` is the JSON of its records, in the shape of an answer of GetRecords."""

    shard: ShardRef
    """`shard_id` is empty when the event does not name it: its event source mapping has no tumbling window."""
    table: str
    region: str
    body: bytes
    record_count: int
    has_window: bool

    @property
    def is_exact(self) -> bool:
        """The shard is named, so what is published of it can be known."""
        return bool(self.shard.shard_id)


def read_event(event: object) -> Batch | None:
    """Read an event as the runtime hands it to the handler; None when it holds no records (a window's last call).

    Raises `WorldError` for an event that DynamoDB Streams did not send.
    """
    if not isinstance(event, Mapping) or not isinstance(event.get("Records", []), list):
        raise _not_ours(f"it is {'an object without Records' if isinstance(event, Mapping) else 'not an object'}")
    records: list[Any] = event.get("Records", [])
    if not records:
        return None
    sources = {_text(record, "eventSource") for record in records}
    if sources != {"aws:dynamodb"}:
        raise _not_ours(f"its records come from {', '.join(sorted(sources))}")
    arns = {_text(record, "eventSourceARN") for record in records}
    if len(arns) != 1:
        raise _not_ours(f"its records name {len(arns)} streams, and a batch comes from one")
    arn = arns.pop()
    try:
        table, region = stream_arn.parse(arn)
    except ReadError as error:
        raise _not_ours(error.message) from error
    shard_id = event.get("shardId")
    return Batch(
        shard=ShardRef(arn, shard_id if isinstance(shard_id, str) else ""),
        table=table,
        region=region,
        body=_json({"Records": records}),
        record_count=len(records),
        has_window=has_window(event),
    )


def has_window(event: object) -> bool:
    """Return whether the event belongs to a tumbling window: its answer must then carry `state`."""
    return isinstance(event, Mapping) and "window" in event


def _text(record: object, name: str) -> str:
    value = record.get(name) if isinstance(record, Mapping) else None
    return value if isinstance(value, str) else f"records without {name}"


def _json(value: object) -> bytes:
    try:
        return _encode(value)
    except UnicodeEncodeError:  # half a surrogate pair: only the liberal encoder writes it, and one record suffers
        return json.dumps(value).encode()


def _not_ours(why: str) -> WorldError:
    return WorldError(
        f"the event is not one of DynamoDB Streams: {why}",
        hint="let an event source mapping of a DynamoDB stream invoke this function, and nothing else",
    )
