"""Shards as a listing of their stream shows them, and where in one to read."""

from __future__ import annotations

from typing import Literal

import msgspec

PositionKind = Literal["TRIM_HORIZON", "LATEST", "AFTER_SEQUENCE_NUMBER"]


class Position(msgspec.Struct, frozen=True):
    """AWS's ShardIteratorType and, after a sequence number, the number."""

    kind: PositionKind
    sequence: str | None = None


class ListedShard(msgspec.Struct, frozen=True):
    """A shard of DescribeStream; `closed` when it has an EndingSequenceNumber."""

    shard_id: str
    parent_ids: tuple[str, ...] = ()
    closed: bool = False
