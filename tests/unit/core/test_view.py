"""The view: the checkpoint topic folded into lineage, positions, gaps and owners."""

from __future__ import annotations

import itertools

import msgspec

from support.lanes import LANE_COUNT, NOW_MS, STREAM, TABLE, checkpoint, lineage, shards_of_lane
from tailrace.core.checkpoint import (
    AcceptKey,
    Checkpoint,
    CheckpointKey,
    GapAccepted,
    ListerKey,
    PipelineKey,
    PipelineRecord,
    ShardKey,
    ShardRecord,
    TableKey,
    TableRecord,
    Taken,
    TakenKey,
    TopicKey,
    TopicRecord,
    Write,
)
from tailrace.core.shard import ShardRef, lane_of
from tailrace.core.view import View

A, B, C = itertools.islice(shards_of_lane(1), 3)
TABLE_RECORD = TableRecord(stream_arn=STREAM, view_type="NEW_IMAGE", state="streaming", at_ms=NOW_MS)
TAKEN = Taken(owner="w", nonce="w/1/1", at_ms=NOW_MS)


def view_of(*records: tuple[ShardRef, ShardRecord | Checkpoint | None]) -> View:
    view = View(LANE_COUNT)
    for shard, record in records:
        apply(view, shard, record)
    return view


def apply(view: View, shard: ShardRef, record: ShardRecord | Checkpoint | None) -> bool:
    """Apply a shard's record; tells whether the view says that something changed."""
    key: TopicKey = CheckpointKey(*shard) if isinstance(record, Checkpoint) else ShardKey(*shard)
    return changes(view, lane_of(shard, LANE_COUNT), key, record)


def changes(view: View, partition: int, key: TopicKey, record: TopicRecord | None) -> bool:
    before = view.version
    view.apply(partition, key, record)
    return view.version != before


def accept(view: View, *gaps: tuple[ShardRef, int]) -> None:
    view.apply(0, AcceptKey(TABLE), GapAccepted(shards=gaps, stream_arn=None, at_ms=NOW_MS))


def test_lineage_is_known_by_lane_and_by_parent() -> None:
    view = view_of((A, lineage()), (B, lineage(A)), (C, lineage(A)))
    assert view.shards_of(1) == {A, B, C}
    assert view.shards_of(2) == set()
    assert view.children_of(A) == {B, C}
    assert view.streams_of(TABLE) == {STREAM}
    apply(view, B, None)
    assert view.shards_of(1) == {A, C}
    assert view.children_of(A) == {C}


def test_a_shard_may_begin_when_all_its_parents_ends_are_committed() -> None:
    view = view_of((A, lineage()), (B, lineage()), (C, lineage(A, B)))
    assert view.may_begin(A)
    assert not view.may_begin(C)
    apply(view, A, checkpoint("ended", 1))
    apply(view, B, checkpoint("open", 1))
    assert not view.may_begin(C)
    apply(view, B, checkpoint("ended", 2))
    assert view.may_begin(C)


def test_a_parent_that_is_not_seen_yet_is_waited_for() -> None:
    """Partitions are followed independently: the parent's own lineage may still be on its way."""
    assert not view_of((C, lineage(A))).may_begin(C)


def test_a_shard_that_has_begun_may_go_on_when_its_parents_are_forgotten() -> None:
    view = view_of((C, lineage(A)), (C, checkpoint("open", 3)))
    assert view.may_begin(C)


def test_checkpoints_without_lineage_are_given_too() -> None:
    view = view_of((A, checkpoint("ended", 1)))
    assert view.checkpoints_of(1).keys() == {A}
    view.apply(1, CheckpointKey(*A), None)
    assert view.checkpoints_of(1) == {}
    assert not view.ended(A)


