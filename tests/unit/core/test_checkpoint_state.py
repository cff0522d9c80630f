"""The checkpoint state: the checkpoint topic folded into lineage, positions, gaps and owners."""

from __future__ import annotations

import itertools

import msgspec

from support.lanes import LANE_COUNT, NOW_MS, STREAM, TABLE, checkpoint, lineage, shards_of_lane
from tailrace.core.checkpoint import (
    AcceptKey,
    Checkpoint,
    CheckpointKey,
    Claim,
    ClaimKey,
    EnumeratorKey,
    GapAccepted,
    IgnoredKey,
    IgnoredRecord,
    MethodKey,
    MethodRecord,
    PipelineKey,
    PipelineRecord,
    ShardKey,
    ShardRecord,
    TableKey,
    TableRecord,
    TopicKey,
    TopicRecord,
    Write,
)
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.shard import ShardRef, lane_of

A, B, C = itertools.islice(shards_of_lane(1), 3)
TABLE_RECORD = TableRecord(stream_arn=STREAM, view_type="NEW_IMAGE", state="streaming", at_ms=NOW_MS)
TAKEN = Claim(owner="w", nonce="w/1/1", at_ms=NOW_MS)


def view_of(*records: tuple[ShardRef, ShardRecord | Checkpoint | None]) -> CheckpointState:
    checkpoint_state = CheckpointState(LANE_COUNT)
    for shard, record in records:
        apply(checkpoint_state, shard, record)
    return checkpoint_state


def apply(checkpoint_state: CheckpointState, shard: ShardRef, record: ShardRecord | Checkpoint | None) -> bool:
    """Apply a shard's record; tells whether the checkpoint state says that something changed."""
    key: TopicKey = CheckpointKey(*shard) if isinstance(record, Checkpoint) else ShardKey(*shard)
    return changes(checkpoint_state, lane_of(shard, LANE_COUNT), key, record)


def changes(checkpoint_state: CheckpointState, partition: int, key: TopicKey, record: TopicRecord | None) -> bool:
    before = checkpoint_state.version
    checkpoint_state.apply(partition, key, record)
    return checkpoint_state.version != before


def accept(checkpoint_state: CheckpointState, *gaps: tuple[ShardRef, int]) -> None:
    checkpoint_state.apply(0, AcceptKey(TABLE), GapAccepted(shards=gaps, stream_arn=None, at_ms=NOW_MS))


def test_what_this_version_may_ignore_changes_nothing() -> None:
    checkpoint_state = view_of((A, lineage()))
    for key in (IgnoredKey(b'["?note"]', None), IgnoredKey(b'["?window",["arn","a"]]', A)):
        for partition in range(LANE_COUNT):
            assert not changes(checkpoint_state, partition, key, IgnoredRecord(b"{}"))
            assert not changes(checkpoint_state, partition, key, None)
    assert checkpoint_state.shards == {A: lineage()}


def test_lineage_is_known_by_lane_and_by_parent() -> None:
    checkpoint_state = view_of((A, lineage()), (B, lineage(A)), (C, lineage(A)))
    assert checkpoint_state.shards_of(1) == {A, B, C}
    assert checkpoint_state.shards_of(2) == set()
    assert checkpoint_state.children_of(A) == {B, C}
    assert checkpoint_state.streams_of(TABLE) == {STREAM}
    apply(checkpoint_state, B, None)
    assert checkpoint_state.shards_of(1) == {A, C}
    assert checkpoint_state.children_of(A) == {C}


def test_a_shard_may_begin_when_all_its_parents_ends_are_committed() -> None:
    checkpoint_state = view_of((A, lineage()), (B, lineage()), (C, lineage(A, B)))
    assert checkpoint_state.may_begin(A)
    assert not checkpoint_state.may_begin(C)
    apply(checkpoint_state, A, checkpoint("ended", 1))
    apply(checkpoint_state, B, checkpoint("open", 1))
    assert not checkpoint_state.may_begin(C)
    apply(checkpoint_state, B, checkpoint("ended", 2))
    assert checkpoint_state.may_begin(C)


def test_a_parent_that_is_not_seen_yet_is_waited_for() -> None:
    """Partitions are followed independently: the parent's own lineage may still be on its way."""
    assert not view_of((C, lineage(A))).may_begin(C)


def test_a_shard_that_has_begun_may_go_on_when_its_parents_are_forgotten() -> None:
    checkpoint_state = view_of((C, lineage(A)), (C, checkpoint("open", 3)))
    assert checkpoint_state.may_begin(C)


def test_checkpoints_without_lineage_are_given_too() -> None:
    checkpoint_state = view_of((A, checkpoint("ended", 1)))
    assert checkpoint_state.checkpoints_of(1).keys() == {A}
    checkpoint_state.apply(1, CheckpointKey(*A), None)
    assert checkpoint_state.checkpoints_of(1) == {}
    assert not checkpoint_state.ended(A)


