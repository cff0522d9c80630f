"""Records of Kinesis: answers of GetRecords, what DynamoDB writes to a stream, aggregates of the producer library."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

from tailrace.core.shard import ShardRef

ARN: Final = "arn:aws:kinesis:eu-west-1:123456789012:stream/shop-cdc"
SHARD: Final = ShardRef(f"{ARN}/1714557600000", "shardId-000000000000")
ARRIVED_MS: Final = 1_714_557_601_234
SEQUENCE: Final = 49_650_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000


def entry(data: bytes, number: int = 0, *, key: str = "pk", arrived_ms: int = ARRIVED_MS) -> dict[str, Any]:
    """Return a record as GetRecords gives it; `number` makes its sequence number."""
    return {
        "SequenceNumber": str(SEQUENCE + number),
        "ApproximateArrivalTimestamp": arrived_ms / 1000,
        "Data": base64.b64encode(data).decode(),
        "PartitionKey": key,
    }


def answer(*entries: dict[str, Any], next_iterator: str | None = "next", behind_ms: int = 0) -> bytes:
    """Return the body of an answer of GetRecords."""
    body = {"Records": entries, "MillisBehindLatest": behind_ms}
    if next_iterator is not None:
        body["NextShardIterator"] = next_iterator
    return json.dumps(body).encode()


def change_of_stream(record: dict[str, Any], table: str = "orders") -> dict[str, Any]:
    """Return what DynamoDB writes to Kinesis of the change that a record of DynamoDB Streams holds."""
    body = record["dynamodb"]
    created_ms = round(body.get("ApproximateCreationDateTime", 0) * 1000)
    identity = record.get("userIdentity")
    return {
        "awsRegion": "eu-west-1",
        "eventID": "b015b5f0-c095-4b50-8ad0-4279aa3d88c6",
        "eventName": record["eventName"],
        "userIdentity": identity and {name[0].lower() + name[1:]: value for name, value in identity.items()},
        "recordFormat": "application/json",
        "tableName": table,
        "dynamodb": {
            "ApproximateCreationDateTime": created_ms,
            **{name: body[name] for name in ("Keys", "NewImage", "OldImage") if name in body},
            "SizeBytes": 99,
        },
        "eventSource": "aws:dynamodb",
    }


def change(**fields: Any) -> dict[str, Any]:
    """Return a change record of an update; fields of its `dynamodb` may be given, None leaves one out."""
    body = {
        "ApproximateCreationDateTime": 1_714_557_600_123_456,
        "Keys": {"id": {"S": "a"}, "sort": {"N": "1"}},
        "NewImage": {"id": {"S": "a"}, "sort": {"N": "1"}, "state": {"S": "paid"}},
        "OldImage": {"id": {"S": "a"}, "sort": {"N": "1"}, "state": {"S": "new"}},
        "SizeBytes": 60,
        "ApproximateCreationDateTimePrecision": "MICROSECOND",
    }
    body = {name: value for name, value in (body | fields).items() if value is not None}
    return change_of_stream({"eventName": "MODIFY", "dynamodb": {}}) | {"dynamodb": body}


def text(value: object) -> bytes:
    """Return compact JSON, as DynamoDB writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def aggregate(records: Sequence[tuple[str, str | None, bytes]], *, tags: bool = False) -> bytes:
    """Return an aggregate of records with a partition key, an explicit hash key if any, and data each."""
    partition_keys = list(dict.fromkeys(key for key, _, _ in records))
    hash_keys = list(dict.fromkeys(hash_key for _, hash_key, _ in records if hash_key is not None))
    message = b"".join(_field(1, key.encode()) for key in partition_keys)
    message += b"".join(_field(2, hash_key.encode()) for hash_key in hash_keys)
    for key, hash_key, data in records:
        record = b"\x08" + _varint(partition_keys.index(key))
        if hash_key is not None:
            record += b"\x10" + _varint(hash_keys.index(hash_key))
        record += _field(3, data)
        if tags:
            record += _field(4, _field(1, b"tag") + _field(2, b"value"))
        message += _field(3, record)
    return sealed(message)


def sealed(message: bytes) -> bytes:
    """Return a message with what makes it an aggregate: the magic bytes and its checksum."""
    return b"\xf3\x89\x9a\xc2" + message + hashlib.md5(message, usedforsecurity=False).digest()


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
