"""What a lane says of itself: for health checks, metrics and the demo."""

from __future__ import annotations

import msgspec

from tailrace.core.lane import Lane
from tailrace.core.shard import ShardRef


class ShardReport(msgspec.Struct, frozen=True):
    """One shard of a taken lane."""

    shard: ShardRef
    table: str
    phase: str
    sequence: str | None
    """Last published sequence number."""
    lag_ms: int | None
    """How far what is published is behind now; None when nothing was read yet."""


class LaneReport(msgspec.Struct, frozen=True):
    """One lane of a worker."""

    lane: int
    state: str
    buffered_bytes: int
    shards: tuple[ShardReport, ...]
    lost_why: str | None = None
    """Why its producer was given up, until it is taken again."""


def report(lane: Lane, now_ms: int) -> LaneReport:
    """Describe a lane at `now_ms`."""
    shards = tuple(
        ShardReport(
            shard=shard,
            table=reading.record.table,
            phase=reading.phase,
            sequence=lane.published_sequence(shard),
            lag_ms=lane.lag_ms(shard, now_ms),
        )
        for shard, reading in lane.readings.items()
    )
    return LaneReport(lane.number, lane.state, lane.outbox.size_bytes, shards, lane.lost_why)
