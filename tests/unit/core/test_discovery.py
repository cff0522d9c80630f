"""What the enumerator makes of listings that are late, torn or shown twice."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import pytest

from support.lanes import DAY_MS, LANE_COUNT, NOW_MS, STREAM, TABLE, checkpoint
from tailrace.core.checkpoint import (
    AcceptKey,
    Checkpoint,
    CheckpointKey,
    Claim,
    GapAccepted,
    ShardClaimKey,
    ShardKey,
    ShardRecord,
    Start,
    TableKey,
    TableRecord,
    Write,
)
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.discovery import Reconciliation, forget_outdated, leave_out, reconcile, reconcile_table, table_write
from tailrace.core.ports import StreamListing, TableStream
from tailrace.core.shard import ListedShard, ShardRef, lane_of
from tailrace.sources.dynamodb.policy import POLICY

NEXT_STREAM = STREAM.replace("2024", "2025")


def ref(name: str, stream: str = STREAM) -> ShardRef:
    return ShardRef(stream, name)


def listed(name: str, *parents: str, closed: bool = False) -> ListedShard:
    return ListedShard(name, parents, closed)


class Pipeline:
    """A checkpoint state, and the enumerator's way of changing it."""

    def __init__(self) -> None:
        self.checkpoint_state = CheckpointState(LANE_COUNT)
        self.now_ms = NOW_MS

    def reconcile(
        self,
        *shards: ListedShard,
        stream: str = STREAM,
        start: Start = "TRIM_HORIZON",
        gone: Collection[str] = (),
        whole: bool = True,
        current: bool = True,
        since_ms: int | None = None,
        retention_ms: int | None = None,
        complete_before_ms: int = 0,
    ) -> Reconciliation:
        return reconcile(
            self.checkpoint_state,
            TABLE,
            StreamListing(stream, NOW_MS, shards, retention_ms),
            whole=whole,
            current=current,
            start=start,
            since_ms=since_ms,
            gone={ref(name, stream) for name in gone},
            complete_before_ms=complete_before_ms,
            now_ms=self.now_ms,
            source=POLICY,
        )

    def list(self, *shards: ListedShard, stream: str = STREAM, **options: object) -> dict[str, ShardRecord | None]:
        """Reconcile, publish, and give the lineage that was published by shard id.

        Lineage that is taken back takes the shard's checkpoint with it, behind it.
        """
        result = self.reconcile(*shards, stream=stream, **options)  # type: ignore[arg-type]  # passed on as they are
        published: dict[str, ShardRecord | None] = {}
        forgotten: list[str] = []
        for write in result.writes:
            assert isinstance(write.key, ShardKey | CheckpointKey)
            assert write.partition == lane_of(ref(write.key.shard_id, stream), LANE_COUNT)
            self.checkpoint_state.apply(write.partition, write.key, write.record)
            if isinstance(write.key, CheckpointKey):
                assert published[write.key.shard_id] is None
                forgotten.append(write.key.shard_id)
                continue
            assert write.record is None or isinstance(write.record, ShardRecord)
            published[write.key.shard_id] = write.record
        assert forgotten == [name for name, record in published.items() if record is None]
        return published

    def commit(self, name: str, record: Checkpoint | None, stream: str = STREAM) -> None:
        self.checkpoint_state.apply(lane_of(ref(name, stream), LANE_COUNT), CheckpointKey(stream, name), record)


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()


def waits_for(record: ShardRecord | None) -> set[str]:
    assert record is not None
    return {parent.shard_id for parent in record.parents}


# The first listing


def test_a_first_listing_starts_every_shard_at_its_beginning_in_order_of_lineage(pipeline: Pipeline) -> None:
    published = pipeline.list(listed("a", closed=True), listed("b", "a"), listed("c", "a"))
    assert {name: waits_for(record) for name, record in published.items()} == {"a": set(), "b": {"a"}, "c": {"a"}}
    assert {(record.start, record.initial, record.seen_ms) for record in published.values() if record} == {
        ("TRIM_HORIZON", True, NOW_MS)
    }


