"""What DynamoDB writes to a Kinesis data stream: one change of one item, and what shows that another repeats it.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/kds.html
"""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from tailrace.core.change import Change, Op
from tailrace.core.shard import SEQUENCE_DIGITS_MAX, ShardRef
from tailrace.sources.dynamodb.liberal_json import loads
from tailrace.sources.dynamodb.stream_record import CREATED_MS_MAX, OPS, UserIdentity, image

_ABSENT: Final = msgspec.Raw()
_DIGEST_BYTES: Final = 15
"""Python takes 48 bytes for one of 15, and 64 for one of 16: a window holds hundreds of thousands of them."""
_TableName = Annotated[str, Meta(pattern=r"\A[a-zA-Z0-9_.-]{1,255}\Z")]
_MICROSECONDS: Final = {"MILLISECOND": 1000, "MICROSECOND": 1}


class _Body(
    msgspec.Struct,
    gc=False,
    rename={
        "keys": "Keys",
        "before": "OldImage",
        "after": "NewImage",
        "created": "ApproximateCreationDateTime",
        "precision": "ApproximateCreationDateTimePrecision",
    },
):
    keys: dict[str, dict[str, str]]
    before: msgspec.Raw = _ABSENT
    after: msgspec.Raw = _ABSENT
    created: int | None = None
    precision: Literal["MILLISECOND", "MICROSECOND"] | None = None


class _Record(
    msgspec.Struct,
    gc=False,
    rename={
        "source": "eventSource",
        "table": "tableName",
        "event_id": "eventID",
        "event_name": "eventName",
        "identity": "userIdentity",
        "body": "dynamodb",
    },
):
    source: Literal["aws:dynamodb"]
    table: _TableName
    event_id: str
    event_name: Literal["INSERT", "MODIFY", "REMOVE"]
    body: _Body
    identity: UserIdentity | None = None


_decode: Final = msgspec.json.Decoder(_Record).decode
_encode_keys: Final = msgspec.json.Encoder(order="deterministic").encode
_header: Final = struct.Struct("<QcQ").pack


class DecodedChange(NamedTuple):
    """A change, and what tells it from others."""

    change: Change
    created_us: int
    """When it was made, microseconds since the epoch; 0 when DynamoDB does not say."""
    item: bytes
    """A digest of its table and keys, in whatever order DynamoDB lists them."""
    identity: bytes
    """A digest of the item, the time, the operation and the images: a repeat has the same, though another event id."""


def decode_change(data: bytes, sequence: str, shard: ShardRef, region: str) -> DecodedChange:
    """Decode the data of a record of Kinesis, or raise ValueError (RecursionError) saying what is wrong with it."""
    record = _decode(data)
    body = record.body
    if not body.keys:
        raise ValueError("Keys is empty")
    created_us = _microseconds(body)
    op = OPS[record.event_name]
    keys = _encode_keys(body.keys)
    before, after = image(body.before, "OldImage"), image(body.after, "NewImage")
    change = Change(
        op=op,
        table=record.table,
        keys=keys,
        before=before,
        after=after,
        created_ms=created_us // 1000,
        created_rest_us=created_us % 1000,
        event_id=record.event_id,
        sequence=sequence,
        sequence_digits=SEQUENCE_DIGITS_MAX,
        shard_id=shard.shard_id,
        stream_arn=shard.stream,
        region=region,
        view_type="NEW_AND_OLD_IMAGES",
        expired=op == "d" and record.identity is not None and record.identity.is_time_to_live(),
    )
    item = item_digest(record.table, keys)
    return DecodedChange(change, created_us, item, identity_digest(item, created_us, op, before or b"", after or b""))


def item_digest(table: str, keys: bytes) -> bytes:
    """Return the digest of an item; `keys` is compact DynamoDB JSON with its names in order."""
    return _digest(b"%b\0%b" % (table.encode(), keys))


def identity_digest(item: bytes, created_us: int, op: Op, before: bytes, after: bytes) -> bytes:
    """Return the digest of a change; an image that is not there is empty. The native transcoder makes the same."""
    return _digest(b"".join((item, _header(created_us, op.encode(), len(before)), before, after)))


def broken_identity(data: bytes) -> bytes:
    """Return the digest of a change record that cannot be understood: a repeat with the same bytes has the same."""
    return _digest(b"\0" + data)


def _digest(data: bytes) -> bytes:
    return sha256(data, usedforsecurity=False).digest()[:_DIGEST_BYTES]


def table_meant(data: bytes) -> str | None:
    """Return the table of a record that DynamoDB wrote but that cannot be understood; None for any other data."""
    if b'"aws:dynamodb"' not in data:
        return None
    try:
        match loads(data):
            case {"eventSource": "aws:dynamodb", "tableName": str(table), "dynamodb": _}:
                return msgspec.convert(table, _TableName)
    except (ValueError, RecursionError):
        pass
    return None


def _microseconds(body: _Body) -> int:
    if body.created is None:
        return 0
    created_us = body.created * _MICROSECONDS[body.precision or "MILLISECOND"]
    if 0 <= created_us // 1000 <= CREATED_MS_MAX:
        return created_us
    raise ValueError("ApproximateCreationDateTime is not a time since the epoch")
