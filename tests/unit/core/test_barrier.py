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


def state(**shards: tuple[tuple[ShardRef, ...], dict[str, Any] | None]) -> CheckpointState:
    """The state with these shards: the parents of each, and what its checkpoint says."""
    found = CheckpointState(1)
    table = TableRecord(stream_arn=STREAM, view_type="NEW_AND_OLD_IMAGES", state="streaming", at_ms=1)
    found.apply(0, TableKey("orders"), table)
    for name, (parents, said) in shards.items():
        shard = ShardRef(STREAM, name)
        found.apply(0, ShardKey(*shard), lineage(LISTED_MS, parents))
        if said is not None:
            found.apply(0, CheckpointKey(*shard), checkpoint(**said))
    return found


def lineage(listed_ms: int, parents: tuple[ShardRef, ...] = ()) -> ShardRecord:
    """A shard that was listed late: it may have had changes long before."""
    return ShardRecord(
        table="orders", parents=parents, start="TRIM_HORIZON", seen_ms=1, initial=False, listed_ms=listed_ms
    )


def checkpoint(**said: Any) -> Checkpoint:
    open_shard = Checkpoint(table="orders", state="open", sequence="1", created_ms=None, at_ms=1)
    return msgspec.structs.replace(open_shard, **said)


def until_ms(found: CheckpointState, now_ms: int = NOW_MS) -> int:
    return published_until_ms(found, "orders", POLICY, now_ms)


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


def test_an_ended_shard_bounds_it_until_all_of_its_children_are_listed() -> None:
    ended = {"state": "ended", "open_ms": 800}
    assert until_ms(state(parent=((), ended))) == 800
    with_child = state(parent=((), ended))
    with_child.apply(0, ShardKey(*CHILD), lineage(LISTED_MS + 100_000, (PARENT,)))
    with_child.apply(0, CheckpointKey(*CHILD), checkpoint(created_ms=950))
    assert until_ms(with_child, now_ms=LISTED_MS + 100_000 + POLICY.second_child_ms) == 800
    assert until_ms(with_child) == 950


def test_an_ended_shard_whose_children_are_gone_bounds_it_until_what_descends_from_them_is_listed() -> None:
    ended = {"state": "ended", "open_ms": 800}
    found = state(parent=((), ended), other=((), {"created_ms": 950}))
    assert until_ms(found) == 800
    found.apply(0, ShardKey(STREAM, "heir"), lineage(800 + POLICY.retention_ms + 1))
    found.apply(0, CheckpointKey(STREAM, "heir"), checkpoint(until_ms=970))
    assert until_ms(found, now_ms=800 + POLICY.retention_ms + 2 * POLICY.second_child_ms) == 0
    assert until_ms(found, now_ms=800 + POLICY.retention_ms + 2 * POLICY.second_child_ms + 2) == 950


def test_a_shard_without_parents_bounds_it_until_others_like_it_are_listed() -> None:
    found = state(parent=((), {"until_ms": 900}))
    assert until_ms(found, now_ms=LISTED_MS + 2 * POLICY.second_child_ms - 1) == 0
    assert until_ms(found, now_ms=LISTED_MS + 2 * POLICY.second_child_ms + 1) == 900


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