def test_start_latest_reads_leaves_at_their_end_and_nothing_of_what_is_closed(pipeline: Pipeline) -> None:
    published = pipeline.list(
        listed("a", closed=True), listed("b", "a"), listed("c", "a", closed=True), listed("d", "c"), start="LATEST"
    )
    starts = {name: record.start for name, record in published.items() if record}
    assert starts == {"a": "END", "b": "LATEST", "c": "END", "d": "LATEST"}


def test_a_parent_that_a_listing_shows_as_open_is_closed_when_it_has_a_child(pipeline: Pipeline) -> None:
    published = pipeline.list(listed("a"), listed("b", "a"), start="LATEST")
    assert published["a"] is not None
    assert published["a"].start == "END"
    assert waits_for(published["b"]) == {"a"}


@pytest.mark.parametrize("start", ["TRIM_HORIZON", "LATEST"])
def test_a_first_listing_with_a_hole_is_not_used_at_all(pipeline: Pipeline, start: Start) -> None:
    result = pipeline.reconcile(listed("b", "a"), listed("x"), start=start)
    assert result.writes == ()
    assert result.unknown == {ref("a")}
    published = pipeline.list(listed("a", closed=True), listed("b", "a"), listed("x"), start=start)
    assert published.keys() == {"a", "b", "x"}
    assert all(record is not None and record.initial for record in published.values())


def test_a_parent_that_is_surely_gone_counts_as_ended(pipeline: Pipeline) -> None:
    assert pipeline.reconcile(listed("b", "a")).unknown == {ref("a")}
    assert waits_for(pipeline.list(listed("b", "a"), gone=["a"])["b"]) == set()


# Later listings


def test_a_split_is_published_with_its_parent_although_that_is_still_shown_as_open(pipeline: Pipeline) -> None:
    pipeline.list(listed("a"), start="LATEST")
    pipeline.now_ms += 1_000
    published = pipeline.list(listed("a"), listed("b", "a"), listed("c", "a"), start="LATEST")
    assert published.keys() == {"b", "c"}
    for record in published.values():
        assert waits_for(record) == {"a"}
        assert record is not None
        assert (record.start, record.initial, record.seen_ms) == ("TRIM_HORIZON", False, NOW_MS + 1_000)


def test_a_child_that_is_found_late_is_unread_since_its_parent_was_open(pipeline: Pipeline) -> None:
    pipeline.list(listed("a"))
    pipeline.commit("a", checkpoint("ended", at_ms=NOW_MS + DAY_MS, open_ms=NOW_MS + 500))
    pipeline.now_ms += 2 * DAY_MS
    (child,) = pipeline.list(listed("a", closed=True), listed("b", "a")).values()
    assert child is not None
    assert child.seen_ms == NOW_MS + 500


def test_a_child_of_a_shard_that_is_not_read_is_unread_since_the_first_listing(pipeline: Pipeline) -> None:
    pipeline.list(listed("a", closed=True), start="LATEST")
    pipeline.now_ms += 2 * DAY_MS
    (child,) = pipeline.list(listed("a", closed=True), listed("b", "a"), start="LATEST").values()
    assert child is not None
    assert child.seen_ms == NOW_MS


def test_a_shard_whose_parents_nobody_knows_may_be_unread_since_the_first_listing(pipeline: Pipeline) -> None:
    pipeline.list(listed("a"))
    pipeline.now_ms += 2 * DAY_MS
    (overlooked,) = pipeline.list(listed("a"), listed("c", "b"), gone=["b"]).values()
    assert overlooked is not None
    assert overlooked.seen_ms == NOW_MS


