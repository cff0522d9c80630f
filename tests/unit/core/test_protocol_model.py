"""Two workers, a model of the broker and of a stream with splits: random histories from seeds keep every promise."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import tailrace.core.page
from support.protocol_model import BrokenPromiseError, Broker, Simulation
from tailrace.core.lane import Lane
from tailrace.core.page import Page
from tailrace.core.shard import ShardRef
from tailrace.core.view import View

HISTORIES = 150
"""A few seconds; a fault is found within the first dozens."""


def play(seeds: range) -> None:
    for seed in seeds:
        try:
            Simulation(seed).run()
        except BrokenPromiseError as broken:
            raise BrokenPromiseError(f"Simulation({seed}): {broken}") from broken


@pytest.mark.parametrize("first", range(0, HISTORIES, 50))
def test_nothing_is_lost_repeated_or_out_of_order(first: int) -> None:
    play(range(first, first + 50))


def test_a_history_can_be_played_again() -> None:
    one, other = Simulation(7), Simulation(7)
    one.run()
    other.run()
    assert one.checker.checkpoints == other.checker.checkpoints
    assert one.broker.partitions == other.broker.partitions


# The model finds what it is there to find


def no_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Broker, "is_fenced", lambda *_: False)


def read_before_the_taken_record_is_seen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lane, "_has_caught_up", lambda _: True)


def sequence_numbers_compared_as_text(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tailrace.core.page, "is_after", lambda one, other: other is None or one > other)


def child_before_its_parents_end_is_committed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(View, "may_begin", lambda *_: True)


def repeats_published(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Page, "without_repeats", lambda page, _: page)


def resumed_from_the_view_which_lags(patch: pytest.MonkeyPatch) -> None:
    def restart(lane: Lane, shard: ShardRef) -> object:
        lane._committed = lane._view.checkpoints_of(lane.number)
        return original(lane, shard)

    original = Lane._restart
    patch.setattr(Lane, "_restart", restart)


def answers_to_given_up_reads_taken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lane, "_reading_of", lambda lane, _, shard: lane.readings.get(shard))


def gaps_never_accepted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(View, "is_accepted", lambda *_: False)


def lane_that_forgets_to_wake_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lane, "_next_wake_ms", lambda *_: None)


@pytest.mark.parametrize(
    "plant",
    [
        no_fence,
        read_before_the_taken_record_is_seen,
        sequence_numbers_compared_as_text,
        child_before_its_parents_end_is_committed,
        repeats_published,
        resumed_from_the_view_which_lags,
        answers_to_given_up_reads_taken,
        gaps_never_accepted,
        lane_that_forgets_to_wake_up,
    ],
)
def test_a_planted_fault_is_found(plant: Callable[[pytest.MonkeyPatch], None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        with pytest.raises(BrokenPromiseError):
            play(range(2 * HISTORIES))
