"""What operations claim is theirs alone: rescales, switches and definers beside claims that sleep and wake late."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import pytest

from simulation.mutations import hold_at_once
from simulation.operations import BrokenPromiseError, OperationHost, play_definers, play_rescale, play_switch
from simulation.simulated_time import Host
from tailrace.core.claiming import Claiming

SEEDS = range(100)
MOST_SEEDS = 500

Play = Callable[..., None]

operations = pytest.mark.parametrize("play", [play_rescale, play_switch, play_definers])


@operations
def test_nothing_is_lost_repeated_or_overruled(play: Play) -> None:
    for seed in SEEDS:
        play(seed)


@operations
def test_an_operation_without_a_fence_is_found(play: Play) -> None:
    assert _first_to_find(lambda seed: play(seed, fences=False)) is not None, "no seed finds it"


@operations
def test_an_operation_whose_claim_is_not_read_up_to_is_found(play: Play) -> None:
    original = Claiming.look

    def look(claiming: Claiming) -> bool:
        is_operation = isinstance(Host.current, OperationHost) and Host.current.is_operator
        return hold_at_once(claiming) if is_operation else original(claiming)

    with patch.object(Claiming, "look", look):
        assert _first_to_find(play) is not None, "no seed finds it"


def _first_to_find(play: Callable[[int], None]) -> int | None:
    for seed in range(MOST_SEEDS):
        try:
            play(seed)
        except BrokenPromiseError:
            return seed
    return None
