"""What AWS Lambda brings is published once and in order, whatever sandboxes do; planted faults are found."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import pytest

from simulation.invocations import CHANGES, SHARD, MakeDelivery, correct, run
from simulation.mutations import MUTATIONS
from support.lanes import TABLE
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.claiming import ClaimCommand
from tailrace.core.lane_messages import CloseProducer, ProducerAnswer, ProducerLost, Transaction
from tailrace.core.page import Page
from tailrace.core.shard_publisher import Failure, ShardPublisher
from tailrace.sources.dynamodb.policy import POLICY

_T = TypeVar("_T")
Steps = Generator[ClaimCommand, ProducerAnswer | None, _T]

SEEDS = range(1_000)
EXPECTED = list(range(1, CHANGES + 1))


class KeepsItsProducer(ShardPublisher):
    """Goes on with its producer, whatever came of the last commit."""

    def abandon(self) -> CloseProducer:
        return CloseProducer(0)

    def _claim(self, now_ms: int) -> Steps[Failure | ProducerLost | None]:
        lost = yield from super()._claim(now_ms)
        self._is_held = True
        return lost


class ReadsBeforeItFences(ShardPublisher):
    """Takes the checkpoint from what it read before its producer was opened."""

    def _claim(self, now_ms: int) -> Steps[Failure | ProducerLost | None]:
        before = self._checkpoint_state.checkpoints.get(SHARD)
        lost = yield from super()._claim(now_ms)
        self.sequence = before.sequence if before else None
        return lost


class IgnoresItsClaim(ShardPublisher):
    """Goes on with whatever the checkpoint state shows, without its own claim in it."""

    def _claim(self, now_ms: int) -> Steps[Failure | ProducerLost | None]:
        lost = yield from super()._claim(now_ms)
        if isinstance(lost, ProducerLost) and lost.fenced:
            published = self._checkpoint_state.checkpoints.get(SHARD)
            self.sequence = published.sequence if published else None
            self._is_held = True
            return None
        return lost


class CheckpointsApart(ShardPublisher):
    """Commits the checkpoint in a transaction of its own."""

    def _commit(self, transaction: Transaction) -> Steps[ProducerLost | None]:
        if transaction.pages:
            if lost := (yield from super()._commit(Transaction(transaction.pages, ()))):
                return lost
            return (yield from super()._commit(Transaction((), transaction.writes)))
        return (yield from super()._commit(transaction))


class BelievesInTheCommit(ShardPublisher):
    """Takes a commit without an answer for one that succeeded."""

    def _commit(self, transaction: Transaction) -> Steps[ProducerLost | None]:
        lost = yield from super()._commit(transaction)
        return lost if lost is None or lost.fenced else None


class ForgetsRepeats(ShardPublisher):
    """Publishes a page that comes again."""

    def _marked(self, page: Page) -> Page:
        return page


PLANTED = [
    KeepsItsProducer,
    ReadsBeforeItFences,
    IgnoresItsClaim,
    CheckpointsApart,
    BelievesInTheCommit,
    ForgetsRepeats,
]


def test_every_change_is_published_once_and_in_order() -> None:
    for seed in SEEDS:
        assert run(seed) == EXPECTED, f"seed {seed}"


@pytest.mark.parametrize("faulty", PLANTED)
def test_a_planted_fault_is_found(faulty: type[ShardPublisher]) -> None:
    def make(owner: str, checkpoint_state: CheckpointState) -> ShardPublisher:
        return faulty(SHARD, owner, checkpoint_state, table=TABLE, source=POLICY, errors_fail=False)

    assert any(not _holds(seed, make) for seed in SEEDS), "no seed finds it"


def test_a_shard_that_is_claimed_without_a_fence_is_found() -> None:
    assert any(not _holds(seed, correct, fences=False) for seed in SEEDS), "no seed finds it"


def test_a_claim_that_is_not_read_up_to_is_found() -> None:
    with MUTATIONS["claim_not_read_up_to"]():
        assert any(not _holds(seed, correct) for seed in SEEDS), "no seed finds it"


def _holds(seed: int, make: MakeDelivery, *, fences: bool = True) -> bool:
    try:
        return run(seed, make, fences=fences) == EXPECTED
    except AssertionError:
        return False
