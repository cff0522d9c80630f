"""What a lane says of itself once its producer, or the lane, is lost: its lag goes on growing."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from support.lanes import NOW_MS, LaneUnderTest, checkpoints_in, lineage, page, shards_of_lane
from tailrace.core.lane_report import LOST, NOT_TAKEN, ShardReport, report
from tailrace.core.shard import ShardRef

A, B = itertools.islice(shards_of_lane(1), 2)


@pytest.fixture
def lane() -> LaneUnderTest:
    """Lane 1, which has read its one shard to its present end, `A`, and published it."""
    under_test = LaneUnderTest(number=1)
    under_test.publish(A, lineage())
    under_test.take()
    under_test.read(A, page(A, 1))
    under_test.wait(100)
    under_test.committed()
    under_test.wait(1_000)
    under_test.read(A, page(A))
    return under_test


def reported(lane: LaneUnderTest) -> dict[ShardRef, ShardReport]:
    return {each.shard: each for each in report(lane.lane, lane.checkpoint_state).shards}


def test_a_quiet_shard_is_behind_by_the_time_since_its_last_read(lane: LaneUnderTest) -> None:
    assert reported(lane)[A].lag_ms(lane.now_ms + 300) == 300
    assert reported(lane)[A].phase == "ready"


def test_the_lag_grows_while_the_lane_is_not_taken_again(lane: LaneUnderTest) -> None:
    lost_ms = lane.now_ms
    for _ in range(3):  # however often it is tried
        lane.lose()
        lane.wait(5_000)
        shard = reported(lane)[A]
        assert (shard.phase, shard.published_until_ms) == (NOT_TAKEN, lost_ms)
    assert shard.lag_ms(lost_ms + 60_000) == 60_000
    lane.take()
    assert reported(lane)[A].published_until_ms == lost_ms, "nothing was read since"
    lane.read(A, page(A))
    assert reported(lane)[A].published_until_ms == lane.now_ms


def test_what_was_read_and_not_committed_counts_for_nothing(lane: LaneUnderTest) -> None:
    until_ms = reported(lane)[A].published_until_ms
    lane.wait(1_000)
    lane.read(A, page(A, 2))
    lane.lose()
    assert reported(lane)[A].published_until_ms == NOW_MS
    assert until_ms is not None
    assert until_ms > NOW_MS


def test_a_lane_that_kafka_took_away_keeps_its_lag_and_gives_it_to_the_next_taking(lane: LaneUnderTest) -> None:
    known = report(lane.lane, lane.checkpoint_state).lost()
    assert (known.state, known.buffered_bytes) == (LOST, 0)
    (shard,) = known.shards
    assert (shard.phase, shard.published_until_ms) == (NOT_TAKEN, lane.now_ms)


def test_a_shard_that_has_ended_and_a_table_that_is_left_out_have_no_lag(lane: LaneUnderTest) -> None:
    lane.leave_out(True)
    assert reported(lane)[A].lag_ms(lane.now_ms) is None
    lane.leave_out(False)
    ended = msgspec.structs.replace(reported(lane)[A], phase="ended")
    assert ended.lag_ms(lane.now_ms) is None


def test_a_lane_that_was_never_taken_reports_the_shards_that_the_view_shows(lane: LaneUnderTest) -> None:
    fresh = LaneUnderTest(number=1, checkpoint_state=lane.checkpoint_state)
    (shard,) = report(fresh.lane, fresh.checkpoint_state).shards
    assert (shard.shard, shard.phase, shard.published_until_ms) == (A, NOT_TAKEN, None)


@pytest.mark.parametrize("full", [True, False])
def test_a_checkpoint_says_whether_there_was_more_to_read(lane: LaneUnderTest, *, full: bool) -> None:
    lane.wait(1_000)
    lane.read(A, page(A, 2, full=full))
    lane.wait(10_000)
    checkpoint = checkpoints_in(lane.committed())[A]
    assert checkpoint is not None
    assert checkpoint.behind is full