def test_a_gap_stops_its_table_until_that_very_gap_is_accepted() -> None:
    gap = checkpoint("gap", 7, at_ms=NOW_MS)
    checkpoint_state = view_of((A, gap))
    assert checkpoint_state.is_stopped(TABLE)
    assert not checkpoint_state.is_stopped("customers")
    accept(checkpoint_state, (A, NOW_MS - 1), (B, NOW_MS))
    assert checkpoint_state.is_stopped(TABLE)
    accept(checkpoint_state, (A, NOW_MS))
    assert not checkpoint_state.is_stopped(TABLE)
    assert checkpoint_state.is_accepted(A, gap)
    later = msgspec.structs.replace(gap, at_ms=NOW_MS + 1)
    apply(checkpoint_state, A, later)
    assert checkpoint_state.is_stopped(TABLE)
    assert not checkpoint_state.is_accepted(A, later)


def test_a_table_is_stopped_while_one_of_its_gaps_is_not_accepted() -> None:
    checkpoint_state = view_of((A, checkpoint("gap", 1)), (B, checkpoint("gap", 2)))
    accept(checkpoint_state, (A, NOW_MS))
    assert checkpoint_state.is_stopped(TABLE)
    accept(checkpoint_state, (A, NOW_MS), (B, NOW_MS))
    assert not checkpoint_state.is_stopped(TABLE)


def test_an_acceptance_is_taken_back_by_its_tombstone() -> None:
    checkpoint_state = view_of((A, checkpoint("gap", 1)))
    accept(checkpoint_state, (A, NOW_MS))
    checkpoint_state.apply(0, AcceptKey(TABLE), None)
    assert checkpoint_state.is_stopped(TABLE)


def test_a_gap_is_over_when_the_shard_goes_on_or_is_forgotten() -> None:
    checkpoint_state = view_of((A, checkpoint("gap", 1)))
    apply(checkpoint_state, A, checkpoint("open", 1))
    assert not checkpoint_state.is_stopped(TABLE)
    apply(checkpoint_state, A, checkpoint("gap", 1))
    checkpoint_state.apply(1, CheckpointKey(*A), None)
    assert not checkpoint_state.is_stopped(TABLE)


def test_what_is_open_is_never_accepted() -> None:
    checkpoint_state = view_of((A, checkpoint("open", 7)))
    accept(checkpoint_state, (A, NOW_MS))
    assert not checkpoint_state.is_accepted(A, checkpoint_state.checkpoints[A])
    assert not checkpoint_state.is_accepted(B, None)


def test_the_version_grows_with_all_that_may_change_what_is_done_and_not_with_progress() -> None:
    checkpoint_state = CheckpointState(LANE_COUNT)
    assert apply(checkpoint_state, A, lineage())
    assert apply(checkpoint_state, A, checkpoint("open"))
    assert not apply(checkpoint_state, A, checkpoint("open", 1))
    assert apply(checkpoint_state, A, checkpoint("gap", 1))
    assert apply(checkpoint_state, A, checkpoint("gap", 2, at_ms=NOW_MS + 1)), "a gap after an accepted one is news"
    assert apply(checkpoint_state, A, checkpoint("open", 2))
    assert apply(checkpoint_state, A, checkpoint("ended", 3))
    assert changes(checkpoint_state, 1, CheckpointKey(*A), None)
    assert apply(checkpoint_state, A, None)
    assert changes(checkpoint_state, 1, ClaimKey(), TAKEN)
    assert changes(checkpoint_state, 1, EnumeratorKey(), TAKEN)
    assert changes(checkpoint_state, 0, AcceptKey(TABLE), GapAccepted(shards=(), stream_arn=None, at_ms=NOW_MS))


def test_owners_are_known_by_lane() -> None:
    checkpoint_state = CheckpointState(LANE_COUNT)
    checkpoint_state.apply(1, ClaimKey(), TAKEN)
    checkpoint_state.apply(2, EnumeratorKey(), TAKEN)
    assert checkpoint_state.claims == {1: TAKEN}
    assert checkpoint_state.enumerators == {2: TAKEN}


def test_the_view_tells_whether_it_shows_what_the_enumerator_wrote() -> None:
    writes: list[Write] = [
        Write(1, ShardKey(*A), lineage()),
        Write(0, TableKey(TABLE), TABLE_RECORD),
        Write(0, PipelineKey(), PipelineRecord(lanes=LANE_COUNT, created_ms=NOW_MS)),
    ]
    checkpoint_state = CheckpointState(LANE_COUNT)
    assert [checkpoint_state.shows(write) for write in writes] == [False] * 3
    for write in writes:
        checkpoint_state.apply(write.partition, write.key, write.record)
    assert [checkpoint_state.shows(write) for write in writes] == [True] * 3
    assert checkpoint_state.shows(Write(1, ShardKey(*B), None))
    assert not checkpoint_state.shows(Write(1, ShardKey(*A), None))
    checkpoint_state.apply(0, TableKey(TABLE), None)
    assert checkpoint_state.tables == {}


