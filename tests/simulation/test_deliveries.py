"""What AWS Lambda brings is published once and in order, whatever sandboxes do; planted faults are found."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from simulation.deliveries import CHANGES, SHARD, MakeDelivery, run
from tailrace.core.delivery import Failure, ShardDelivery
from tailrace.core.lane_messages import CloseProducer, Command, Event, ProducerLost, Transaction
from tailrace.core.page import Page
from tailrace.core.view import View

SEEDS = range(1_000)
EXPECTED = list(range(1, CHANGES + 1))


class KeepsItsProducer(ShardDelivery):
    """Goes on with its producer, whatever came of the last commit."""

    def abandon(self) -> CloseProducer:
        return CloseProducer(0)

    def _take(self, now_ms: int) -> Generator[Command, Event | None, Failure | ProducerLost | None]:
        lost = yield from super()._take(now_ms)
        self._is_held = True
        return lost


class ReadsBeforeItFences(ShardDelivery):
    """Takes the checkpoint from what it read before its producer was opened."""

    def _take(self, now_ms: int) -> Generator[Command, Event | None, Failure | ProducerLost | None]:
        before = self._view.checkpoints.get(SHARD)
        lost = yield from super()._take(now_ms)
        self.sequence = before.sequence if before else None
        return lost


class IgnoresItsTakenRecord(ShardDelivery):
    """Goes on with whatever the view shows, without its own taken record in it."""

    def _take(self, now_ms: int) -> Generator[Command, Event | None, Failure | ProducerLost | None]:
        lost = yield from super()._take(now_ms)
        if isinstance(lost, Failure) and lost.fenced:
            published = self._view.checkpoints.get(SHARD)
            self.sequence = published.sequence if published else None
            self._is_held = True
            return None
        return lost


class CheckpointsApart(ShardDelivery):
    """Commits the checkpoint in a transaction of its own."""

    def _commit(self, transaction: Transaction) -> Generator[Command, Event | None, ProducerLost | None]:
        if transaction.pages:
            if lost := (yield from super()._commit(Transaction(transaction.pages, ()))):
                return lost
            return (yield from super()._commit(Transaction((), transaction.writes)))
        return (yield from super()._commit(transaction))


class BelievesInTheCommit(ShardDelivery):
    """Takes a commit without an answer for one that succeeded."""

    def _commit(self, transaction: Transaction) -> Generator[Command, Event | None, ProducerLost | None]:
        lost = yield from super()._commit(transaction)
        return lost if lost is None or lost.fenced else None


class ForgetsRepeats(ShardDelivery):
    """Publishes a page that comes again."""

    def _marked(self, page: Page) -> Page:
        return page


PLANTED = [
    KeepsItsProducer,
    ReadsBeforeItFences,
    IgnoresItsTakenRecord,
    CheckpointsApart,
    BelievesInTheCommit,
    ForgetsRepeats,
]


def test_every_change_is_published_once_and_in_order() -> None:
    for seed in SEEDS:
        assert run(seed) == EXPECTED, f"seed {seed}"


@pytest.mark.parametrize("faulty", PLANTED)
def test_a_planted_fault_is_found(faulty: type[ShardDelivery]) -> None:
    def make(owner: str, view: View) -> ShardDelivery:
        return faulty(SHARD, owner, view, errors_fail=False)

    assert any(not _holds(seed, make) for seed in SEEDS), "no seed finds it"


def _holds(seed: int, make: MakeDelivery) -> bool:
    try:
        return run(seed, make) == EXPECTED
    except AssertionError:
        return False
