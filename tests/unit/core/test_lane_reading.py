"""Reading and publishing: order, positions, bounds and what a transaction holds."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from msgspec.structs import replace

from support.lanes import (
    DAY_MS,
    LANE_COUNT,
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
from tailrace.core.checkpoint import SnapshotKey, SnapshotRecord
from tailrace.core.lane_messages import Commit, NoticeKind, PageRead, ReadFailed, Tick
from tailrace.core.lane_options import LaneOptions
from tailrace.core.pacing import Pacing
from tailrace.core.page import Page
from tailrace.core.ports import ReadFailure
from tailrace.core.shard import Position, ShardRef
from tailrace.core.shard_state import Phase
from tailrace.sources.dynamodb.policy import POLICY

A, B, C = itertools.islice(shards_of_lane(1), 3)
ELSEWHERE = next(shards_of_lane(2))
"""A shard of another lane."""


def claim(*shards: ShardRef, options: LaneOptions | None = None) -> LaneUnderTest:
    """Return lane 1, taken, with open shards."""
    lane = LaneUnderTest(1, options)
    for shard in shards:
        lane.publish(shard, lineage())
    lane.take()
    return lane


# Parents before children


def test_a_child_begins_at_its_start_once_its_parents_end_is_committed_and_seen() -> None:
    lane = claim(A)
    lane.publish(B, lineage(A))
    lane.read(A, page(A, 1, end=True))
    assert lane.phase(A) is Phase.DRAINED
    lane.wait(100)
    assert lane.phase(B) is Phase.WAITING
    lane.committed(seen=False)
    assert lane.phase(B) is Phase.WAITING
    lane.see()
    assert lane.reads[B].position == Position("TRIM_HORIZON")


def test_a_child_waits_for_parents_in_other_lanes() -> None:
    lane = claim(A)
    lane.publish(B, lineage(ELSEWHERE))
    lane.publish(ELSEWHERE, checkpoint("open", 5))
    assert lane.phase(B) is Phase.WAITING
    lane.publish(ELSEWHERE, checkpoint("ended", 6))
    assert lane.phase(B) is Phase.READING


def test_a_child_of_a_merge_waits_for_both_parents() -> None:
    lane = claim(A)
    lane.publish(B, lineage(A, ELSEWHERE))
    lane.publish(ELSEWHERE, checkpoint("ended", 6))
    assert lane.phase(B) is Phase.WAITING
    lane.read(A, page(A, end=True))
    lane.wait(100)
    lane.committed()
    assert lane.phase(B) is Phase.READING


def test_a_child_that_has_begun_needs_its_parents_no_more() -> None:
    lane = LaneUnderTest(1)
    lane.publish(B, lineage(A))
    lane.publish(B, checkpoint("open", 5))
    lane.take()
    assert lane.reads[B].position.sequence == "5"


def test_a_shard_ends_in_the_transaction_of_its_last_changes() -> None:
    lane = claim(A)
    lane.read(A, page(A, 1, 2, end=True))
    lane.wait(100)
    commit = lane.committed()
    assert sequences_in(commit) == [1, 2]
    ended = checkpoints_in(commit)[A]
    assert ended is not None
    assert (ended.state, ended.sequence) == ("ended", "2")
    assert lane.phase(A) is Phase.ENDED
    assert [notice.shard for notice in lane.told(NoticeKind.SHARD_ENDED)] == [A]


def test_a_shard_that_is_published_to_its_end_is_not_read_again() -> None:
    lane = LaneUnderTest(1)
    lane.publish(A, lineage())
    lane.publish(A, checkpoint("ended", 5))
    lane.take()
    lane.wait(60_000)
    assert lane.phase(A) is Phase.ENDED
    assert lane.reads == {}


# Positions


def test_latest_is_asked_for_until_the_first_read_succeeds_and_never_after() -> None:
    lane = LaneUnderTest(1)
    lane.publish(A, lineage(start="LATEST", initial=True))
    lane.take()
    assert lane.reads[A].position == Position("LATEST")
    lane.fail(A, ReadFailure.UNAVAILABLE)
    lane.wait(1_000)
    assert lane.reads[A].position == Position("LATEST")
    lane.read(A, page(A))
    lane.wait(1_000)
    lane.fail(A, ReadFailure.EXPIRED)
    since_start = Position("TRIM_HORIZON", since_ms=NOW_MS - POLICY.clock_skew_ms)
    assert lane.reads[A].position == since_start
    lane.committed()
    lane.lose()
    lane.take()
    assert lane.reads[A].position == since_start


def test_the_first_read_at_latest_is_remembered_whoever_reads_on() -> None:
    lane = LaneUnderTest(1)
    lane.publish(A, lineage(start="LATEST", initial=True))
    lane.take()
    lane.now_ms += 5_000
    lane.read(A, page(A))
    begun_ms = lane.now_ms
    lane.wait(100)
    first = checkpoints_in(lane.committed())[A]
    lane.lose()
    lane.take()
    lane.read(A, page(A, 7))
    lane.wait(100)
    later = checkpoints_in(lane.committed())[A]

    assert first is not None
    assert later is not None
    assert (first.begun_ms, later.begun_ms) == (begun_ms, begun_ms)
    assert later.sequence == "7"


def test_an_expired_iterator_is_replaced_after_the_last_sequence_number_at_once() -> None:
    lane = claim(A)
    lane.read(A, page(A, 7, full=True))
    assert lane.reads[A].iterator == "iterator-7"
    lane.fail(A, ReadFailure.EXPIRED)
    assert lane.reads[A].iterator is None
    assert lane.reads[A].position == Position("AFTER_SEQUENCE_NUMBER", "7")
    assert lane.told(NoticeKind.READ_FAILED) == []


def test_iterators_that_are_always_expired_do_not_make_the_lane_spin() -> None:
    lane = claim(A)
    lane.fail(A, ReadFailure.EXPIRED)
    assert lane.reads == {}
    lane.wait(1_000)
    assert A in lane.reads


def test_a_record_that_was_read_before_is_not_published_again() -> None:
    lane = claim(A)
    lane.read(A, page(A, 98, 99, full=True))
    lane.fail(A, ReadFailure.EXPIRED)
    lane.read(A, page(A, 99, 100, 101))
    lane.wait(100)
    assert sequences_in(lane.committed()) == [98, 99, 100, 101]


@pytest.mark.parametrize("failure", [ReadFailure.THROTTLED, ReadFailure.DENIED, ReadFailure.UNAVAILABLE])
def test_a_read_that_fails_is_tried_again_later_and_later_and_told(failure: ReadFailure) -> None:
    lane = claim(A)
    pauses = []
    for _ in range(10):
        lane.fail(A, failure)
        assert lane.lane.wake_at_ms is not None
        pauses.append(lane.lane.wake_at_ms - lane.now_ms)
        lane.wait(pauses[-1])
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (100, 10_000)
    assert len(lane.told(NoticeKind.READ_FAILED)) == 10
    lane.read(A, page(A, 1))
    assert len(lane.told(NoticeKind.READ_RECOVERED)) == 1


def test_answers_to_reads_that_were_given_up_are_ignored() -> None:
    lane = claim(A)
    read = lane.reads[A]
    lane.read(A, page(A, 1, full=True))
    lane.handle(PageRead(read.epoch, read.ticket, page(A, 1, 2)))
    lane.handle(ReadFailed(read.epoch, read.ticket, A, ReadFailure.GONE, "late"))
    lane.wait(1_000)
    assert sequences_in(lane.committed()) == [1]
    assert lane.phase(A) is Phase.READING


# Pacing


def test_an_open_shard_is_read_slower_the_longer_it_is_quiet_and_quickly_after_a_change() -> None:
    lane = claim(A, options=LaneOptions(POLICY, pacing=Pacing(min_ms=100, max_ms=1_000)))
    pauses = []
    for _ in range(6):
        lane.read(A, page(A))
        pauses.append(lane.lane.shard_states[A].next_read_ms - lane.now_ms)
        lane.wait(1_000)
        if lane.commit:
            lane.committed()
    lane.read(A, page(A, 1))
    pauses.append(lane.lane.shard_states[A].next_read_ms - lane.now_ms)
    assert pauses == [200, 400, 800, 1_000, 1_000, 1_000, 100]


def test_a_closed_shard_is_read_as_fast_as_it_comes() -> None:
    lane = claim(A)
    lane.publish(B, lineage(A))
    lane.read(A, page(A))
    assert A in lane.reads


# Transactions


def test_a_transaction_waits_for_linger_or_for_enough_changes() -> None:
    lane = claim(A, B, options=LaneOptions(POLICY, batch_changes=3, linger_ms=100))
    lane.read(A, page(A, 1, 2, full=True))
    lane.wait(99)
    assert not lane.is_committing()
    lane.read(B, page(B, 3))
    assert lane.is_committing()
    lane.committed()
    lane.read(A, page(A, 4))
    lane.wait(99)
    assert not lane.is_committing()
    lane.wait(1)
    assert lane.is_committing()


def test_a_transaction_waits_for_linger_or_for_enough_bytes() -> None:
    lane = claim(A, options=LaneOptions(POLICY, batch_bytes=2_000))
    lane.read(A, page(A, 1, full=True))
    assert not lane.is_committing()
    lane.read(A, page(A, 2, full=True))
    assert lane.is_committing()


def test_full_pages_wait_for_the_page_that_is_being_read() -> None:
    lane = claim(A, B, options=LaneOptions(POLICY, linger_ms=100))
    lane.read(A, page(A, 1, full=True))
    lane.wait(999)
    assert not lane.is_committing()
    lane.read(A, page(A, 2, full=True))
    lane.wait(1)
    assert sequences_in(lane.committed()) == [1, 2]


@pytest.mark.parametrize("last", [page(A, 3), page(B, 3)])
def test_full_pages_do_not_wait_longer_with_changes_that_may_be_young(last: Page) -> None:
    lane = claim(A, B, options=LaneOptions(POLICY, linger_ms=100))
    lane.read(A, page(A, 1, full=True))
    lane.wait(100)
    lane.read(last.shard, last)
    assert lane.is_committing()


def test_full_pages_do_not_wait_longer_when_there_is_no_room_to_read_another() -> None:
    lane = claim(A, options=LaneOptions(POLICY, linger_ms=100, buffer_bytes=1))
    lane.read(A, page(A, 1, full=True))
    lane.wait(100)
    assert lane.is_committing()


def test_a_transaction_takes_whole_pages_until_a_bound_is_met() -> None:
    lane = claim(A, options=LaneOptions(POLICY, batch_changes=3))
    lane.read(A, page(A, 1, 2, 3, full=True))
    for first in (4, 6, 8, 10):
        lane.read(A, page(A, first, first + 1, full=True))
    assert sequences_in(lane.committed()) == [1, 2, 3]
    assert sequences_in(lane.committed()) == [4, 5, 6, 7]
    commit = lane.committed()
    assert sequences_in(commit) == [8, 9, 10, 11]
    last = checkpoints_in(commit)[A]
    assert last is not None
    assert last.sequence == "11"


def test_pages_are_read_ahead_while_a_transaction_is_under_way_within_the_buffers_bound() -> None:
    options = LaneOptions(replace(POLICY, page_bytes=1_000), batch_changes=1, buffer_bytes=4_000)
    lane = claim(A, B, options=options)
    read = itertools.count(1)
    while lane.reads:
        shard = next(iter(lane.reads))
        lane.read(shard, page(shard, next(read), full=True))
        held = lane.lane.commit_buffer.size_bytes + len(lane.reads) * options.source.page_bytes
        assert held <= options.buffer_bytes
    assert next(read) == 5
    assert {shard_state.phase for shard_state in lane.lane.shard_states.values()} == {Phase.READY}
    lane.committed()
    assert len(lane.reads) == 1, "a place in the buffer is used as soon as it is free"


def test_a_read_that_was_given_up_holds_its_place_in_the_buffer_until_it_is_answered() -> None:
    lane = claim(A, options=LaneOptions(replace(POLICY, page_bytes=1_000), buffer_bytes=1_000))
    given_up = lane.reads[A]
    lane.leave_out(True)
    assert lane.phase(A) is Phase.PAUSED
    lane.leave_out(False)
    assert lane.phase(A) is Phase.READY, "its page may still come: there is no room for another"
    lane.handle(PageRead(given_up.epoch, given_up.ticket, page(A, 1)))
    assert lane.reads[A].ticket != given_up.ticket
    lane.read(A, page(A, 1))
    lane.wait(1_000)
    assert sequences_in(lane.committed()) == [1]


def test_the_shard_that_has_been_due_for_the_longest_is_read_first() -> None:
    lane = claim(
        A, B, C, options=LaneOptions(replace(POLICY, page_bytes=1_000), buffer_bytes=1_000, pacing=Pacing(50, 50))
    )
    order = []
    for _ in range(9):
        lane.wait(100)
        (shard,) = lane.reads
        order.append(shard)
        lane.read(shard, page(shard))
        if lane.is_committing():
            lane.committed()
    assert order[:3] == order[3:6] == order[6:]
    assert set(order) == {A, B, C}


def test_a_quiet_shard_writes_its_first_checkpoint_and_no_other() -> None:
    lane = claim(A)
    lane.read(A, page(A))
    lane.wait(1_000)
    begun = checkpoints_in(lane.committed())[A]
    assert begun is not None
    assert (begun.state, begun.sequence) == ("open", None)
    for _ in range(5):
        lane.read(A, page(A))
        lane.wait(1_000)
    assert not lane.is_committing()
    assert not lane.lane.commit_buffer.has_waiting


def test_a_shard_without_changes_says_now_and_then_that_it_is_still_read() -> None:
    lane = claim(A)
    lane.read(A, page(A))
    lane.wait(1_000)
    lane.committed()
    lane.now_ms += DAY_MS // 4 + 1
    lane.fail(A, ReadFailure.UNAVAILABLE)
    lane.wait(1_000)
    lane.read(A, page(A))
    lane.wait(1_000)
    assert not lane.is_committing(), "two empty pages may come in the middle of what is left"
    lane.read(A, page(A))
    lane.wait(1_000)
    said = checkpoints_in(lane.committed())[A]
    assert said is not None
    assert said.at_ms > NOW_MS + DAY_MS // 4


def test_a_checkpoint_says_until_when_its_shard_was_surely_open() -> None:
    """A change, and three empty pages in a row, prove it; one empty page may come in the middle of a closed shard."""
    lane = claim(A)
    lane.now_ms += DAY_MS // 2
    lane.read(A, page(A, 1))
    lane.wait(1_000)
    assert open_ms(lane.committed()) == NOW_MS, "its change is as old"
    for _ in range(3):
        lane.read(A, page(A))
        lane.wait(1_000)
    asked_ms = lane.lane.shard_states[A].open_ms
    assert asked_ms > NOW_MS + DAY_MS // 2
    lane.now_ms += DAY_MS // 3
    lane.read(A, page(A, end=True))
    lane.wait(1_000)
    assert open_ms(lane.committed()) == asked_ms


def open_ms(commit: Commit) -> int | None:
    said = checkpoints_in(commit)[A]
    assert said is not None
    return said.open_ms


def test_an_empty_page_at_the_end_of_a_shard_commits_its_end() -> None:
    lane = LaneUnderTest(1)
    lane.publish(A, lineage())
    lane.publish(A, checkpoint("open", 5))
    lane.take()
    lane.read(A, page(A, end=True))
    lane.wait(100)
    ended = checkpoints_in(lane.committed())[A]
    assert ended is not None
    assert (ended.state, ended.sequence) == ("ended", "5")


def test_a_shard_closed_before_start_latest_is_ended_without_a_read_and_its_child_follows() -> None:
    lane = LaneUnderTest(1)
    lane.publish(A, lineage(start="END", initial=True))
    lane.publish(B, lineage(A, start="LATEST", initial=True))
    lane.take()
    assert lane.reads == {}
    lane.wait(100)
    ended = checkpoints_in(lane.committed())[A]
    assert ended is not None
    assert ended.state == "ended"
    assert lane.reads[B].position == Position("LATEST")


def test_a_checkpoint_says_when_its_page_was_asked_for_not_when_it_was_committed() -> None:
    lane = claim(A)
    asked_ms = lane.now_ms
    lane.now_ms += 5_000
    lane.read(A, page(A))
    lane.now_ms += DAY_MS
    lane.handle(Tick())
    said = checkpoints_in(lane.committed())[A]
    assert said is not None
    assert said.at_ms == asked_ms


def test_a_shard_that_is_ended_unread_says_when_it_was_closed_at_the_latest() -> None:
    lane = LaneUnderTest(1)
    lane.publish(A, lineage(start="END", initial=True, seen_ms=NOW_MS - DAY_MS))
    lane.take()
    lane.wait(100)
    ended = checkpoints_in(lane.committed())[A]
    assert ended is not None
    assert ended.at_ms == NOW_MS - DAY_MS


def test_the_lane_sleeps_when_nothing_is_due() -> None:
    lane = claim(A)
    lane.read(A, page(A, 1, end=True))
    lane.wait(100)
    lane.committed()
    assert lane.lane.wake_at_ms is None


# Records that stop their shard


@pytest.mark.parametrize("end", [False, True])
def test_a_record_that_may_not_pass_stops_its_shard_after_what_came_before_it(end: bool) -> None:
    lane = claim(A, B, options=LaneOptions(POLICY, batch_changes=1))
    lane.publish(C, lineage(A))
    lane.read(A, page(A, 1, end=end, stop="number out of range (sequence number 2)"))
    commit = lane.committed()
    assert sequences_in(commit) == [1]
    stopped = checkpoints_in(commit)[A]
    assert stopped is not None
    assert stopped == msgspec.structs.replace(
        checkpoint("failed", 1, open_ms=NOW_MS), detail="number out of range (sequence number 2)", at_ms=stopped.at_ms
    )
    lane.wait(60_000)
    assert not lane.is_committing(), "nothing says that the shard ended"
    assert lane.phase(A) is Phase.FAILED
    assert lane.phase(C) is Phase.WAITING
    assert B in lane.reads, "the others go on"
    assert [notice.shard for notice in lane.told(NoticeKind.SHARD_FAILED)] == [A]


def test_a_stopped_shard_is_tried_again_when_the_lane_is_taken_again() -> None:
    lane = claim(A)
    lane.read(A, page(A, 1, stop="no"))
    lane.wait(100)
    lane.committed()
    lane.lose()
    lane.take()
    assert lane.reads[A].position == Position("AFTER_SEQUENCE_NUMBER", "1")
    lane.read(A, page(A, 2))
    lane.wait(100)
    assert sequences_in(lane.committed()) == [2]


def test_a_shard_is_named_with_its_table_and_the_rest_of_the_pipeline_is_another_lanes() -> None:
    lane = claim(A)
    assert lane.told(NoticeKind.SHARD_BEGUN)[0].table == TABLE
    assert LANE_COUNT > 1
    assert ELSEWHERE not in lane.lane.shard_states


def test_a_page_of_which_all_is_dropped_is_committed_as_any_other() -> None:
    lane = claim(A)
    lane.read(A, page(A, 1))
    lane.wait(100)
    lane.committed()
    for first, last in ((2, 3), (4, 5)):
        lane.wait(100)
        lane.read(A, page(A, first, last, drops=True))
        lane.wait(100)
        written = checkpoints_in(lane.committed())[A]
        assert written is not None
        assert (written.state, written.sequence) == ("open", str(last))


# A snapshot waits


def test_a_shard_that_a_snapshot_waits_for_says_how_far_it_is_only_after_what_a_restart_would_still_show() -> None:
    lane = LaneUnderTest(1)
    snapshot = SnapshotRecord(id="s", source="scan", reason="initial", segments=1, at_ms=NOW_MS)
    lane.checkpoint_state.apply(0, SnapshotKey(TABLE), snapshot)
    lane.publish(A, lineage(start="LATEST", initial=True))
    lane.take()
    lane.read(A, page(A))
    lane.wait(1_000)
    since_start = Position("TRIM_HORIZON", since_ms=NOW_MS - POLICY.clock_skew_ms)
    assert (lane.reads[A].position, lane.reads[A].iterator) == (since_start, None)
    first_ms = lane.now_ms
    for _ in range(POLICY.caught_up_reads):
        lane.read(A, page(A))
        lane.wait(1_000)
        assert lane.reads[A].iterator is not None
    while (committed := checkpoints_in(lane.committed())[A]) is None or committed.until_ms is None:
        lane.read(A, page(A))
        lane.wait(1_000)
    assert committed.until_ms >= first_ms - 1_000
