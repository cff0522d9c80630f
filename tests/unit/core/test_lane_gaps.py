"""Gaps: changes that nobody can read any more are told, stop their table, and are accepted by the operator alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from support.gap_lanes import ELSEWHERE, HOUR_MS, A, B, C, claim, gap_of
from support.lanes import (
    DAY_MS,
    NOW_MS,
    LaneUnderTest,
    checkpoint,
    checkpoints_in,
    lineage,
    page,
    sequences_in,
)
from tailrace.core.lane_messages import NoticeKind, PageRead, Tick
from tailrace.core.ports import ReadFailure
from tailrace.core.shard import Position
from tailrace.core.shard_state import Phase
from tailrace.sources.dynamodb.policy import POLICY


def test_a_shard_that_is_denied_for_a_while_is_read_on_where_it_was() -> None:
    lane = claim()
    lane.read(A, page(A, 8, full=True))
    began_ms = lane.now_ms
    while lane.now_ms - began_ms < POLICY.gone_after_ms - 1_000:
        if A in lane.reads:
            lane.fail(A, ReadFailure.GONE)
        lane.wait(500)
    lane.wait(20_000)
    assert lane.reads[A].iterator is None
    assert lane.reads[A].position == Position("AFTER_SEQUENCE_NUMBER", "8")
    assert len(lane.told(NoticeKind.READ_FAILED)) > 3
    lane.read(A, page(A, 9))
    assert lane.told(NoticeKind.GAP) == []


@pytest.mark.parametrize("known", [ReadFailure.EXPIRED, ReadFailure.TRIMMED, None])
def test_an_answer_that_knows_the_shard_ends_the_denials_before_it(known: ReadFailure | None) -> None:
    lane = claim(sequence=None)
    lane.publish(C, lineage(initial=True))
    lane.fail(C, ReadFailure.GONE)
    lane.wait(POLICY.gone_after_ms)
    if known is None:
        lane.read(C, page(C))
    else:
        lane.fail(C, known)
    lane.wait(5_000)
    lane.fail(C, ReadFailure.GONE)
    assert lane.phase(C) is Phase.READY
    assert lane.told(NoticeKind.SHARD_SKIPPED) == []


def test_an_answer_that_comes_late_says_how_it_stood_when_it_was_asked_for() -> None:
    lane = claim()
    lane.fail(A, ReadFailure.GONE)
    lane.wait(1_000)
    lane.now_ms += HOUR_MS  # the host sleeps
    lane.fail(A, ReadFailure.GONE)
    assert lane.phase(A) is Phase.READY


def test_no_answer_at_all_does_not_end_them() -> None:
    lane = claim()
    lane.fail(A, ReadFailure.GONE)
    lane.wait(POLICY.gone_after_ms)
    lane.fail(A, ReadFailure.UNAVAILABLE)
    lane.wait(5_000)
    lane.fail(A, ReadFailure.GONE)
    assert lane.phase(A) is Phase.GAP


@pytest.mark.parametrize("answer", [lambda lane: lane.fail(A, ReadFailure.TRIMMED), lambda lane: lane.deny(A)])
def test_a_gap_is_committed_told_and_stops_its_table_in_every_lane(answer: Callable[[LaneUnderTest], None]) -> None:
    lane = claim()
    other = LaneUnderTest(2, checkpoint_state=lane.checkpoint_state)
    other.publish(ELSEWHERE, lineage())
    other.take()
    answer(lane)
    assert [notice.shard for notice in lane.told(NoticeKind.GAP)] == [A]
    gap = gap_of(lane)
    assert gap.sequence == "7"
    assert (lane.phase(A), lane.phase(B)) == (Phase.GAP, Phase.PAUSED)
    other.see()
    assert other.phase(ELSEWHERE) is Phase.PAUSED


def test_a_gap_comes_after_what_was_read_before_it() -> None:
    lane = claim()
    lane.read(A, page(A, 8, full=True))
    lane.fail(A, ReadFailure.TRIMMED)
    lane.wait(100)
    commit = lane.committed()
    assert sequences_in(commit) == [8]
    gap = checkpoints_in(commit)[A]
    assert gap is not None
    assert (gap.state, gap.sequence) == ("gap", "8")


def test_other_tables_go_on() -> None:
    lane = claim()
    lane.publish(C, lineage(table="customers"))
    lane.fail(A, ReadFailure.TRIMMED)
    gap_of(lane)
    assert lane.phase(C) is Phase.READING


def test_what_a_paused_shard_has_read_is_dropped_and_read_again_from_what_is_committed() -> None:
    lane = claim()
    lane.fail(A, ReadFailure.TRIMMED)
    lane.wait(100)
    lane.read(B, page(B, 8, full=True))  # waits while the gap is being committed
    asked = lane.reads[B]
    gap = checkpoints_in(lane.committed())[A]
    assert gap is not None
    assert lane.phase(B) is Phase.PAUSED
    assert not lane.lane.commit_buffer.has_waiting
    assert lane.lane.wake_at_ms is None, "a lane with nothing to do sleeps"
    assert lane.lane.commit_buffer.size_bytes == 0
    assert asked.iterator == "iterator-8"
    lane.accept((A, gap))
    assert lane.reads[B].position == Position("AFTER_SEQUENCE_NUMBER", "7")


def test_an_answer_that_comes_while_the_table_is_stopped_is_ignored() -> None:
    lane = claim()
    asked = lane.reads[B]
    lane.fail(A, ReadFailure.TRIMMED)
    gap_of(lane)
    lane.handle(PageRead(asked.epoch, asked.ticket, page(B, 8)))
    lane.wait(1_000)
    assert not lane.is_committing()
    assert lane.phase(B) is Phase.PAUSED


def test_a_transaction_under_way_when_its_table_stops_has_its_outcome_before_the_shard_goes_on() -> None:
    lane = claim()
    lane.publish(ELSEWHERE, lineage())
    lane.read(B, page(B, 8, full=True))
    lane.wait(1_000)
    assert lane.is_committing()
    gap = checkpoint("gap", 3)
    lane.publish(ELSEWHERE, gap)
    lane.accept((ELSEWHERE, gap))
    assert lane.phase(B) is Phase.PAUSED
    lane.committed(seen=False)
    assert lane.reads[B].position == Position("AFTER_SEQUENCE_NUMBER", "8")


@pytest.mark.parametrize("outcome", ["committed", "lost"])
def test_a_shard_whose_end_is_being_committed_when_its_table_stops_ends_or_is_read_again(outcome: str) -> None:
    lane = claim()
    lane.read(B, page(B, 8, end=True))
    lane.wait(100)
    gap = checkpoint("gap", 3)
    lane.publish(ELSEWHERE, gap)
    assert lane.phase(B) is Phase.PAUSED
    if outcome == "committed":
        lane.committed()
        assert lane.phase(B) is Phase.ENDED
    else:
        lane.lose()
        lane.take()
        assert lane.phase(B) is Phase.PAUSED
    lane.accept((ELSEWHERE, gap))
    assert (B in lane.reads) is (outcome == "lost")


def test_a_drained_shard_whose_end_was_dropped_by_the_stop_commits_it_later() -> None:
    lane = claim()
    lane.read(B, page(B, 8, end=True))
    gap = checkpoint("gap", 3)
    lane.publish(ELSEWHERE, gap)
    lane.wait(1_000)
    assert not lane.is_committing()
    lane.accept((ELSEWHERE, gap))
    lane.read(B, page(B, 8, end=True))
    lane.wait(100)
    commit = lane.committed()
    assert sequences_in(commit) == [8]
    assert lane.phase(B) is Phase.ENDED


def test_a_table_that_was_stopped_before_the_lane_was_taken_stays_stopped() -> None:
    lane = LaneUnderTest(1)
    lane.publish(B, lineage())
    lane.publish(ELSEWHERE, checkpoint("gap", 3))
    lane.take()
    assert lane.reads == {}
    assert lane.lane.wake_at_ms is None


# Acceptance


# What was never promised, and what was


@pytest.mark.parametrize("begun", [False, True])
def test_what_was_trimmed_around_the_first_listing_was_never_promised(begun: bool) -> None:
    lane = LaneUnderTest(1)
    lane.publish(A, lineage(initial=True))
    if begun:
        lane.publish(A, checkpoint("open"))
    lane.take()
    lane.fail(A, ReadFailure.TRIMMED)
    lane.wait(1_000)
    assert lane.reads[A].position == Position("TRIM_HORIZON")
    lane.deny(A)
    lane.wait(100)
    lane.committed()
    assert lane.phase(A) is Phase.ENDED
    assert lane.told(NoticeKind.GAP) == []


def test_a_day_after_the_first_listing_everything_is_promised() -> None:
    lane = LaneUnderTest(1)
    lane.publish(A, lineage(initial=True))
    lane.publish(A, checkpoint("open"))
    lane.take()
    lane.now_ms += DAY_MS + 1
    lane.deny(A)
    gap_of(lane)


def test_once_a_change_was_read_nothing_is_forgiven() -> None:
    lane = LaneUnderTest(1)
    lane.publish(A, lineage(initial=True))
    lane.take()
    lane.read(A, page(A, 1, full=True))
    lane.fail(A, ReadFailure.TRIMMED)
    assert lane.phase(A) is Phase.GAP


@pytest.mark.parametrize("initial", [False, True])
def test_a_shard_that_waited_for_its_parents_for_more_than_a_day_is_a_gap(initial: bool) -> None:
    lane = LaneUnderTest(1)
    lane.publish(A, lineage(ELSEWHERE, initial=initial))
    lane.take()
    lane.now_ms += DAY_MS + 1
    lane.publish(ELSEWHERE, checkpoint("ended", 6))
    gap = gap_of(lane)
    assert gap.sequence is None
    lane.accept((A, gap))
    assert lane.reads[A].position == Position("TRIM_HORIZON")


@pytest.mark.parametrize("hours", [3, 5])
def test_a_child_counts_from_when_its_parent_was_open_not_from_when_its_end_was_read(hours: int) -> None:
    """After 20 hours without a worker the parent is read to its end; the child is listed so many hours later."""
    lane = LaneUnderTest(1)
    lane.publish(B, lineage())
    lane.publish(ELSEWHERE, checkpoint("ended", 6, at_ms=NOW_MS, open_ms=NOW_MS - 20 * HOUR_MS))
    lane.take()
    lane.now_ms += hours * HOUR_MS
    lane.publish(A, lineage(ELSEWHERE, seen_ms=lane.now_ms))
    if hours < 4:
        assert lane.reads[A].position == Position("TRIM_HORIZON")
    else:
        assert gap_of(lane).sequence is None


def test_the_first_listing_of_a_stream_counts_from_itself_however_old_the_parents_are() -> None:
    lane = LaneUnderTest(1)
    lane.publish(A, lineage(ELSEWHERE, initial=True))
    lane.publish(ELSEWHERE, checkpoint("ended", 6, open_ms=NOW_MS - 2 * DAY_MS))
    lane.take()
    assert lane.reads[A].position == Position("TRIM_HORIZON")


def test_a_child_whose_parent_was_quiet_to_its_end_counts_from_there() -> None:
    """Three empty pages in a row say that nothing was to be read: the shard was open."""
    lane = LaneUnderTest(1)
    lane.publish(B, lineage())
    lane.publish(B, checkpoint("open", 7, at_ms=NOW_MS, open_ms=NOW_MS))
    lane.now_ms += 2 * DAY_MS
    lane.take()
    for _ in range(3):
        lane.read(B, page(B))
        lane.wait(1_000)
    lane.read(B, page(B, end=True))
    lane.wait(1_000)
    while lane.is_committing():
        lane.committed()
        lane.wait(1_000)
    lane.publish(A, lineage(B, seen_ms=lane.now_ms))
    assert lane.reads[A].position == Position("TRIM_HORIZON")


def test_a_shard_without_changes_that_nobody_read_for_a_day_is_a_gap() -> None:
    lane = LaneUnderTest(1)
    lane.publish(A, lineage())
    lane.publish(A, checkpoint("open", at_ms=NOW_MS))
    lane.now_ms += DAY_MS + 1
    lane.take()
    gap_of(lane)


def test_a_shard_without_changes_whose_reads_fail_for_a_day_is_a_gap() -> None:
    lane = claim(sequence=None)
    lane.now_ms += DAY_MS + 1
    lane.fail(A, ReadFailure.DENIED)
    gap_of(lane)


def test_a_shard_without_changes_that_is_read_again_after_a_day_is_a_gap_although_the_read_succeeds() -> None:
    lane = claim(sequence=None)
    lane.fail(A, ReadFailure.THROTTLED)
    lane.now_ms += DAY_MS + 1
    lane.handle(Tick())
    lane.read(A, page(A, 20))
    assert gap_of(lane).sequence is None


def test_start_latest_promises_nothing_before_the_first_read() -> None:
    lane = LaneUnderTest(1)
    lane.publish(A, lineage(start="LATEST", initial=True))
    lane.now_ms += 2 * DAY_MS
    lane.take()
    assert lane.reads[A].position == Position("LATEST")


@pytest.mark.parametrize(
    ("arrived_ms", "until_ms", "phase"),
    [
        (NOW_MS - 25 * HOUR_MS, NOW_MS - HOUR_MS, Phase.READY),
        (NOW_MS - 25 * HOUR_MS, NOW_MS - 25 * HOUR_MS, Phase.GAP),
        (NOW_MS - HOUR_MS, NOW_MS - HOUR_MS, Phase.GAP),
        (None, NOW_MS - HOUR_MS, Phase.GAP),
        (NOW_MS - 25 * HOUR_MS, None, Phase.GAP),
    ],
)
def test_a_position_that_only_grew_old_in_a_quiet_shard_is_no_gap(
    arrived_ms: int | None, until_ms: int | None, phase: Phase
) -> None:
    lane = LaneUnderTest(1)
    lane.publish(A, lineage())
    lane.publish(A, replace(checkpoint("open", 7), arrived_ms=arrived_ms, until_ms=until_ms))
    lane.take()
    lane.fail(A, ReadFailure.TRIMMED)
    assert lane.phase(A) is phase
    if phase is Phase.READY:
        lane.wait(60_000)
        assert lane.reads[A].position == Position("TRIM_HORIZON")


def test_a_stream_that_keeps_changes_for_longer_is_waited_for_as_long() -> None:
    for retention_ms, phase in ((None, Phase.GAP), (7 * DAY_MS, Phase.READING)):
        lane = LaneUnderTest(1)
        lane.publish(A, replace(lineage(), seen_ms=NOW_MS - 2 * DAY_MS, initial=False, retention_ms=retention_ms))
        lane.take()
        assert lane.phase(A) is phase


def test_a_shard_begins_at_the_time_that_the_file_asks_for() -> None:
    lane = LaneUnderTest(1)
    lane.publish(A, replace(lineage(), since_ms=NOW_MS - HOUR_MS))
    lane.take()
    assert lane.reads[A].position == Position("TRIM_HORIZON", since_ms=NOW_MS - HOUR_MS)
