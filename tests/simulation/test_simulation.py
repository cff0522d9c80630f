"""The whole protocol in simulated time: seeded histories keep every promise, and planted faults do not stay hidden.

`python -m simulation --seed N --trace` (with `tests` on PYTHONPATH) prints a history line by line.
"""

from __future__ import annotations

import pytest

from simulation.mutations import MUTATIONS
from simulation.runs import Summary, first_to_find, play_all
from tailrace.core.lane import LaneState
from tailrace.core.reading import Phase

HISTORIES = 1_000
SEEDS_TO_FIND = 150
"""A planted fault must be found by one of so many seeds."""


@pytest.fixture(scope="module")
def histories() -> Summary:
    summary = play_all(range(HISTORIES))
    print("\n".join(summary.lines()))
    return summary


@pytest.mark.timeout(600)
def test_every_history_keeps_every_promise(histories: Summary) -> None:
    assert histories.broken == []
    assert histories.histories == HISTORIES


@pytest.mark.parametrize("mutation", sorted(MUTATIONS))
def test_a_planted_fault_is_found(mutation: str) -> None:
    assert first_to_find(mutation, range(SEEDS_TO_FIND)) is not None


def test_every_live_state_of_a_lane_and_every_phase_of_a_shard_is_reached(histories: Summary) -> None:
    states = {before for before, _, _ in histories.coverage.transitions}
    assert {state.value for state in LaneState} - states <= {"released"}
    assert {phase.value for phase in Phase} == {after for _, after in histories.coverage.phases}