def test_a_shard_whose_parents_nobody_knows_is_unread_since_a_known_shard_was_open(pipeline: Pipeline) -> None:
    """The known one was found late itself: when it was first seen it had closed long before."""
    pipeline.list(listed("a"))
    pipeline.commit("a", checkpoint("ended", at_ms=NOW_MS, open_ms=NOW_MS - DAY_MS))
    (overlooked,) = pipeline.list(listed("c", "b"), gone=["b"]).values()
    assert overlooked is not None
    assert overlooked.seen_ms == NOW_MS - DAY_MS


def test_a_merged_shard_waits_for_both_parents(pipeline: Pipeline) -> None:
    pipeline.list(listed("a"), listed("b"))
    assert waits_for(pipeline.list(listed("a"), listed("c", "a", "b"), listed("b"))["c"]) == {"a", "b"}


def test_a_merged_shard_waits_for_the_parent_that_is_left(pipeline: Pipeline) -> None:
    pipeline.list(listed("a"))
    assert pipeline.reconcile(listed("a"), listed("c", "a", "b")).unknown == {ref("b")}
    assert waits_for(pipeline.list(listed("a"), listed("c", "a", "b"), gone=["b"])["c"]) == {"a"}


def test_a_listing_again_publishes_nothing(pipeline: Pipeline) -> None:
    shards = (listed("a", closed=True), listed("b", "a"))
    pipeline.list(*shards)
    assert pipeline.reconcile(*shards) == Reconciliation((), frozenset())


def complete(pipeline: Pipeline) -> set[str]:
    return {
        shard.shard_id
        for shard, record in pipeline.checkpoint_state.shards.items()
        if record.complete_ms == pipeline.now_ms
    }


def test_what_was_made_together_is_confirmed_by_a_later_listing_once_all_that_it_shows_is_committed(
    pipeline: Pipeline,
) -> None:
    pipeline.list(listed("a"))
    pipeline.list(listed("a"), listed("b", "a"))
    later_ms = NOW_MS + 1
    pipeline.list(listed("a"), listed("b", "a"), complete_before_ms=NOW_MS)
    assert complete(pipeline) == set(), "the listing was too early"
    pipeline.list(listed("a"), listed("b", "a"), listed("c", "a"), complete_before_ms=later_ms)
    assert complete(pipeline) == set(), "it shows another child, which is not committed yet"
    pipeline.list(listed("a"), listed("b", "a"), listed("c", "a"), complete_before_ms=later_ms)
    assert complete(pipeline) == {"a", "b", "c"}
    assert pipeline.list(listed("a"), listed("b", "a"), listed("c", "a"), complete_before_ms=later_ms) == {}


def test_a_listing_of_children_confirms_them_alone(pipeline: Pipeline) -> None:
    pipeline.list(listed("a"), listed("b", "a"), listed("x"), listed("y", "x"))
    pipeline.list(listed("b", "a"), whole=False, complete_before_ms=NOW_MS + 1)
    assert complete(pipeline) == {"b"}


def test_a_listing_with_a_hole_and_an_empty_one_confirm_nothing(pipeline: Pipeline) -> None:
    pipeline.list(listed("a"), listed("b", "a"))
    pipeline.list(listed("a"), listed("b", "a"), listed("d", "missed"), complete_before_ms=NOW_MS + 1)
    pipeline.list(complete_before_ms=NOW_MS + 1)
    assert complete(pipeline) == set()


def test_what_a_listing_shows_no_more_is_confirmed_too(pipeline: Pipeline) -> None:
    """Of a shard that an earlier version published, which the stream has forgotten."""
    pipeline.list(listed("a"), listed("b", "a"))
    pipeline.list(listed("b", "a"), complete_before_ms=NOW_MS + 1)
    assert complete(pipeline) == {"a", "b"}


def test_a_known_parent_need_not_be_listed(pipeline: Pipeline) -> None:
    pipeline.list(listed("a"))
    assert waits_for(pipeline.list(listed("b", "a"))["b"]) == {"a"}


