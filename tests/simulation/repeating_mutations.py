"""Planted faults in how repeats and late changes are found, each of which the simulation must find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace as replaced

import simulation.repeating_source
import tailrace.core.lane_shards
from simulation.mutations import MUTATIONS, mutation, replace
from tailrace.core.change_window import ChangeWindow, Verdict
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.ports import LogRecord, SourcePage
from tailrace.core.shard import Position
from tailrace.core.shard_state import ShardState
from tailrace.core.windowed_shard import WindowedShard

_others = set(MUTATIONS)

replace("child_without_its_parents_tail", tailrace.core.lane_shards, "tails_of_ancestors", lambda *_: ())
replace("tails_told_before_ancestors_show", tailrace.core.lane_shards, "misses_ancestors", lambda *_: False)
replace(
    "identity_without_the_images",
    simulation.repeating_source,
    "identity",
    lambda item, created_us, _number: f"{item} {created_us}".encode(),
)
replace(
    "merge_begun_after_one_parent",
    CheckpointState,
    "may_begin",
    lambda state, shard: (
        not state.shards[shard].parents or any(state.ended(parent) for parent in state.shards[shard].parents)
    ),
)


@mutation
def window_lost_at_a_restart() -> Iterator[None]:
    original = ShardState.position

    def position(shard_state: ShardState) -> Position:
        return replaced(original(shard_state), tails=())

    with patch.object(ShardState, "position", position):
        yield


@mutation
def window_by_count_alone() -> Iterator[None]:
    original = ChangeWindow.see

    def see(window: ChangeWindow, records: Sequence[LogRecord], page_first: str | None) -> list[Verdict]:
        verdicts: list[Verdict] = []
        for record in records:
            verdicts += original(window, [record], page_first)
            while len(window._seen) > 3:
                del window._seen[next(iter(window._seen))]
        return verdicts

    with patch.object(ChangeWindow, "see", see):
        yield


@mutation
def checkpoint_ahead_of_the_window() -> Iterator[None]:
    """It says that the window begins with the last change of the page."""
    original = WindowedShard.took

    def took(shard: WindowedShard, *args: Any) -> SourcePage:
        page = original(shard, *args)
        return replaced(page, window_from=page.records[-1].origin.sequence) if page.records else page

    with patch.object(WindowedShard, "took", took):
        yield


@mutation
def position_of_the_last_record_of_a_page_in_another_order() -> Iterator[None]:
    original = WindowedShard.took

    def took(shard: WindowedShard, *args: Any) -> SourcePage:
        return replaced(original(shard, *args), last_sequence=None)

    with patch.object(WindowedShard, "took", took):
        yield


OF_REPEATING = MUTATIONS.keys() - _others