def test_a_gap_stops_its_table_until_that_very_gap_is_accepted() -> None:
    gap = checkpoint("gap", 7, at_ms=NOW_MS)
    view = view_of((A, gap))
    assert view.is_stopped(TABLE)
    assert not view.is_stopped("customers")
    accept(view, (A, NOW_MS - 1), (B, NOW_MS))
    assert view.is_stopped(TABLE)
    accept(view, (A, NOW_MS))
    assert not view.is_stopped(TABLE)
    assert view.is_accepted(A, gap)
    later = msgspec.structs.replace(gap, at_ms=NOW_MS + 1)
    apply(view, A, later)
    assert view.is_stopped(TABLE)
    assert not view.is_accepted(A, later)


def test_a_table_is_stopped_while_one_of_its_gaps_is_not_accepted() -> None:
    view = view_of((A, checkpoint("gap", 1)), (B, checkpoint("gap", 2)))
    accept(view, (A, NOW_MS))
    assert view.is_stopped(TABLE)
    accept(view, (A, NOW_MS), (B, NOW_MS))
    assert not view.is_stopped(TABLE)


def test_an_acceptance_is_taken_back_by_its_tombstone() -> None:
    view = view_of((A, checkpoint("gap", 1)))
    accept(view, (A, NOW_MS))
    view.apply(0, AcceptKey(TABLE), None)
    assert view.is_stopped(TABLE)


def test_a_gap_is_over_when_the_shard_goes_on_or_is_forgotten() -> None:
    view = view_of((A, checkpoint("gap", 1)))
    apply(view, A, checkpoint("open", 1))
    assert not view.is_stopped(TABLE)
    apply(view, A, checkpoint("gap", 1))
    view.apply(1, CheckpointKey(*A), None)
    assert not view.is_stopped(TABLE)


def test_what_is_open_is_never_accepted() -> None:
    view = view_of((A, checkpoint("open", 7)))
    accept(view, (A, NOW_MS))
    assert not view.is_accepted(A, view.checkpoints[A])
    assert not view.is_accepted(B, None)


def test_the_version_grows_with_all_that_may_change_what_is_done_and_not_with_progress() -> None:
    view = View(LANE_COUNT)
    assert apply(view, A, lineage())
    assert apply(view, A, checkpoint("open"))
    assert not apply(view, A, checkpoint("open", 1))
    assert apply(view, A, checkpoint("gap", 1))
    assert apply(view, A, checkpoint("gap", 2, at_ms=NOW_MS + 1)), "a gap after an accepted one is news"
    assert apply(view, A, checkpoint("open", 2))
    assert apply(view, A, checkpoint("ended", 3))
    assert changes(view, 1, CheckpointKey(*A), None)
    assert apply(view, A, None)
    assert changes(view, 1, TakenKey(), TAKEN)
    assert changes(view, 1, ListerKey(), TAKEN)
    assert changes(view, 0, AcceptKey(TABLE), GapAccepted(shards=(), stream_arn=None, at_ms=NOW_MS))


def test_owners_are_known_by_lane() -> None:
    view = View(LANE_COUNT)
    view.apply(1, TakenKey(), TAKEN)
    view.apply(2, ListerKey(), TAKEN)
    assert view.takers == {1: TAKEN}
    assert view.listers == {2: TAKEN}


def test_the_view_tells_whether_it_shows_what_the_lister_wrote() -> None:
    writes: list[Write] = [
        Write(1, ShardKey(*A), lineage()),
        Write(0, TableKey(TABLE), TABLE_RECORD),
        Write(0, PipelineKey(), PipelineRecord(lanes=LANE_COUNT, created_ms=NOW_MS)),
    ]
    view = View(LANE_COUNT)
    assert [view.shows(write) for write in writes] == [False] * 3
    for write in writes:
        view.apply(write.partition, write.key, write.record)
    assert [view.shows(write) for write in writes] == [True] * 3
    assert view.shows(Write(1, ShardKey(*B), None))
    assert not view.shows(Write(1, ShardKey(*A), None))
    view.apply(0, TableKey(TABLE), None)
    assert view.tables == {}