def test_the_descendants_of_a_hole_are_held_back_until_it_is_listed(pipeline: Pipeline) -> None:
    pipeline.list(listed("x"))
    shards = (listed("x"), listed("b", "a"), listed("c", "b"), listed("d", "c", "x"), listed("y", "x"))
    result = pipeline.reconcile(*shards)
    assert result.unknown == {ref("a")}
    assert pipeline.list(*shards).keys() == {"y"}
    assert pipeline.list(*shards, listed("a")).keys() == {"a", "b", "c", "d"}


def test_every_hole_is_asked_about(pipeline: Pipeline) -> None:
    pipeline.list(listed("x"))
    shards = (listed("x"), listed("b", "a"), listed("d", "c", "b"))
    assert pipeline.reconcile(*shards).unknown == {ref("a"), ref("c")}
    assert pipeline.list(*shards, gone=["c"]) == {}
    published = pipeline.list(*shards, gone=["a", "c"])
    assert {name: waits_for(record) for name, record in published.items()} == {"b": set(), "d": {"b"}}


def test_some_children_alone_prove_nothing_about_what_they_do_not_show(pipeline: Pipeline) -> None:
    pipeline.list(listed("a"), listed("x"))
    pipeline.commit("x", checkpoint("ended", 1))
    pipeline.now_ms += 2 * DAY_MS
    assert pipeline.reconcile(listed("b", "a"), whole=False, gone=["x"]).unknown == frozenset()
    assert pipeline.list(listed("b", "a"), whole=False, gone=["x"]).keys() == {"b"}


# Shards that are done


def done(pipeline: Pipeline) -> None:
    """Let `a` be done: it has ended, is old, and its child has begun."""
    pipeline.list(listed("a", closed=True), listed("b", "a"))
    pipeline.commit("a", checkpoint("ended", 1))
    pipeline.commit("b", checkpoint("open", 2))
    pipeline.now_ms += DAY_MS + 1


def test_a_shard_that_is_done_is_taken_back_once_it_is_surely_gone(pipeline: Pipeline) -> None:
    done(pipeline)
    assert pipeline.reconcile(listed("b", "a")) == Reconciliation((), frozenset({ref("a")}))
    assert pipeline.list(listed("b", "a"), gone=["a"]) == {"a": None}


@pytest.mark.parametrize("but", ["it has not ended", "it is young", "its child has not begun", "it is listed"])
def test_a_shard_is_not_taken_back_before_it_is_done(pipeline: Pipeline, but: str) -> None:
    done(pipeline)
    shards = [listed("b", "a")]
    match but:
        case "it has not ended":
            pipeline.commit("a", checkpoint("open", 1))
        case "it is young":
            pipeline.now_ms -= 2
        case "its child has not begun":
            pipeline.commit("b", None)
        case _:
            shards.append(listed("a", closed=True))
    assert pipeline.reconcile(*shards, gone=["a"]) == Reconciliation((), frozenset())


def test_an_ended_shard_without_children_is_kept_while_they_may_still_show(pipeline: Pipeline) -> None:
    pipeline.list(listed("a"))
    pipeline.commit("a", checkpoint("ended", 1))
    pipeline.now_ms += DAY_MS + 1
    assert pipeline.list(gone=["a"]) == {}
    assert pipeline.list(gone=["a"], current=False) == {"a": None}, "an old stream's last shards have none"


def test_a_parent_is_kept_for_a_child_that_shows_late(pipeline: Pipeline) -> None:
    done(pipeline)
    published = pipeline.list(listed("b", "a"), listed("c", "a"), gone=["a"])
    assert published.keys() == {"c"}
    assert waits_for(published["c"]) == {"a"}
    pipeline.commit("c", checkpoint("open", 2))
    assert pipeline.list(listed("b", "a"), listed("c", "a"), gone=["a"]) == {"a": None}


