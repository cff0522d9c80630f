"""What a source states of itself decides what a lane concludes: another source, other conclusions."""

from __future__ import annotations

from msgspec.structs import replace

from support.lanes import LaneUnderTest, checkpoint, lineage, page, shards_of_lane
from tailrace.core.lane_options import LaneOptions
from tailrace.core.ports import ReadFailure
from tailrace.core.shard_state import Phase
from tailrace.core.source_policy import SourcePolicy
from tailrace.sources.dynamodb.policy import POLICY

A = next(shards_of_lane(1))
ELSEWHERE = next(shards_of_lane(2))
HOUR_MS = 3_600_000
WEEK_MS = 7 * 24 * HOUR_MS


def lane_of(policy: SourcePolicy) -> LaneUnderTest:
    """Return lane 1 of a source, with shard A, whose parent has not ended."""
    lane = LaneUnderTest(1, LaneOptions(policy))
    lane.publish(A, lineage(ELSEWHERE))
    lane.take()
    return lane


def test_a_shard_may_wait_for_as_long_as_its_source_keeps_changes() -> None:
    lanes = [lane_of(replace(POLICY, retention_ms=retention_ms)) for retention_ms in (HOUR_MS, WEEK_MS)]
    for lane in lanes:
        lane.now_ms += HOUR_MS + 1
        lane.publish(ELSEWHERE, checkpoint("ended", 6))
    assert [lane.phase(A) for lane in lanes] == [Phase.GAP, Phase.READING]


def test_a_denial_is_believed_after_as_long_as_its_source_may_be_wrong() -> None:
    phases = []
    for gone_after_ms in (0, 10_000):
        lane = lane_of(replace(POLICY, gone_after_ms=gone_after_ms))
        lane.publish(ELSEWHERE, checkpoint("ended", 6))
        lane.read(A, page(A, 1, full=True))
        lane.fail(A, ReadFailure.GONE)
        phases.append(lane.phase(A))
    assert phases == [Phase.GAP, Phase.READY]


def test_as_many_empty_pages_as_its_source_states_show_that_a_shard_is_read_to_its_end() -> None:
    is_known = []
    for caught_up_reads in (1, 2):
        lane = lane_of(replace(POLICY, caught_up_reads=caught_up_reads))
        lane.now_ms += HOUR_MS
        lane.publish(ELSEWHERE, checkpoint("ended", 6))
        lane.read(A, page(A))
        is_known.append(lane.lane.shard_states[A].read_ms == lane.now_ms)
    assert is_known == [True, False]


def test_a_large_page_makes_the_next_read_wait_for_the_shards_throughput() -> None:
    policy = replace(POLICY, read_interval_ms=200, read_bytes_per_second=2_000_000)
    pauses_ms = []
    for read_bytes in (10, 8_000_000):
        lane = lane_of(policy)
        lane.publish(ELSEWHERE, checkpoint("ended", 6))
        asked_ms = lane.lane.shard_states[A].asked_ms
        lane.now_ms += 50
        lane.read(A, replace(page(A, 1), read_bytes=read_bytes, full=True))
        pauses_ms.append(lane.lane.shard_states[A].next_read_ms - asked_ms)
    assert pauses_ms == [200, 4_000]


def test_a_shard_that_others_read_too_is_read_less_often_and_wins_its_pace_back() -> None:
    lane = lane_of(replace(POLICY, read_interval_ms=200))
    lane.publish(ELSEWHERE, checkpoint("ended", 6))
    state = lane.lane.shard_states[A]
    paces = []
    for _ in range(5):
        lane.fail(A, ReadFailure.THROTTLED)
        paces.append(state.slowed_ms)
        lane.wait(20_000)
    for sequence in range(1, 61):
        lane.read(A, page(A, sequence, full=True))
        paces.append(state.slowed_ms)
        lane.wait(5_000)
    assert paces[:5] == [400, 800, 1_600, 2_000, 2_000]
    assert paces[5] == 1_750
    assert paces[-1] == 0
    assert paces[5:] == sorted(paces[5:], reverse=True)
