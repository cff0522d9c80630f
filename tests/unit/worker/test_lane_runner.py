"""A lane gets an answer to each call, whatever its producer does."""

from __future__ import annotations

from queue import SimpleQueue
from typing import cast

import pytest

from tailrace.core.lane_messages import (
    CloseProducer,
    Commit,
    Committed,
    OpenProducer,
    ProducerAnswer,
    ProducerLost,
    ProducerOpened,
    Transaction,
)
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.process.host import ThreadedHost
from tailrace.worker.lane_runner import LaneRunner

NOTHING = Transaction((), ())


class _Producer:
    """Opens and commits, or raises what no producer should."""

    def __init__(self, epoch: int, failing: str) -> None:
        self._epoch = epoch
        self._failing = failing

    def open(self, _timeout_s: float) -> ProducerOpened:
        self._fail("open")
        return ProducerOpened(self._epoch)

    def commit(self, _transaction: Transaction, _timeout_s: float) -> Committed:
        self._fail("commit")
        return Committed(self._epoch)

    def close(self) -> None:
        self._fail("close")

    def _fail(self, call: str) -> None:
        if call == self._failing:
            raise RuntimeError(f"{call} is broken")


@pytest.mark.parametrize("failing", ["make", "open", "commit", "close", "nothing"])
def test_a_call_that_raises_loses_the_producer_and_the_next_one_works(failing: str) -> None:
    answers: SimpleQueue[ProducerAnswer] = SimpleQueue()
    made: list[int] = []

    def make(_lane: int, epoch: int) -> LaneProducer:
        made.append(epoch)
        first = len(made) == 1
        if first and failing == "make":
            raise RuntimeError("make is broken")
        return cast(LaneProducer, _Producer(epoch, failing if first else "nothing"))

    runner = LaneRunner(3, make, answers.put, ThreadedHost())
    for epoch in (1, 2):
        runner.carry_out(OpenProducer(epoch))
        runner.carry_out(Commit(epoch, NOTHING))
        runner.carry_out(CloseProducer(epoch))
    first, second, third, fourth = (answers.get(timeout=5) for _ in range(4))
    runner.stop()
    assert [type(first), type(second)] == [
        ProducerLost if failing in {"make", "open"} else ProducerOpened,
        ProducerLost if failing in {"make", "commit"} else Committed,
    ]
    assert [third, fourth] == [ProducerOpened(2), Committed(2)]
