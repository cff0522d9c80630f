"""Shards, their lineage, positions in them, and the lane that a shard belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from tailrace.core.handover import Handover

ENUMERATOR_LANE = 0
"""The owner of this lane lists tables and shards for the whole pipeline."""

PositionKind = Literal["TRIM_HORIZON", "LATEST", "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"]


SEQUENCE_DIGITS_MAX: Final = 129
"""The maximum digits of a sequence number: what the Kinesis API allows, the largest of all sources."""
_SEQUENCE: Final = re.compile(rf"[0-9]{{1,{SEQUENCE_DIGITS_MAX}}}")
SequenceNumber = Annotated[str, Meta(pattern=rf"\A{_SEQUENCE.pattern}\Z")]
"""A position in a shard of any source, to be compared as an integer (`is_after`)."""


class ShardRef(NamedTuple):
    """A shard's full name. Shard ids alone are unique only within a stream."""

    stream: str
    shard_id: str


class Tail(NamedTuple):
    """The last part of a shard, which is published: it is read again to know what it held."""

    shard: ShardRef
    first: str | None
    """The sequence number with which it begins; None: it is the whole shard."""
    since_ms: int | None = None
    """Without `first`: it begins with what arrived then, milliseconds since the epoch."""


class Position(msgspec.Struct, frozen=True):
    """Where to start reading a shard, in AWS's words for it, and, at or after a sequence number, the number.

    `since_ms` skips changes created before it, whether the source seeks or drops them: this keeps `start: latest`
    correct after a restart without a sequence number to resume from.
    """

    kind: PositionKind
    sequence: str | None = None
    since_ms: int | None = None
    tails: tuple[Tail, ...] = ()
    """What to read again first without publishing it, for a source that repeats changes: the tails of the shard's
    ancestors, each to its end, and the shard's own, up to `sequence`."""
    handover: Handover | None = None
    """What the source before has published of what is read: it is left out."""


class ListedShard(msgspec.Struct, frozen=True):
    """A shard as a listing shows it. `closed` when nothing more is written to it."""

    shard_id: str
    parent_ids: tuple[str, ...] = ()
    closed: bool = False


def is_sequence_number(text: str) -> bool:
    """Return whether a text is a position in a shard of any source."""
    return _SEQUENCE.fullmatch(text) is not None


def is_after(sequence: str, other: str | None) -> bool:
    """Return whether `sequence` is after `other` in a shard: as integers, since they grow in digits."""
    return other is None or int(sequence) > int(other)


def misplaced(sequences: Iterable[str]) -> tuple[str, str] | None:
    """Return the first sequence number that is before its predecessor, and that; None when they are in order."""
    previous = ""
    for sequence in sequences:
        # Numbers of as many digits compare as texts do, which is all that it takes for nearly every record.
        is_plain = len(sequence) == len(previous) and sequence >= previous
        if not is_plain and previous and int(sequence) < int(previous):
            return sequence, previous
        previous = sequence
    return None


def lane_of(home: tuple[str, ...], lane_count: int) -> int:
    """Return the lane of a shard, or of whatever else `home` names: the same in every worker and version, spread
    evenly.

    The hash is murmur2 of the whole name, joined by `/`, as Kafka's default partitioner computes it for a key, so that
    any Kafka client can repeat it.
    """
    return (_murmur2("/".join(home).encode()) & 0x7FFFFFFF) % lane_count


def _murmur2(data: bytes) -> int:
    """Compute Kafka's 32-bit murmur2 (org.apache.kafka.common.utils.Utils#murmur2)."""
    mask, multiplier = 0xFFFFFFFF, 0x5BD1E995
    length = len(data)
    value = (0x9747B28C ^ length) & mask
    tail = length & ~3
    for offset in range(0, tail, 4):
        word = int.from_bytes(data[offset : offset + 4], "little") * multiplier & mask
        word = (word ^ (word >> 24)) * multiplier & mask
        value = (value * multiplier & mask) ^ word
    if length > tail:
        value = (value ^ int.from_bytes(data[tail:], "little")) * multiplier & mask
    value = (value ^ (value >> 13)) * multiplier & mask
    return value ^ (value >> 15)
