"""Takes apart the aggregates of the Kinesis Producer Library: many records of its users in one record of Kinesis.

Source: https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import md5
from typing import Final, NamedTuple

MAGIC: Final = b"\xf3\x89\x9a\xc2"
_CHECKSUM_BYTES: Final = 16
RECORDS_MAX: Final = 65_536
"""More than an aggregate can have use for; each costs memory, however small."""
_VARINT_BITS: Final = 64
_HASH_KEY: Final = re.compile(r"[0-9]{1,39}")


class UserRecord(NamedTuple):
    """One record of an aggregate."""

    data: bytes
    partition_key: str
    hash_key: str | None
    """The explicit hash key, decimal digits, which the producer may have given."""

    @property
    def hashed(self) -> int:
        """The hash key that says which shard it belongs to."""
        if self.hash_key is not None:
            return int(self.hash_key)
        return int.from_bytes(md5(self.partition_key.encode(), usedforsecurity=False).digest(), "big")


def is_aggregate(data: bytes) -> bool:
    """Return whether data begins as an aggregate does."""
    return data.startswith(MAGIC)


def take_apart(data: bytes) -> list[UserRecord]:
    """Return the records of an aggregate in their order, at least one. Raises ValueError for one that is broken."""
    message, checksum = data[len(MAGIC) : -_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if len(data) < len(MAGIC) + _CHECKSUM_BYTES or md5(message, usedforsecurity=False).digest() != checksum:
        raise ValueError("its checksum does not match")
    partition_keys: list[str] = []
    hash_keys: list[str] = []
    records: list[bytes] = []
    for number, value in _fields(message):
        if number in {1, 2}:
            (partition_keys if number == 1 else hash_keys).append(_bytes(value).decode())
        elif number == 3:
            records.append(_bytes(value))
        if len(records) > RECORDS_MAX:
            raise ValueError(f"it has more than {RECORDS_MAX} records")
    if not records:
        raise ValueError("it has no records")
    return [_user_record(record, partition_keys, hash_keys) for record in records]


def _user_record(message: bytes, partition_keys: list[str], hash_keys: list[str]) -> UserRecord:
    fields = dict(_fields(message))
    data, partition_key, hash_key = fields.get(3), fields.get(1), fields.get(2)
    if data is None or partition_key is None:
        raise ValueError("a record of it has no data or no partition key")
    explicit = None if hash_key is None else _of(hash_keys, hash_key)
    if explicit is not None and not _HASH_KEY.fullmatch(explicit):
        raise ValueError("an explicit hash key of it is not a number")
    return UserRecord(_bytes(data), _of(partition_keys, partition_key), explicit)


def _of(table: list[str], index: int | bytes) -> str:
    if isinstance(index, int) and index < len(table):
        return table[index]
    raise ValueError("a record of it names a key that it does not have")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    raise ValueError("a field of it is not of its type")


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and value of each field of a protobuf message; those of fixed size as their bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        match tag & 7:
            case 0:
                value, at = _varint(message, at)
                yield tag >> 3, value
                continue
            case 1:
                size = 8
            case 2:
                size, at = _varint(message, at)
            case 5:
                size = 4
            case _:
                raise ValueError("it is not a message of protobuf")
        if at + size > len(message):
            raise ValueError("it breaks off")
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number at a place, and the place behind it."""
    number = 0
    for shift in range(0, _VARINT_BITS, 7):
        if at >= len(message):
            raise ValueError("it breaks off")
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError("a number of it is too long")
