"""Gaps: changes that nobody can read any more are told, stop their table, and are accepted by the operator alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from support.lanes import (
    DAY_MS,
    NOW_MS,
    TABLE,
    LaneUnderTest,
    checkpoint,
    checkpoints_in,
    lineage,
    page,
    sequences_in,
    shards_of_lane,
)
from tailrace.core.checkpoint import AcceptKey, Checkpoint, GapAccepted
from tailrace.core.lane_messages import CheckpointStateChanged, NoticeKind, PageRead, Tick
from tailrace.core.lane_options import LaneOptions
from tailrace.core.ports import ReadFailure
from tailrace.core.shard import Position, ShardRef
from tailrace.core.shard_state import Phase
from tailrace.sources.dynamodb.policy import POLICY

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


def test_an_accepted_gap_is_read_on_after_its_position_and_then_from_what_is_left() -> None:
    lane = claim()
    lane.fail(A, ReadFailure.TRIMMED)
    lane.accept((A, gap_of(lane)))
    assert lane.reads[A].position == Position("AFTER_SEQUENCE_NUMBER", "7")
    lane.fail(A, ReadFailure.TRIMMED)
    lane.wait(1_000)
    assert lane.reads[A].position == Position("TRIM_HORIZON")
    lane.read(A, page(A, 20))
    lane.wait(100)
    assert sequences_in(lane.committed()) == [20]


def test_a_checkpoint_keeps_its_sequence_number_over_an_accepted_gap_and_says_that_it_is_no_position() -> None:
    lane = claim()
    lane.fail(A, ReadFailure.TRIMMED)
    lane.accept((A, gap_of(lane)))
    lane.fail(A, ReadFailure.TRIMMED)
    lane.wait(1_000)
    find_nothing(lane)
    kept = checkpoints_in(lane.committed())[A]
    assert kept is not None
    assert (kept.state, kept.sequence, kept.trimmed) == ("open", "7", True)
    lane.lose()
    lane.take()
    assert lane.reads[A].position == Position("TRIM_HORIZON")
    lane.read(A, page(A, 7, 20))
    lane.wait(100)
    assert sequences_in(lane.committed()) == [20]


def test_an_acceptance_is_used_up_once_the_shard_goes_on() -> None:
    """One empty page, or two, may come in the middle of what is left: until there are three the gap stands."""
    lane = claim()
    lane.fail(A, ReadFailure.TRIMMED)
    lane.accept((A, gap_of(lane)))
    for _ in range(2):
        lane.read(A, page(A))
        lane.wait(1_000)
        assert not lane.is_committing()
    lane.read(A, page(A))
    lane.wait(1_000)
    lane.committed()
    lane.fail(A, ReadFailure.TRIMMED)
    assert lane.phase(A) is Phase.GAP


def test_a_gap_that_was_none_repeats_nothing_once_accepted() -> None:
    lane = claim()
    lane.deny(A)  # another endpoint, by mistake
    lane.accept((A, gap_of(lane)))
    find_nothing(lane)
    resumed = checkpoints_in(lane.committed())[A]
    assert resumed is not None
    assert (resumed.state, resumed.sequence) == ("open", "7")


def test_an_accepted_shard_that_is_gone_ends_and_its_children_begin() -> None:
    lane = claim()
    lane.publish(C, lineage(A))
    lane.deny(A)
    lane.accept((A, gap_of(lane)))
    lane.deny(A)
    lane.wait(100)
    lane.committed()
    assert [notice.shard for notice in lane.told(NoticeKind.SHARD_SKIPPED)] == [A]
    assert lane.phase(A) is Phase.ENDED
    assert C in lane.reads


def after_two_days() -> LaneUnderTest:
    """Return lane 1 with A and B published up to 7, and nothing read since two days."""
    lane = LaneUnderTest(1)
    for shard in (A, B):
        lane.publish(shard, lineage())
        lane.publish(shard, checkpoint("open", 7))
    lane.now_ms += 2 * DAY_MS
    lane.take()
    return lane


def end_unread(lane: LaneUnderTest, shard: ShardRef) -> Checkpoint:
    """Read a closed shard of which nothing is left, and commit its end."""
    lane.read(shard, page(shard, end=True))
    lane.wait(100)
    ended = checkpoints_in(lane.committed())[shard]
    assert ended is not None
    return ended


def test_an_acceptance_covers_every_generation_that_descends_from_the_shard_unread() -> None:
    lane = after_two_days()
    child, grandchild, open_one = itertools.islice(shards_of_lane(1), 3, 6)
    lane.deny(A)
    lane.accept((A, gap_of(lane)))
    lane.deny(A)
    lane.wait(100)
    lane.committed()
    lane.publish(child, lineage(A, seen_ms=NOW_MS))
    lane.publish(grandchild, lineage(child, seen_ms=NOW_MS))
    lane.publish(open_one, lineage(grandchild, seen_ms=lane.now_ms))
    assert end_unread(lane, child).open_ms == NOW_MS, "that nothing was lost is accepted; that it was open is not known"
    end_unread(lane, grandchild)
    lane.read(open_one, page(open_one, 9))
    lane.wait(100)
    assert sequences_in(lane.committed()) == [9]
    assert [notice.shard for notice in lane.told(NoticeKind.GAP)] == [A]


def test_an_acceptance_covers_the_other_shards_that_had_waited_too_long_by_then() -> None:
    lane = after_two_days()
    lane.fail(A, ReadFailure.TRIMMED)
    lane.accept((A, gap_of(lane)))
    lane.publish(C, lineage(seen_ms=NOW_MS))  # a descendant of theirs, whose parents are forgotten
    assert lane.phase(C) is Phase.READING
    lane.deny(B)
    lane.wait(100)
    lane.committed()
    assert lane.phase(B) is Phase.ENDED
    assert [notice.shard for notice in lane.told(NoticeKind.GAP)] == [A]


def test_an_acceptance_covers_no_shard_that_had_lost_nothing_by_then() -> None:
    lane = claim()
    lane.fail(A, ReadFailure.TRIMMED)
    lane.accept((A, gap_of(lane)))
    lane.deny(B)
    assert lane.phase(B) is Phase.GAP


@pytest.mark.parametrize("shard", [A, B])
def test_an_acceptance_does_not_cover_what_is_lost_after_it(shard: ShardRef) -> None:
    before = after_two_days()
    before.fail(A, ReadFailure.TRIMMED)
    before.accept((A, gap_of(before)))
    lane = LaneUnderTest(1, checkpoint_state=before.checkpoint_state)
    lane.now_ms = before.now_ms + DAY_MS + 1
    lane.handle(CheckpointStateChanged())
    lane.take()
    lane.deny(shard)
    assert lane.phase(shard) is Phase.GAP


@pytest.mark.parametrize(("is_gone", "phase"), [(True, Phase.ENDED), (False, Phase.GAP)])
def test_a_replaced_stream_takes_its_shards_with_it_where_it_cannot_be_read_any_more(
    is_gone: bool, phase: Phase
) -> None:
    lane = LaneUnderTest(1, LaneOptions(replace(POLICY, replaced_is_gone=is_gone)))
    lane.publish(A, lineage())
    lane.publish(A, checkpoint("open", 7))
    lane.take()
    accepted = GapAccepted(shards=(), stream_arn="the next stream", at_ms=NOW_MS)
    lane.checkpoint_state.apply(0, AcceptKey(TABLE), accepted)
    lane.handle(CheckpointStateChanged())
    lane.deny(A)
    lane.wait(100)
    lane.committed()
    assert lane.phase(A) is phase


@pytest.mark.parametrize("sequence", [7, None])
def test_a_later_gap_is_another_even_at_the_same_position(sequence: int | None) -> None:
    lane = claim(sequence=sequence)
    lane.deny(A)
    first = gap_of(lane)
    lane.accept((A, first))
    find_nothing(lane)
    lane.committed()
    lane.lose()
    lane.take()
    lane.deny(A)
    second = gap_of(lane)
    assert second.sequence == first.sequence
    assert lane.phase(A) is Phase.GAP
    assert A not in lane.reads


def test_a_gap_that_the_view_does_not_show_yet_is_not_taken_for_the_one_that_was_accepted() -> None:
    lane = claim()
    lane.fail(A, ReadFailure.TRIMMED)
    lane.accept((A, gap_of(lane)))
    lane.read(A, page(A, 8, full=True))
    lane.fail(A, ReadFailure.TRIMMED)
    lane.wait(100)
    lane.committed(seen=False)
    lane.publish(C, lineage())  # the checkpoint state changes, and still shows the first gap
    assert lane.phase(A) is Phase.GAP
    lane.see()
    assert lane.phase(B) is Phase.PAUSED, "the second gap stops the table again"


def test_an_acceptance_counts_for_the_gap_as_committed_not_as_seen_by_its_own_lane() -> None:
    lane = claim()
    lane.fail(A, ReadFailure.TRIMMED)
    lane.wait(100)
    lane.now_ms += 5_000  # the commit takes a while
    gap = checkpoints_in(lane.committed())[A]
    assert gap is not None
    lane.accept((A, gap))
    assert A in lane.reads


def test_a_gap_that_is_accepted_before_the_lane_hears_of_its_own_commit_is_read_on() -> None:
    lane = claim()
    lane.fail(A, ReadFailure.TRIMMED)
    lane.wait(100)
    assert lane.commit is not None
    gap = checkpoints_in(lane.commit)[A]
    assert gap is not None
    lane.publish(A, gap)
    lane.accept((A, gap))
    lane.committed(seen=False)
    lane.handle(Tick())
    assert A in lane.reads


def test_an_accepted_gap_stays_accepted_when_the_lane_is_taken_again() -> None:
    lane = claim()
    lane.fail(A, ReadFailure.TRIMMED)
    lane.accept((A, gap_of(lane)))
    lane.lose()
    lane.take()
    assert lane.reads.keys() == {A, B}


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
