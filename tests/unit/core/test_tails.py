"""A shard that continues others begins with what they published within the window."""

from __future__ import annotations

import itertools
from typing import Any

from msgspec.structs import replace

from support.checkpoints import checkpoint, lineage, view_of
from support.lanes import NOW_MS, LaneUnderTest, checkpoints_in, page, shards_of_lane
from support.lanes import checkpoint as checkpoint_of_lane
from support.lanes import lineage as lineage_of_lane
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.lane_options import LaneOptions
from tailrace.core.shard import ListedShard, Position, ShardRef, Tail
from tailrace.core.tails import listed_tails, tails_of_ancestors
from tailrace.sources.dynamodb.policy import POLICY

GRANDPARENT, LEFT, RIGHT, CHILD = (ShardRef("arn:stream/1", name) for name in ("grandparent", "left", "right", "child"))
WINDOW_MS = 600
WINDOWED = replace(POLICY, window_ms=WINDOW_MS)
A, B = itertools.islice(shards_of_lane(1), 2)


def family(**said: dict[str, Any]) -> CheckpointState:
    """The child of a merge of two shards, of which the left one has a parent of its own."""
    found = view_of(1, lineage(GRANDPARENT, 1), lineage(LEFT, 1, parents=(GRANDPARENT,)), lineage(RIGHT, 1))
    checkpoints = [checkpoint(ShardRef(CHILD.stream, name), 1, **each) for name, each in said.items()]
    for write in (lineage(CHILD, 1, parents=(LEFT, RIGHT)), *checkpoints):
        found.apply(write.partition, write.key, write.record)
    return found


def ended(arrived_ms: int | None, window_from: str | None = None) -> dict[str, Any]:
    return {"state": "ended", "sequence": "9", "arrived_ms": arrived_ms, "window_from": window_from}


def test_all_ancestors_within_the_window_count_the_oldest_first() -> None:
    found = family(grandparent=ended(1_000, "3"), left=ended(1_200, "5"), right=ended(1_500))
    assert tails_of_ancestors(found, CHILD, WINDOW_MS) == (Tail(GRANDPARENT, "3"), Tail(RIGHT, None), Tail(LEFT, "5"))


def test_what_arrived_longer_ago_than_the_window_does_not_count() -> None:
    found = family(grandparent=ended(899), left=ended(900, "5"), right=ended(1_500, "7"))
    assert tails_of_ancestors(found, CHILD, WINDOW_MS) == (Tail(RIGHT, "7"), Tail(LEFT, "5"))


def test_the_window_reaches_through_a_parent_that_never_had_a_change() -> None:
    found = family(grandparent=ended(1_000, "3"), left=ended(None), right=ended(None))
    assert tails_of_ancestors(found, CHILD, WINDOW_MS) == (Tail(GRANDPARENT, "3"),)


def test_a_child_that_has_changes_of_its_own_counts_from_the_last() -> None:
    open_child = {"state": "open", "sequence": "20", "arrived_ms": 1_700, "window_from": "11"}
    found = family(grandparent=ended(1_000), left=ended(1_099), right=ended(1_100, "7"), child=open_child)
    assert tails_of_ancestors(found, CHILD, WINDOW_MS) == (Tail(RIGHT, "7"),)


def test_of_a_child_that_lambda_began_the_parents_count_although_no_end_is_committed() -> None:
    published = {"state": "open", "sequence": "9", "arrived_ms": 1_500, "window_from": "7"}
    found = family(grandparent=published, left=published, child={**published, "arrived_ms": 1_700})
    assert tails_of_ancestors(found, CHILD, WINDOW_MS) == (Tail(GRANDPARENT, "7"), Tail(LEFT, "7"))
    waiting = family(left=published)
    assert tails_of_ancestors(waiting, CHILD, WINDOW_MS) == ()