# Rescales


def test_what_a_shard_left_in_its_lane_before_a_rescale_does_not_count() -> None:
    checkpoint_state = view_of((A, lineage()), (A, checkpoint("open", 9)))
    stale = 3
    assert not changes(checkpoint_state, stale, CheckpointKey(*A), checkpoint("open", 5))
    assert not changes(checkpoint_state, stale, ShardKey(*A), None)
    assert not changes(checkpoint_state, stale, CheckpointKey(*A), None)
    assert checkpoint_state.checkpoints[A].sequence == "9"
    assert A in checkpoint_state.shards


def test_a_rescale_is_seen_in_any_lane_that_it_has_marked() -> None:
    checkpoint_state = CheckpointState(LANE_COUNT)
    checkpoint_state.apply(0, PipelineKey(), PipelineRecord(lanes=LANE_COUNT, created_ms=NOW_MS))
    before = checkpoint_state.is_rescaled
    checkpoint_state.apply(2, PipelineKey(), PipelineRecord(lanes=LANE_COUNT + 1, created_ms=NOW_MS))
    assert (before, checkpoint_state.is_rescaled) == (False, True)
    assert checkpoint_state.pipeline is not None
    assert checkpoint_state.pipeline.lanes == LANE_COUNT


def test_what_lies_in_another_partition_than_its_own_does_not_count() -> None:
    """Nothing orders it with what its own partition says."""
    checkpoint_state = CheckpointState(LANE_COUNT)
    assert not changes(checkpoint_state, 1, TableKey(TABLE), TABLE_RECORD)
    assert not changes(
        checkpoint_state, 1, AcceptKey(TABLE), GapAccepted(shards=((A, 5),), stream_arn=None, at_ms=NOW_MS)
    )
    assert not changes(checkpoint_state, 2, ShardKey(*A), lineage())
    assert not changes(checkpoint_state, 2, CheckpointKey(*A), checkpoint("open", 1))
    assert (
        checkpoint_state.tables,
        checkpoint_state.accepted,
        checkpoint_state.shards,
        checkpoint_state.checkpoints,
    ) == ({}, {}, {}, {})


def concerned(checkpoint_state: CheckpointState, shard: ShardRef, record: ShardRecord | Checkpoint | None) -> list[int]:
    """Apply a shard's record and give the lanes that it concerns."""
    before = [checkpoint_state.versions_of(lane) for lane in range(LANE_COUNT)]
    apply(checkpoint_state, shard, record)
    return [lane for lane in range(LANE_COUNT) if checkpoint_state.versions_of(lane) != before[lane]]


def test_a_record_concerns_its_own_lane_and_a_shards_new_state_those_of_its_children() -> None:
    child = next(shards_of_lane(3))
    checkpoint_state = view_of((A, lineage()), (child, lineage(A)))
    assert concerned(checkpoint_state, B, lineage()) == [1]
    assert concerned(checkpoint_state, A, checkpoint("open", 1)) == [1, 3]
    assert concerned(checkpoint_state, A, checkpoint("open", 2)) == []
    assert concerned(checkpoint_state, A, checkpoint("ended", 3)) == [1, 3]
    assert concerned(checkpoint_state, child, None) == [3]


def test_what_stops_a_table_or_lets_it_go_on_concerns_every_lane() -> None:
    checkpoint_state = view_of((A, lineage()))
    assert concerned(checkpoint_state, A, checkpoint("gap", 1)) == list(range(LANE_COUNT))
    assert concerned(checkpoint_state, A, checkpoint("open", 2)) == list(range(LANE_COUNT))
    left_out = msgspec.structs.replace(TABLE_RECORD, state="left out")
    stops = [
        changes(checkpoint_state, 0, TableKey(TABLE), record) for record in (TABLE_RECORD, left_out, TABLE_RECORD, None)
    ]
    assert stops == [False, True, True, False]


def test_shards_are_known_by_stream_and_streams_by_table() -> None:
    later = ShardRef(STREAM.replace("2024", "2025"), A.shard_id)
    checkpoint_state = view_of((A, lineage()), (B, lineage(A)), (later, lineage()))
    assert checkpoint_state.shards_of_stream(STREAM) == {A, B}
    assert checkpoint_state.streams_of(TABLE) == {STREAM, later.stream}
    apply(checkpoint_state, later, None)
    assert checkpoint_state.shards_of_stream(later.stream) == set()
    assert checkpoint_state.streams_of(TABLE) == {STREAM}
    assert checkpoint_state.streams_of("users") == set()


def test_snapshots_of_tables_that_nobody_lists_can_be_started_when_the_file_names_them() -> None:
    checkpoint_state = view_of((A, checkpoint("open", 1)))
    assert checkpoint_state.snapshot_tables(["users"]) == set()
    checkpoint_state.apply(0, MethodKey(), MethodRecord(method="lambda", nonce="n", at_ms=NOW_MS))
    assert checkpoint_state.snapshot_tables(["users"]) == {TABLE, "users"}
