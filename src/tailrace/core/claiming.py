"""Claiming: what a producer does before it may publish, so that no other producer publishes the same. Pure.

Three steps, in this order and no other: *fence* (`OpenProducer`), commit a *claim*, wait until the checkpoint topic, as
far as it has been read, shows that very claim. What was committed before the fence precedes the claim, so it has been
read by then, and nobody else can commit after the claim.

    OPENING -> CLAIMING -> CATCHING_UP -> HELD

If the producer is lost on the way, or the claim is not read back, the attempt ends: the producer is closed, whatever
the outcome of its last call, and the next attempt has an epoch and a claim of its own. `Lane` is driven by events;
whoever waits for each answer (the Lambda function, the operations) uses `Claiming.steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import StrEnum
from typing import TypeVar

import msgspec

from tailrace.core.checkpoint import Claim, ClaimKey, EnumeratorKey, Write
from tailrace.core.lane_messages import (
    CloseProducer,
    Commit,
    Committed,
    OpenProducer,
    ProducerAnswer,
    ProducerCommand,
    ProducerLost,
    ProducerOpened,
    Transaction,
)
from tailrace.core.shard import ENUMERATOR_LANE


class ClaimState(StrEnum):
    """How far an attempt has come."""

    OPENING = "opening"
    """The producer is being opened, which fences whoever claimed before."""
    CLAIMING = "claiming"
    """The claim is being committed."""
    CATCHING_UP = "catching up"
    """The claim is committed; what precedes it is being read."""
    HELD = "held"


class CatchUp(msgspec.Struct, frozen=True):
    """Follow these partitions of the checkpoint topic until `is_over()`, or for long enough. No answer."""

    partitions: frozenset[int]
    is_over: Callable[[], bool]


ClaimCommand = ProducerCommand | CatchUp
_Result = TypeVar("_Result")


class Claiming:
    """One attempt to claim what a transactional id stands for."""

    def __init__(self, epoch: int, claim: tuple[Write, ...], shows: Callable[[Write], bool]) -> None:
        """`claim` is the record to write: unique under its keys, and read back only after it was committed.

        `shows(write)` returns whether the record is the last of its key, as far as the topic has been read.
        """
        self.epoch = epoch
        self.state = ClaimState.OPENING
        self._claim = claim
        self._shows = shows

    def open(self) -> OpenProducer:
        """Return the first command."""
        return OpenProducer(self.epoch)

    def handle(self, answer: ProducerOpened | Committed) -> Commit | None:
        """Take in the answer to the last command; return the next one. An unexpected answer is ignored."""
        match answer:
            case ProducerOpened() if self.state is ClaimState.OPENING:
                self.state = ClaimState.CLAIMING
                return Commit(self.epoch, Transaction((), self._claim))
            case Committed() if self.state is ClaimState.CLAIMING:
                self.state = ClaimState.CATCHING_UP
        return None

    def look(self) -> bool:
        """Check whether the whole claim was read back; return whether it is held."""
        if self.state is ClaimState.CATCHING_UP and all(map(self._shows, self._claim)):
            self.state = ClaimState.HELD
        return self.state is ClaimState.HELD

    def steps(self) -> Generator[ClaimCommand, ProducerAnswer | None, ProducerLost | None]:
        """Yield one command after the other, and be sent what answers it; return why the claim is not held, or None.

        When it is not, the producer is closed by then. Fenced: somebody else claimed after it.
        """
        command: OpenProducer | Commit | None = self.open()
        while command is not None:
            answer = yield command
            if isinstance(answer, ProducerLost):
                yield CloseProducer(self.epoch)
                return answer
            command = None if answer is None else self.handle(answer)
        yield CatchUp(frozenset(write.partition for write in self._claim), self.look)
        if self.look():
            return None
        yield CloseProducer(self.epoch)
        return ProducerLost(self.epoch, fenced=True, reason="the claim does not show: another one came after it")


def drive(
    steps: Generator[ClaimCommand, ProducerAnswer | None, _Result],
    carry_out: Callable[[ClaimCommand], ProducerAnswer | None],
) -> _Result:
    """Carry out one command after the other until the steps end; return what they return."""
    try:
        command = next(steps)
        while True:
            command = steps.send(carry_out(command))
    except StopIteration as end:
        result: _Result = end.value
        return result


def lane_claim(lane: int, lane_count: int, claim: Claim) -> tuple[Write, ...]:
    """Return the records that claim a lane. The enumerator's must be seen in every lane."""
    own = Write(lane, ClaimKey(), claim)
    if lane != ENUMERATOR_LANE:
        return (own,)
    return (own, *(Write(partition, EnumeratorKey(), claim) for partition in range(lane_count)))
