"""A pipeline that goes over to another source loses and repeats nothing, whatever happens to workers and operator."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simulation.runs import first_to_find, play, play_all
from simulation.source import SWITCHING
from simulation.switch_mutations import OF_SWITCHES

SEEDS = range(80)
PROCESSES = 2
MOST_SEEDS = 150


@pytest.mark.timeout(600)
def test_nothing_is_lost_repeated_or_late_without_saying_so(tell: Callable[[str], None]) -> None:
    summary = play_all(SEEDS, PROCESSES, kind=SWITCHING.name)
    tell("\n".join(summary.lines()))
    assert summary.histories == len(SEEDS)
    assert summary.broken == []
    expected = {"switched", "switch broken off", "operator killed", "split", "merge", "kill"}
    assert expected - summary.coverage.events.keys() == set()


@pytest.mark.parametrize("name", sorted(OF_SWITCHES))
def test_a_planted_fault_is_found(name: str) -> None:
    found = first_to_find(name, range(MOST_SEEDS))
    assert found is not None, f"no history of {MOST_SEEDS} finds it"
    assert play(found.seed, kind=found.kind).broken is None, "the history is broken without the fault, too"
