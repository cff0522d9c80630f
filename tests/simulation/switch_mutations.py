"""Planted faults in a switch of sources, each of which the simulation must find."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

from msgspec.structs import replace as replaced

from simulation.mutations import MUTATIONS, mutation, replace
from tailrace.core.change import Change
from tailrace.core.handover import Overlap, digest_of
from tailrace.core.shard import Position
from tailrace.core.shard_state import ShardState
from tailrace.kafka import checkpoint_topic
from tailrace.operations.published_changes import PublishedChanges
from tailrace.operations.switch import Switching
from tailrace.operations.switch_source import _Transition
from tailrace.worker.engine import Engine

_others = set(MUTATIONS)

replace("handover_without_a_fence", Switching, "_fence", lambda *_: 1)
replace("nothing_handed_over", PublishedChanges, "since", lambda *_: [])


@mutation
def old_source_read_on() -> Iterator[None]:
    """Neither the mark in every partition nor the definition ends a worker with the file before."""
    with (
        patch.object(checkpoint_topic, "check_source", lambda *_: None),
        patch.object(Engine, "_check_definition", lambda _: None),
    ):
        yield


@mutation
def handover_from_too_late() -> Iterator[None]:
    """All that was made before now counts as published."""
    original = _Transition._from_ms

    def from_ms(transition: _Transition) -> int:
        return max(original(transition), transition._around.now_ms() // 1000 * 1000)

    with patch.object(_Transition, "_from_ms", from_ms):
        yield


@mutation
def handover_lost_at_a_restart() -> Iterator[None]:
    """What was left out before is left out again."""
    original = ShardState.position

    def position(shard_state: ShardState) -> Position:
        found = original(shard_state)
        return found if found.handover is None else replaced(found, tails=())

    with patch.object(ShardState, "position", position):
        yield


@mutation
def published_changes_counted_once() -> Iterator[None]:
    """A set instead of as many as there were: whatever looks like a published change is left out."""
    original = Overlap.leaves_out

    def leaves_out(overlap: Overlap, change: Change) -> bool:
        view_type = overlap.handover.view_types.get(change.table)
        known = original(overlap, change)
        if view_type is None:
            return known
        digest = digest_of(change, view_type)
        return known or digest[8:] in overlap.handover.marks_of(digest[:8])

    with patch.object(Overlap, "leaves_out", leaves_out):
        yield


OF_SWITCHES = MUTATIONS.keys() - _others
