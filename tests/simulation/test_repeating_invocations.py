"""What Lambda brings of a stream with repeats is published once, whatever sandboxes do; planted faults are found."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from simulation.repeating_invocations import CHILD, Stream, expected, run
from tailrace.core.ports import LogRecord, SourcePage
from tailrace.core.shard import Position
from tailrace.core.shard_publisher import ShardPublisher
from tailrace.sources.aws_lambda.event import Batch
from tailrace.sources.aws_lambda.kinesis_intake import KinesisIntake

SEEDS = range(150)


class _OtherTails(KinesisIntake):
    """Does not read all tails again."""

    def _position(self, batch: Batch, *rest: Any) -> Position:
        position = super()._position(batch, *rest)
        return replace(position, tails=tuple(tail for tail in position.tails if self._reads(tail.shard == CHILD)))

    def _reads(self, is_child: bool) -> bool:
        raise NotImplementedError


class LosesTheWindow(_OtherTails):
    """Reads only the tails of ancestors."""

    def _reads(self, is_child: bool) -> bool:
        return not is_child


class BeginsWithoutItsParent(_OtherTails):
    """Reads only the shard's own tail."""

    def _reads(self, is_child: bool) -> bool:
        return is_child


class KeepsWhatFailed(KinesisIntake):
    """Goes on with its window, whatever became of the last batch."""

    def pages(
        self,
        batch: Batch,
        records: list[LogRecord],
        publisher: ShardPublisher,
        step: int,
        pause: Callable[[float], None],
    ) -> Iterator[SourcePage]:
        if window := self._windows.get(batch.shard):
            window.sequence = publisher.sequence
        return super().pages(batch, records, publisher, step, pause)


def test_every_change_is_published_once_and_the_late_ones_are_flagged() -> None:
    for seed in SEEDS:
        assert run(seed) == expected(seed), f"seed {seed}"


def test_a_batch_that_is_put_in_order_holds_each_change_once() -> None:
    for seed in SEEDS:
        records = Stream(random.Random(seed)).records
        published = [records[number].identity for number in run(seed, late="reorder")]
        assert sorted(published) == sorted({record.identity for record in records.values()}), f"seed {seed}"


@pytest.mark.parametrize("faulty", [LosesTheWindow, BeginsWithoutItsParent, KeepsWhatFailed])
def test_a_planted_fault_is_found(faulty: type[KinesisIntake]) -> None:
    assert any(not _holds(seed, faulty) for seed in SEEDS), "no seed finds it"


def _holds(seed: int, faulty: type[KinesisIntake]) -> bool:
    try:
        return run(seed, faulty) == expected(seed)
    except AssertionError:
        return False
