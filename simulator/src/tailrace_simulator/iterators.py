"""Shard iterators: a position in a shard that is good for 15 minutes, as text that clients do not look into.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetShardIterator.html
"""

from __future__ import annotations

import zlib
from base64 import b64encode
from binascii import Error, a2b_base64

import msgspec

from tailrace_simulator.aws_error import AwsError, invalid


class ShardIterator(msgspec.Struct, frozen=True, array_like=True):
    """Where a reader stands: after the sequence number `after` (text: 40 digits do not fit in a JSON number)."""

    stream_arn: str
    shard_id: str
    after: str
    issued_ms: int
    reader: int
    """Number of the GetShardIterator call that this one stems from."""
    uses: int
    """How many GetRecords calls lie between the two."""


def encode(iterator: ShardIterator) -> str:
    """Return an iterator as text, with the stream's ARN before it as AWS has it."""
    inside = msgspec.json.encode(iterator)
    sealed = inside + zlib.crc32(inside).to_bytes(4, "big")
    return f"{iterator.stream_arn}|1|{b64encode(sealed).decode()}"


def decode(text: str) -> ShardIterator:
    """Take an iterator's text apart. Raises `AwsError` when it is damaged."""
    try:
        sealed = a2b_base64(text.rpartition("|")[2].encode("ascii"), strict_mode=True)
        inside, seal = sealed[:-4], sealed[-4:]
        if zlib.crc32(inside).to_bytes(4, "big") == seal:
            return msgspec.json.decode(inside, type=ShardIterator)
    except (Error, UnicodeEncodeError, msgspec.DecodeError):
        pass
    raise invalid("Invalid ShardIterator: the iterator is not one that this service gave out")


def expired() -> AwsError:
    """Return the error for an iterator that is too old."""
    return AwsError("ExpiredIteratorException", "Iterator expired. The iterator was created more than 15 minutes ago.")
