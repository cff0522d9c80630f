"""A lane with two shards of one table, for the tests of gaps."""

from __future__ import annotations

import itertools

from support.lanes import (
    DAY_MS,
    LaneUnderTest,
    checkpoint,
    checkpoints_in,
    lineage,
    page,
    shards_of_lane,
)
from tailrace.core.checkpoint import Checkpoint

A, B, C = itertools.islice(shards_of_lane(1), 3)
ELSEWHERE = next(shards_of_lane(2))
HOUR_MS = DAY_MS // 24


def claim(*, sequence: int | None = 7) -> LaneUnderTest:
    """Return lane 1 with the shards A and B of one table, each published up to `sequence`."""
    lane = LaneUnderTest(1)
    for shard in (A, B):
        lane.publish(shard, lineage())
        lane.publish(shard, checkpoint("open", sequence))
    lane.take()
    return lane


def gap_of(lane: LaneUnderTest) -> Checkpoint:
    """Commit the gap of A that waits."""
    lane.wait(100)
    gap = checkpoints_in(lane.committed())[A]
    assert gap is not None
    assert gap.state == "gap"
    return gap


def find_nothing(lane: LaneUnderTest) -> None:
    """Read A to its present end, which holds no change: three empty pages in a row."""
    for _ in range(3):
        lane.read(A, page(A))
        lane.wait(1_000)
