"""A source that repeats changes and gives them out of order keeps every promise, whatever happens to workers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simulation.repeating_mutations import OF_REPEATING
from simulation.runs import first_to_find, play, play_all
from simulation.source import REPEATING

SEEDS = range(150)
PROCESSES = 2
MOST_SEEDS = 200

ONCE_BROKEN: dict[int, str] = {
    18: "a tail was given up when the source denied the shard for a moment",
    46: "a window began with the first change that was released, not with the first of the shard",
    49: "a shard's own tail was given up when its first changes were trimmed, although the others counted still",
    130: "a tail that is gone hid for ever that its child is gone, too",
}
"""Seeds that broke a promise once, and what it was."""


@pytest.mark.timeout(600)
def test_each_change_is_published_once_and_the_late_ones_say_so(tell: Callable[[str], None]) -> None:
    summary = play_all(SEEDS, PROCESSES, kind=REPEATING.name)
    tell("\n".join(summary.lines()))
    assert summary.histories == len(SEEDS)
    assert ONCE_BROKEN.keys() <= set(SEEDS)
    assert summary.broken == []
    assert {"merge", "split", "kill", "notice: gap", "quarter_of_an_hour"} - summary.coverage.events.keys() == set()


@pytest.mark.parametrize("name", sorted(OF_REPEATING))
def test_a_planted_fault_is_found(name: str) -> None:
    found = first_to_find(name, range(MOST_SEEDS))
    assert found is not None, f"no history of {MOST_SEEDS} finds it"
    assert play(found.seed, kind=found.kind).broken is None, "the history is broken without the fault, too"