# What Lambda has delivered


def test_where_lambda_delivered_the_workers_go_on_behind_it_wherever_a_pipeline_starts(pipeline: Pipeline) -> None:
    pipeline.commit("b", checkpoint("open", 7))
    starts = {
        name: record.start
        for name, record in pipeline.list(
            listed("a", closed=True),
            listed("b", "a", closed=True),
            listed("c", "b"),
            listed("x"),
            start="LATEST",
        ).items()
        if record is not None
    }
    assert starts == {"a": "END", "b": "TRIM_HORIZON", "c": "TRIM_HORIZON", "x": "TRIM_HORIZON"}


def test_what_lambda_left_is_forgotten_once_no_stream_holds_it_any_more(pipeline: Pipeline) -> None:
    pipeline.commit("old", checkpoint("open", 7))
    pipeline.commit("listed", checkpoint("open", 7))
    pipeline.list(listed("listed"))
    publisher = ShardClaimKey(*ref("old"))
    lane = lane_of(ref("old"), LANE_COUNT)
    pipeline.checkpoint_state.apply(lane, publisher, Claim(owner="sandbox", nonce="sandbox/1", at_ms=NOW_MS))
    assert forget_outdated(pipeline.checkpoint_state, POLICY, NOW_MS + 2 * DAY_MS) == ()
    assert forget_outdated(pipeline.checkpoint_state, POLICY, NOW_MS + 2 * DAY_MS + 1) == (
        Write(lane, CheckpointKey(*ref("old")), None),
        Write(lane, publisher, None),
    )


# Another stream


def test_the_shards_of_a_new_stream_wait_for_what_is_unfinished_of_the_old_one(pipeline: Pipeline) -> None:
    pipeline.list(listed("a"), listed("x"))
    pipeline.commit("x", checkpoint("ended", 1))
    published = pipeline.list(listed("n", closed=True), listed("m", "n"), stream=NEXT_STREAM)
    assert published["n"] is not None
    assert published["n"].parents == (ref("a"),)
    assert published["m"] is not None
    assert published["m"].parents == (ref("n", NEXT_STREAM),)
    overlooked = pipeline.list(listed("n", closed=True), listed("m", "n"), listed("o"), stream=NEXT_STREAM)
    assert overlooked["o"] is not None
    assert overlooked["o"].parents == (ref("a"),), "the first listing did not show it"


def found(stream: str | None = STREAM) -> TableStream:
    return TableStream(TABLE, stream, "NEW_IMAGE" if stream else None)


def table(pipeline: Pipeline, described: TableStream | None) -> TableRecord:
    """Reconcile a table's description, and publish what it says."""
    record = reconcile_table(pipeline.checkpoint_state, described, TABLE, NOW_MS)
    for write in table_write(pipeline.checkpoint_state, TABLE, record):
        pipeline.checkpoint_state.apply(write.partition, write.key, write.record)
    return record


def test_a_table_with_a_stream_is_streamed(pipeline: Pipeline) -> None:
    record = table(pipeline, found())
    assert (record.state, record.stream_arn, record.view_type, record.detail) == (
        "streaming",
        STREAM,
        "NEW_IMAGE",
        None,
    )


def test_a_table_is_missing_or_its_stream_is_off_and_what_was_streamed_is_remembered(pipeline: Pipeline) -> None:
    assert (table(pipeline, None).state, table(pipeline, None).stream_arn) == ("missing", None)
    table(pipeline, found())
    assert (table(pipeline, None).state, table(pipeline, None).stream_arn) == ("missing", STREAM)
    off = table(pipeline, found(None))
    assert (off.state, off.stream_arn) == ("off", STREAM)
    assert table(pipeline, found()).state == "streaming", "the same stream again is no gap"