def test_the_tails_of_a_listing_begin_at_a_time_the_oldest_ancestor_first() -> None:
    listed = [
        ListedShard("child", ("left", "right")),
        ListedShard("left", ("grandparent",), closed=True),
        ListedShard("right", ("trimmed",), closed=True),
        ListedShard("grandparent", (), closed=True),
        ListedShard("other"),
    ]
    tails = listed_tails(listed, CHILD, 1_000)
    assert tails == tuple(Tail(shard, None, 1_000) for shard in (GRANDPARENT, RIGHT, LEFT))
    assert listed_tails([], CHILD, 1_000) == ()


def test_a_lane_reads_from_a_position_behind_the_tails() -> None:
    lane = LaneUnderTest(1, LaneOptions(WINDOWED))
    lane.publish(A, lineage_of_lane())
    lane.publish(A, replace(checkpoint_of_lane("ended", 6), window_from="4", arrived_ms=900))
    lane.publish(B, lineage_of_lane(A))
    lane.publish(B, replace(checkpoint_of_lane("open", 9), window_from="8", arrived_ms=1_000))
    lane.take()
    assert lane.reads[B].position == Position("AFTER_SEQUENCE_NUMBER", "9", tails=(Tail(A, "4"), Tail(B, "8")))


def test_a_source_that_never_repeats_has_no_tails() -> None:
    lane = LaneUnderTest(1)
    lane.publish(A, lineage_of_lane())
    lane.publish(A, checkpoint_of_lane("open", 6))
    lane.take()
    assert lane.reads[A].position == Position("AFTER_SEQUENCE_NUMBER", "6")


def test_a_checkpoint_says_where_the_window_begins() -> None:
    lane = LaneUnderTest(1, LaneOptions(WINDOWED))
    lane.publish(A, lineage_of_lane())
    lane.take()
    lane.read(A, replace(page(A, 5, 6), window_from="2", arrived_ms=1_234))
    lane.wait(1_000)
    written = checkpoints_in(lane.committed())[A]
    assert written is not None
    assert (written.window_from, written.arrived_ms) == ("2", 1_234)


def test_an_empty_page_with_more_to_read_behind_it_is_no_proof_of_the_end() -> None:
    lane = LaneUnderTest(1)
    lane.publish(A, lineage_of_lane())
    lane.take()
    for _ in range(POLICY.caught_up_reads + 1):
        lane.read(A, replace(page(A), full=True))
    assert lane.lane.shard_states[A].until_ms is None
    assert lane.lane.published_until_ms(A) is None


def test_a_shard_waits_a_while_for_ancestors_that_another_partition_has_not_shown_yet() -> None:
    begun = replace(checkpoint_of_lane("open", 9), window_from="8", arrived_ms=NOW_MS)
    for shows in (True, False):
        lane = LaneUnderTest(1, LaneOptions(WINDOWED))
        lane.publish(B, replace(lineage_of_lane(A), listed_ms=NOW_MS))
        lane.publish(B, begun)
        lane.take()
        assert B not in lane.reads
        lane.wait(20_000)
        assert B not in lane.reads
        if shows:
            lane.publish(A, lineage_of_lane())
            lane.publish(A, replace(checkpoint_of_lane("ended", 6), window_from="4", arrived_ms=NOW_MS))
        else:
            lane.wait(10_000)
        ancestors = (Tail(A, "4"),) if shows else ()  # what does not show by then was forgotten
        assert lane.reads[B].position == Position("AFTER_SEQUENCE_NUMBER", "9", tails=(*ancestors, Tail(B, "8")))


def test_ancestors_are_not_waited_for_when_the_window_or_the_stream_cannot_have_their_changes() -> None:
    hour_ms = 3_600_000
    for arrived_ms, listed_ms in (
        (NOW_MS, NOW_MS - hour_ms),  # the window begins after they ended
        (NOW_MS - 30 * hour_ms, NOW_MS - 30 * hour_ms),  # they are forgotten by now
    ):
        lane = LaneUnderTest(1, LaneOptions(WINDOWED))
        lane.publish(B, replace(lineage_of_lane(A), listed_ms=listed_ms))
        lane.publish(B, replace(checkpoint_of_lane("open", 9), window_from="8", arrived_ms=arrived_ms))
        lane.take()
        assert lane.reads[B].position == Position("AFTER_SEQUENCE_NUMBER", "9", tails=(Tail(B, "8"),))
