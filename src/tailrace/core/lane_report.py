"""What a lane reports: for health checks, metrics and the demo."""

from __future__ import annotations

import msgspec

from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.lane import Lane, LaneState
from tailrace.core.shard import ShardRef
from tailrace.core.shard_state import Phase

NOT_TAKEN = "not taken"
"""The phase of a shard whose lane is assigned to the worker but not claimed yet, or lost."""
LOST = "lost"
"""The state of a lane that Kafka took from the worker, which has not heard from its group since."""


class ShardReport(msgspec.Struct, frozen=True):
    """One shard of a lane."""

    shard: ShardRef
    table: str
    phase: str
    published_until_ms: int | None
    """Until when all of its changes are certainly published; None when unknown, or when the file leaves it out."""

    def lag_ms(self, now_ms: int) -> int | None:
        """Return the lag, the time behind the source, in seconds; None when unknown, and once the shard has ended."""
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
    """Why its producer was given up, until it is claimed again."""

    def lost(self) -> LaneReport:
        """Return what still holds for the lane after Kafka has taken it from the worker."""
        shards = (each if each.phase == Phase.ENDED else _not_taken(each) for each in self.shards)
        return LaneReport(self.lane, LOST, 0, tuple(shards))


def report(lane: Lane, checkpoint_state: CheckpointState) -> LaneReport:
    """Describe a lane. Without its claim it knows of its shards what the checkpoint state shows."""
    if lane.state is LaneState.ACTIVE:
        phases = {shard: str(shard_state.phase) for shard, shard_state in lane.shard_states.items()}
    else:
        phases = {
            shard: Phase.ENDED if checkpoint_state.ended(shard) else NOT_TAKEN
            for shard in checkpoint_state.shards_of(lane.number)
        }
    shards = tuple(_report_shard(lane, checkpoint_state, shard, phase) for shard, phase in phases.items())
    return LaneReport(lane.number, lane.state, lane.commit_buffer.size_bytes, shards, lane.lost_why)


def _report_shard(lane: Lane, checkpoint_state: CheckpointState, shard: ShardRef, phase: str) -> ShardReport:
    shard_state = lane.shard_states.get(shard)
    table = (shard_state.record if shard_state is not None else checkpoint_state.shards[shard]).table
    record = checkpoint_state.tables.get(table)
    left_out = record is not None and record.state == "left out"
    return ShardReport(shard, table, phase, None if left_out else lane.published_until_ms(shard))


def _not_taken(shard: ShardReport) -> ShardReport:
    return msgspec.structs.replace(shard, phase=NOT_TAKEN)
