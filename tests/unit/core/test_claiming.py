"""Claiming: fence, claim, read up to the claim, and nothing else counts as holding it."""

from __future__ import annotations

from typing import get_args

import pytest

from support.lanes import LANE_COUNT, NOW_MS
from tailrace.core.checkpoint import Claim, ClaimKey, EnumeratorKey, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.claiming import CatchUp, ClaimCommand, Claiming, ClaimState, lane_claim
from tailrace.core.lane_messages import (
    CloseProducer,
    Commit,
    Committed,
    OpenProducer,
    ProducerAnswer,
    ProducerLost,
    ProducerOpened,
)

MINE = Claim(owner="me", nonce="me/7", at_ms=NOW_MS)
OTHERS = Claim(owner="other", nonce="other/1", at_ms=NOW_MS)
WRITES = lane_claim(1, LANE_COUNT, MINE)
LOST = ProducerLost(7, fenced=False, reason="timed out")


class Claimant:
    """Carries out the steps of a claim; `answers` come first, then every call succeeds."""

    def __init__(self, *answers: ProducerAnswer, writes: tuple[Write, ...] = WRITES) -> None:
        self.checkpoint_state = CheckpointState(LANE_COUNT)
        self.claiming = Claiming(7, writes, self.checkpoint_state.shows)
        self.asked: list[ClaimCommand] = []
        self.late: list[Write] = []
        """What lies behind the claim in its partition."""
        self.hidden: set[int] = set()
        """Partitions of which nothing is read."""
        self._answers = list(answers)
        self._committed: list[Write] = []

    def run(self) -> ProducerLost | None:
        steps = self.claiming.steps()
        try:
            command = next(steps)
            while True:
                self.asked.append(command)
                command = steps.send(self._answer(command))
        except StopIteration as end:
            lost: ProducerLost | None = end.value
            return lost

    @property
    def kinds(self) -> list[type[ClaimCommand]]:
        return [type(command) for command in self.asked]

    def _answer(self, command: ClaimCommand) -> ProducerAnswer | None:
        if isinstance(command, CatchUp):
            assert not command.is_over(), "nothing is read before it is asked for"
            for write in [*self._committed, *self.late]:
                if write.partition in command.partitions - self.hidden:
                    self.checkpoint_state.apply(write.partition, write.key, write.record)
            return None
        if isinstance(command, CloseProducer):
            return None
        if self._answers:
            return self._answers.pop(0)
        if isinstance(command, OpenProducer):
            return ProducerOpened(command.epoch)
        self._committed += command.transaction.writes
        return Committed(command.epoch)


def test_a_claim_is_held_once_it_is_fenced_written_and_seen() -> None:
    claimant = Claimant()
    assert claimant.run() is None
    assert claimant.kinds == [OpenProducer, Commit, CatchUp]
    assert claimant.claiming.state is ClaimState.HELD
    assert set(get_args(ClaimCommand)) == {*claimant.kinds, CloseProducer}


@pytest.mark.parametrize("answers", [(LOST,), (ProducerOpened(7), LOST)], ids=["opening", "claiming"])
def test_a_producer_that_is_lost_on_the_way_is_closed(answers: tuple[ProducerAnswer, ...]) -> None:
    claimant = Claimant(*answers)
    assert claimant.run() is LOST
    assert claimant.kinds[-1] is CloseProducer
    assert CatchUp not in claimant.kinds


def test_a_claim_behind_which_another_lies_is_lost() -> None:
    claimant = Claimant()
    claimant.late = [Write(1, ClaimKey(), OTHERS)]
    lost = claimant.run()
    assert lost is not None
    assert lost.fenced
    assert claimant.kinds[-1] is CloseProducer


def test_a_claim_that_does_not_show_is_lost() -> None:
    claimant = Claimant()
    claimant.hidden = {1}
    assert claimant.run() is not None
    assert claimant.claiming.state is ClaimState.CATCHING_UP


def test_the_enumerator_claims_every_lane_and_must_see_its_claim_in_each() -> None:
    writes = lane_claim(0, LANE_COUNT, MINE)
    assert [write.partition for write in writes if isinstance(write.key, EnumeratorKey)] == list(range(LANE_COUNT))
    assert Claimant(writes=writes).run() is None
    for partition in range(LANE_COUNT):
        claimant = Claimant(writes=writes)
        claimant.hidden = {partition}
        assert claimant.run() is not None, f"partition {partition} was not read"


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    claiming = Claiming(7, WRITES, lambda _: True)
    assert claiming.handle(Committed(7)) is None
    assert claiming.state is ClaimState.OPENING
    assert not claiming.look(), "it is not even written"
    assert claiming.handle(ProducerOpened(7)) is not None
    assert claiming.handle(ProducerOpened(7)) is None, "it is opened already"