# Relanes


def test_what_a_shard_left_in_its_lane_before_a_relane_does_not_count() -> None:
    view = view_of((A, lineage()), (A, checkpoint("open", 9)))
    stale = 3
    assert not changes(view, stale, CheckpointKey(*A), checkpoint("open", 5))
    assert not changes(view, stale, ShardKey(*A), None)
    assert not changes(view, stale, CheckpointKey(*A), None)
    assert view.checkpoints[A].sequence == "9"
    assert A in view.shards


def test_a_relane_is_seen_in_any_lane_that_it_has_marked() -> None:
    view = View(LANE_COUNT)
    view.apply(0, PipelineKey(), PipelineRecord(lanes=LANE_COUNT, created_ms=NOW_MS))
    before = view.is_relaned
    view.apply(2, PipelineKey(), PipelineRecord(lanes=LANE_COUNT + 1, created_ms=NOW_MS))
    assert (before, view.is_relaned) == (False, True)
    assert view.pipeline is not None
    assert view.pipeline.lanes == LANE_COUNT


def test_what_lies_in_another_partition_than_its_own_does_not_count() -> None:
    """Nothing orders it with what its own partition says."""
    view = View(LANE_COUNT)
    assert not changes(view, 1, TableKey(TABLE), TABLE_RECORD)
    assert not changes(view, 1, AcceptKey(TABLE), GapAccepted(shards=((A, 5),), stream_arn=None, at_ms=NOW_MS))
    assert not changes(view, 2, ShardKey(*A), lineage())
    assert not changes(view, 2, CheckpointKey(*A), checkpoint("open", 1))
    assert (view.tables, view.accepted, view.shards, view.checkpoints) == ({}, {}, {}, {})


def concerned(view: View, shard: ShardRef, record: ShardRecord | Checkpoint | None) -> list[int]:
    """Apply a shard's record and give the lanes that it concerns."""
    before = [view.versions_of(lane) for lane in range(LANE_COUNT)]
    apply(view, shard, record)
    return [lane for lane in range(LANE_COUNT) if view.versions_of(lane) != before[lane]]


def test_a_record_concerns_its_own_lane_and_a_shards_new_state_those_of_its_children() -> None:
    child = next(shards_of_lane(3))
    view = view_of((A, lineage()), (child, lineage(A)))
    assert concerned(view, B, lineage()) == [1]
    assert concerned(view, A, checkpoint("open", 1)) == [1, 3]
    assert concerned(view, A, checkpoint("open", 2)) == []
    assert concerned(view, A, checkpoint("ended", 3)) == [1, 3]
    assert concerned(view, child, None) == [3]


def test_what_stops_a_table_or_lets_it_go_on_concerns_every_lane() -> None:
    view = view_of((A, lineage()))
    assert concerned(view, A, checkpoint("gap", 1)) == list(range(LANE_COUNT))
    assert concerned(view, A, checkpoint("open", 2)) == list(range(LANE_COUNT))
    left_out = msgspec.structs.replace(TABLE_RECORD, state="left out")
    stops = [changes(view, 0, TableKey(TABLE), record) for record in (TABLE_RECORD, left_out, TABLE_RECORD, None)]
    assert stops == [False, True, True, False]


def test_shards_are_known_by_stream_and_streams_by_table() -> None:
    later = ShardRef(STREAM.replace("2024", "2025"), A.shard_id)
    view = view_of((A, lineage()), (B, lineage(A)), (later, lineage()))
    assert view.shards_of_stream(STREAM) == {A, B}
    assert view.streams_of(TABLE) == {STREAM, later.stream_arn}
    apply(view, later, None)
    assert view.shards_of_stream(later.stream_arn) == set()
    assert view.streams_of(TABLE) == {STREAM}
    assert view.streams_of("users") == set()
