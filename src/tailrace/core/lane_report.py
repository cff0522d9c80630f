"""What a lane says of itself: for health checks, metrics and the demo."""

from __future__ import annotations

import msgspec

from tailrace.core.lane import Lane, LaneState
from tailrace.core.reading import Phase
from tailrace.core.shard import ShardRef
from tailrace.core.view import View

NOT_TAKEN = "not taken"
"""The phase of a shard whose lane the worker was given and has not taken yet, or has lost."""
LOST = "lost"
"""The state of a lane that Kafka took from the worker, which has not heard from its group since."""


class ShardReport(msgspec.Struct, frozen=True):
    """One shard of a lane."""

    shard: ShardRef
    table: str
    phase: str
    published_until_ms: int | None
    """Until when all of its changes are surely published; None when that is not known, or the file leaves it out."""

    def lag_ms(self, now_ms: int) -> int | None:
        """Return how far what is published is behind the source; None when that is not known, and once it has ended."""
        if self.published_until_ms is None or self.phase == Phase.ENDED:
            return None
        return max(0, now_ms - self.published_until_ms)


class LaneReport(msgspec.Struct, frozen=True):
    """One lane of a worker."""

    lane: int
    state: str
    buffered_bytes: int
    shards: tuple[ShardReport, ...]
    lost_why: str | None = None
    """Why its producer was given up, until it is taken again."""

    def lost(self) -> LaneReport:
        """Return what is still true of the lane once Kafka has taken it from the worker."""
        shards = (each if each.phase == Phase.ENDED else _not_taken(each) for each in self.shards)
        return LaneReport(self.lane, LOST, 0, tuple(shards))


def report(lane: Lane, view: View) -> LaneReport:
    """Describe a lane. Without its producer it knows of its shards what the view shows."""
    if lane.state is LaneState.ACTIVE:
        phases = {shard: str(reading.phase) for shard, reading in lane.readings.items()}
    else:
        phases = {shard: Phase.ENDED if view.ended(shard) else NOT_TAKEN for shard in view.shards_of(lane.number)}
    shards = tuple(_report_shard(lane, view, shard, phase) for shard, phase in phases.items())
    return LaneReport(lane.number, lane.state, lane.outbox.size_bytes, shards, lane.lost_why)


def _report_shard(lane: Lane, view: View, shard: ShardRef, phase: str) -> ShardReport:
    reading = lane.readings.get(shard)
    table = (reading.record if reading is not None else view.shards[shard]).table
    record = view.tables.get(table)
    left_out = record is not None and record.state == "left out"
    return ShardReport(shard, table, phase, None if left_out else lane.published_until_ms(shard))


def _not_taken(shard: ShardReport) -> ShardReport:
    return msgspec.structs.replace(shard, phase=NOT_TAKEN)
