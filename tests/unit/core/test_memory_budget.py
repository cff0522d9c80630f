"""The lanes of a worker share its memory, and none starves another."""

from __future__ import annotations

import itertools

from msgspec.structs import replace

from support.lanes import LaneUnderTest, lineage, page, shards_of_lane
from tailrace.core.lane_messages import Release, Tick
from tailrace.core.lane_options import LaneOptions
from tailrace.core.memory_budget import MemoryBudget
from tailrace.sources.dynamodb.policy import POLICY

OPTIONS = LaneOptions(replace(POLICY, page_bytes=1_000), batch_changes=1, buffer_bytes=10_000)


def lane(number: int, budget: MemoryBudget, shards: int = 4) -> LaneUnderTest:
    """Return a lane that is taken, with shards."""
    made = LaneUnderTest(number, OPTIONS, budget=budget)
    for shard in itertools.islice(shards_of_lane(number), shards):
        made.publish(shard, lineage())
    made.take()
    return made


def test_lanes_read_no_more_together_than_there_is_room_for() -> None:
    budget = MemoryBudget(5_000)
    first, second = lane(1, budget), lane(2, budget)
    assert (len(first.reads), len(second.reads)) == (4, 1)
    assert budget.held_bytes == 5_000
    assert first.lane.waits_for_memory_since_ms is None
    assert second.lane.waits_for_memory_since_ms == second.now_ms


def test_what_one_lane_has_published_another_may_read() -> None:
    budget = MemoryBudget(5_000)
    first, second = lane(1, budget), lane(2, budget)
    for shard in list(first.reads):
        first.read(shard, page(shard, 1, end=True))
    while first.commit:
        first.committed()
    second.handle(Tick())
    assert len(second.reads) == 4
    assert second.lane.waits_for_memory_since_ms is None


def test_a_lane_that_holds_nothing_reads_although_there_is_no_room() -> None:
    budget = MemoryBudget(2_000)
    hanging = lane(1, budget)
    for shard in list(hanging.reads):
        hanging.read(shard, page(shard, *range(1, 6), full=True))
    assert not budget.fits(1)
    others = [lane(number, budget) for number in (2, 3)]
    assert [len(other.reads) for other in others] == [1, 1]


def test_a_lane_that_is_given_back_leaves_its_room() -> None:
    budget = MemoryBudget(5_000)
    first = lane(1, budget)
    assert budget.held_bytes == 4_000
    first.handle(Release())
    assert budget.held_bytes == 0


def test_a_lane_that_is_being_given_back_waits_for_no_room() -> None:
    budget = MemoryBudget(5_000)
    _first, second = lane(1, budget), lane(2, budget)
    second.read(next(iter(second.reads)), page(next(iter(second.reads)), 1))
    second.wait(1_000)
    assert second.is_committing()
    assert second.lane.waits_for_memory_since_ms is not None
    second.handle(Release())
    assert second.lane.waits_for_memory_since_ms is None