@pytest.mark.parametrize("between", ["nothing", "off", "missing"])
def test_a_stream_that_was_switched_off_and_on_is_a_gap_until_it_is_accepted(pipeline: Pipeline, between: str) -> None:
    table(pipeline, found())
    if between != "nothing":
        table(pipeline, None if between == "missing" else found(None))
    gap = table(pipeline, found(NEXT_STREAM))
    assert (gap.state, gap.stream_arn, gap.next_stream_arn) == ("gap", STREAM, NEXT_STREAM)
    assert gap.detail
    assert table(pipeline, found(NEXT_STREAM)).state == "gap", "looking again accepts nothing"
    accept(pipeline, "another stream")
    assert table(pipeline, found(NEXT_STREAM)).state == "gap"
    accept(pipeline, NEXT_STREAM)
    accepted = table(pipeline, found(NEXT_STREAM))
    assert (accepted.state, accepted.stream_arn, accepted.next_stream_arn) == ("streaming", NEXT_STREAM, None)
    assert table(pipeline, found(NEXT_STREAM)).state == "streaming"


def accept(pipeline: Pipeline, stream: str) -> None:
    pipeline.checkpoint_state.apply(0, AcceptKey(TABLE), GapAccepted(shards=(), stream_arn=stream, at_ms=NOW_MS))


def test_a_tables_record_is_written_only_when_it_says_something_new(pipeline: Pipeline) -> None:
    record = table(pipeline, found())
    assert table_write(pipeline.checkpoint_state, TABLE, msgspec.structs.replace(record, at_ms=NOW_MS + 9)) == ()
    changed = msgspec.structs.replace(record, view_type="KEYS_ONLY")
    (write,) = table_write(pipeline.checkpoint_state, TABLE, changed)
    assert (write.partition, write.key, write.record) == (0, TableKey(TABLE), changed)


def test_a_table_that_the_file_leaves_out_is_stopped_once_and_streamed_again_once_it_is_named(
    pipeline: Pipeline,
) -> None:
    pipeline.checkpoint_state.apply(0, TableKey(TABLE), table(pipeline, found()))
    assert leave_out(pipeline.checkpoint_state, lambda _table: True, NOW_MS) == ()
    (write,) = leave_out(pipeline.checkpoint_state, lambda _table: False, NOW_MS)
    pipeline.checkpoint_state.apply(write.partition, write.key, write.record)
    assert pipeline.checkpoint_state.is_stopped(TABLE)
    assert leave_out(pipeline.checkpoint_state, lambda _table: False, NOW_MS) == ()
    again = table(pipeline, found())
    assert (again.state, again.stream_arn) == ("streaming", STREAM)
    pipeline.checkpoint_state.apply(0, TableKey(TABLE), again)
    assert not pipeline.checkpoint_state.is_stopped(TABLE)


def test_a_first_listing_starts_at_the_time_that_the_file_asks_for_and_a_later_one_at_the_beginning(
    pipeline: Pipeline,
) -> None:
    first = pipeline.list(listed("a", closed=True), listed("b", "a"), since_ms=5)
    later = pipeline.list(listed("a", closed=True), listed("b", "a", closed=True), listed("c", "b"), since_ms=5)
    since = [record.since_ms for record in [*first.values(), *later.values()] if record is not None]
    assert since == [5, 5, None]


def test_a_shard_knows_the_retention_of_its_stream_and_each_change_of_it(pipeline: Pipeline) -> None:
    def retentions(published: dict[str, ShardRecord | None]) -> dict[str, int | None]:
        return {name: record.retention_ms for name, record in published.items() if record is not None}

    assert retentions(pipeline.list(listed("a"), retention_ms=24)) == {"a": 24}
    assert retentions(pipeline.list(listed("b", "a"), whole=False)) == {"b": 24}
    assert retentions(pipeline.list(listed("a"), listed("b", "a"), retention_ms=48)) == {"a": 48, "b": 48}
    assert pipeline.list(listed("a"), listed("b", "a"), retention_ms=48) == {}
