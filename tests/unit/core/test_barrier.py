"""A row may be published only when all changes up to its reading are."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tailrace.core.barrier import published_until_ms
from tailrace.core.checkpoint import (
    Checkpoint,
    CheckpointKey,
    ShardKey,
    ShardRecord,
    SnapshotKey,
    SnapshotRecord,
    TableKey,
    TableRecord,
    TableState,
)
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.shard import ShardRef
from tailrace.sources.dynamodb.policy import POLICY

STREAM = "arn:stream/1"
PARENT, CHILD, SECOND = (ShardRef(STREAM, name) for name in ("parent", "child", "second"))
NOW_MS = 1_000_000
LISTED_MS = 500_000
COMPLETE_MS = 600_000


def state(**shards: tuple[tuple[ShardRef, ...], dict[str, Any] | None]) -> CheckpointState:
    """The state with these shards: the parents of each, and what its checkpoint says."""
    found = CheckpointState(1)
    table = TableRecord(stream_arn=STREAM, view_type="NEW_AND_OLD_IMAGES", state="streaming", at_ms=1)
    found.apply(0, TableKey("orders"), table)
    for name, (parents, said) in shards.items():
        shard = ShardRef(STREAM, name)
        found.apply(0, ShardKey(*shard), lineage(LISTED_MS, parents, complete_ms=COMPLETE_MS))
        if said is not None:
            found.apply(0, CheckpointKey(*shard), checkpoint(**said))
    return found


def lineage(listed_ms: int, parents: tuple[ShardRef, ...] = (), *, complete_ms: int | None = None) -> ShardRecord:
    """A shard that was listed late: it may have had changes long before."""
    return ShardRecord(
        table="orders",
        parents=parents,
        start="TRIM_HORIZON",
        seen_ms=1,
        initial=False,
        listed_ms=listed_ms,
        complete_ms=complete_ms,
    )


def checkpoint(**said: Any) -> Checkpoint:
    open_shard = Checkpoint(table="orders", state="open", sequence="1", created_ms=None, at_ms=1)
    return msgspec.structs.replace(open_shard, **said)


def until_ms(found: CheckpointState, whole_ms: int = NOW_MS) -> int:
    return published_until_ms(found, "orders", POLICY, whole_ms)


def test_the_shard_that_is_farthest_behind_counts() -> None:
    assert until_ms(state(parent=((), {"created_ms": 900}), child=((), {"until_ms": 700}))) == 700


def test_a_shard_that_was_not_read_yet_bounds_it() -> None:
    assert until_ms(state(parent=((), {"created_ms": 900}), child=((), None))) == 0


def test_a_child_is_bounded_by_its_parent_until_that_has_ended() -> None:
    waiting = state(parent=((), {"created_ms": 900}), child=((PARENT,), None))
    assert until_ms(waiting) == 900
    begun = state(parent=((), {"state": "ended"}), child=((PARENT,), None))
    assert until_ms(begun) == 0
    assert until_ms(state(child=((PARENT,), None))) == 0, "its parent was not read yet"


def test_an_ended_shard_bounds_it_until_it_is_confirmed_that_all_of_its_children_are_listed() -> None:
    """However long ago the first was: committing another may take any time, and so may listing it."""
    ended = {"state": "ended", "open_ms": 800}
    assert until_ms(state(parent=((), ended))) == 800
    with_child = state(parent=((), ended))
    with_child.apply(0, ShardKey(*CHILD), lineage(LISTED_MS, (PARENT,)))
    with_child.apply(0, CheckpointKey(*CHILD), checkpoint(created_ms=950))
    assert until_ms(with_child) == 800
    with_child.apply(0, ShardKey(*CHILD), lineage(LISTED_MS, (PARENT,), complete_ms=COMPLETE_MS))
    assert until_ms(with_child) == 950
    with_child.apply(0, ShardKey(*SECOND), lineage(LISTED_MS + 18_000, (PARENT,)))
    assert until_ms(with_child) == 0, "the second child was not read yet"


def test_a_confirmation_counts_once_every_partition_shows_what_was_published_before_it() -> None:
    """The second child may be in a partition that is read later than the one with the confirmation."""
    found = state(parent=((), {"created_ms": 900}))
    assert until_ms(found, whole_ms=COMPLETE_MS + POLICY.settle_ms - 1) == 0
    assert until_ms(found, whole_ms=COMPLETE_MS + POLICY.settle_ms) == 900


def test_an_ended_shard_whose_children_are_gone_bounds_it_until_what_descends_from_them_is_listed() -> None:
    ended = {"state": "ended", "open_ms": 800}
    found = state(parent=((), ended), other=((), {"created_ms": 950}))
    assert until_ms(found) == 800
    late_ms = 800 + POLICY.retention_ms + 1
    found.apply(0, ShardKey(STREAM, "heir"), lineage(late_ms))
    found.apply(0, CheckpointKey(STREAM, "heir"), checkpoint(until_ms=970))
    assert until_ms(found, whole_ms=2 * late_ms) == 0
    found.apply(0, ShardKey(STREAM, "heir"), lineage(late_ms, complete_ms=late_ms))
    assert until_ms(found, whole_ms=2 * late_ms) == 950


@pytest.mark.parametrize("parents", [(), (ShardRef("arn:stream/0", "last"),)])
def test_a_shard_without_parents_in_its_stream_bounds_it_until_others_like_it_are_listed(
    parents: tuple[ShardRef, ...],
) -> None:
    """The first shards of a stream that replaced another one have parents in that one."""
    found = state()
    found.apply(0, ShardKey(*PARENT), lineage(LISTED_MS, parents))
    found.apply(0, CheckpointKey(*PARENT), checkpoint(until_ms=900))
    assert until_ms(found) == 0
    found.apply(0, ShardKey(*PARENT), lineage(LISTED_MS, parents, complete_ms=COMPLETE_MS))
    assert until_ms(found) == 900


def test_a_gap_and_an_unknown_table_bound_it() -> None:
    found = state(parent=((), {"created_ms": 900}))
    gap = TableRecord(stream_arn=STREAM, view_type=None, state="gap", at_ms=2, next_stream_arn="arn:stream/2")
    found.apply(0, TableKey("orders"), gap)
    assert until_ms(found) == 0
    assert until_ms(CheckpointState(1)) == 0


@pytest.mark.parametrize("table_state", ["off", "missing", "failed", "left out"])
def test_a_table_that_is_not_streamed_bounds_it(table_state: TableState) -> None:
    """Its rows may be of the next table of its name, or changes may come from a stream that nobody has listed."""
    found = state(parent=((), {"state": "ended"}))
    found.apply(0, TableKey("orders"), TableRecord(stream_arn=STREAM, view_type=None, state=table_state, at_ms=2))
    assert until_ms(found) == 0


def test_a_snapshot_of_another_table_of_the_name_bounds_it() -> None:
    found = state(parent=((), {"created_ms": 900}))
    snapshot = SnapshotRecord(id="1", source="scan", reason="initial", segments=1, at_ms=1, stream="arn:stream/0")
    found.apply(0, SnapshotKey("orders"), snapshot)
    assert until_ms(found) == 0
    found.apply(0, SnapshotKey("orders"), msgspec.structs.replace(snapshot, stream=STREAM))
    assert until_ms(found) == 900
