"""Accepted gaps: the shards go on, and what the acceptance covers, in its own shard and in others."""

from __future__ import annotations

import itertools

import pytest
from msgspec.structs import replace

from support.gap_lanes import A, B, C, claim, find_nothing, gap_of
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
from tailrace.core.lane_messages import CheckpointStateChanged, NoticeKind, Tick
from tailrace.core.lane_options import LaneOptions
from tailrace.core.ports import ReadFailure
from tailrace.core.shard import Position, ShardRef
from tailrace.core.shard_state import Phase
from tailrace.sources.dynamodb.policy import POLICY


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
