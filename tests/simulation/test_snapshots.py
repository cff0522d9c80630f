"""Snapshots of tables that change keep every promise, whatever happens to workers and operators meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simulation.runs import first_to_find, play, play_all
from simulation.snapshot_mutations import OF_SNAPSHOTS
from simulation.source import SNAPSHOTS

SEEDS = range(80)
PROCESSES = 2
MOST_SEEDS = 300

FOUND_BY: dict[str, int] = {
    "delete_resurrected": 25,
    "snapshot_lane_without_a_fence": 66,
    "stale_check_of_committed_records": 68,
}
"""A seed that finds the mutation: tried first. When it does so no longer, the first that does is looked for."""

TOO_RARE_HERE: dict[str, str] = {
    "child_shards_unseen_by_the_barrier": (
        "tests/unit/core/test_barrier.py::test_an_ended_shard_bounds_it_until_all_of_its_children_are_listed"
    )
}
"""Mutations that so few histories find that a test of the core finds them instead."""

REACHED = {
    "rows",
    "stale",
    "deletes",
    "chunk aborted",
    "started by hand",
    "started by keys",
    "begun and not started",
    "pause",
    "run",
    "cancel",
    "worker without lanes",
    "read throttled",
    "read unavailable",
}
"""What some history meets."""


@pytest.mark.timeout(600)
def test_no_row_is_missing_repeated_older_than_what_it_follows_or_deleted(
    tell: Callable[[str], None],
) -> None:
    summary = play_all(SEEDS, PROCESSES, kind=SNAPSHOTS.name)
    tell("\n".join(summary.lines()))
    assert summary.histories == len(SEEDS)
    assert summary.broken == []
    met = {what.removeprefix("snapshot: ") for what in summary.coverage.events}
    assert REACHED - met == set()
    assert {"merge", "split", "kill", "notice: gap", "replaced: window"} - summary.coverage.events.keys() == set()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(OF_SNAPSHOTS - TOO_RARE_HERE.keys()))
def test_a_planted_fault_is_found(name: str) -> None:
    hint = FOUND_BY.get(name)
    found = first_to_find(name, range(MOST_SEEDS) if hint is None else (hint, *range(MOST_SEEDS)))
    assert found is not None, f"no history of {MOST_SEEDS} finds it"
    assert play(found.seed, kind=found.kind).broken is None, "the history is broken without the fault, too"
