"""The change records that DynamoDB puts into a Kinesis stream. Pure.

Unlike the records of DynamoDB Streams they have no sequence number, and the precision of their creation time can be
chosen. Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/kds_using-shards-and-metrics.html
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal, NamedTuple

import msgspec

from tailrace_simulator.attribute_values import Item, item_size

Precision = Literal["MILLISECOND", "MICROSECOND"]
_EXPIRED_BY = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}


class Change(NamedTuple):
    """One change of an item."""

    table: str
    keys: Item
    before: Item | None
    after: Item | None
    expired: bool
    """Whether Time to Live deleted the item."""


def change_record(change: Change, *, created_us: int, event_id: str, region: str, precision: Precision | None) -> bytes:
    """Return a change as the bytes of its record. A destination that asked for no precision has milliseconds."""
    created = created_us if precision == "MICROSECOND" else created_us // 1000
    images = {"NewImage": change.after, "OldImage": change.before}
    shown = {name: image for name, image in images.items() if image is not None}
    content: dict[str, Any] = {"ApproximateCreationDateTime": created, "Keys": change.keys, **shown}
    content["SizeBytes"] = sum(map(item_size, [change.keys, *shown.values()]))
    if precision is not None:
        content["ApproximateCreationDateTimePrecision"] = precision
    record = {
        "awsRegion": region,
        "eventID": event_id,
        "eventName": "INSERT" if change.before is None else "REMOVE" if change.after is None else "MODIFY",
        "userIdentity": _EXPIRED_BY if change.expired else None,
        "recordFormat": "application/json",
        "tableName": change.table,
        "dynamodb": content,
        "eventSource": "aws:dynamodb",
    }
    return msgspec.json.encode(record)


def partition_key(change: Change) -> str:
    """Return the partition key of an item's records: the same for all of them."""
    keys = msgspec.json.encode(change.keys, order="deterministic")
    return hashlib.md5(change.table.encode() + keys, usedforsecurity=False).hexdigest().upper()
