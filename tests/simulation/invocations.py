"""Deliveries of AWS Lambda in simulated steps, from a seed: sandboxes freeze, die and wake, batches come twice.

The broker's model is as small as the protocol allows: a lane's log of committed transactions, an epoch for each
transactional id, and commits that are carried out although nobody hears of it, at once or later.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field

from support.lanes import NOW_MS, STREAM, TABLE, page
from tailrace.core.checkpoint import MethodKey, MethodRecord, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.claiming import CatchUp, ClaimCommand
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
from tailrace.core.page import Page
from tailrace.core.shard import ShardRef
from tailrace.core.shard_publisher import Failure, ShardPublisher
from tailrace.sources.dynamodb.policy import POLICY

SHARD = ShardRef(STREAM, "shardId-00000001")
CHANGES = 40
STEPS_MAX = 20_000

MakePages = Callable[[list[int], ShardPublisher], Iterable[Page]]
"""Makes the pages of a batch, which are asked for when the shard is claimed."""
MakeDelivery = Callable[[str, CheckpointState], ShardPublisher]


class TimeIsUpError(Exception):
    """Raised by what makes pages."""


def in_threes(batch: list[int], publisher: ShardPublisher) -> list[Page]:
    """Return a batch in pages of up to three, whatever is published already."""
    return [page(publisher.shard, *batch[n : n + 3]) for n in range(0, len(batch), 3)]


def correct(owner: str, checkpoint_state: CheckpointState) -> ShardPublisher:
    """Make a delivery as it is."""
    return ShardPublisher(SHARD, owner, checkpoint_state, table=TABLE, source=POLICY, errors_fail=False)


@dataclass
class Broker:
    """One lane's partition and the shard's transactional id."""

    rng: random.Random
    log: list[Write] = field(default_factory=list)
    changes: list[int] = field(default_factory=list)
    """Sequence numbers of the committed changes, in their order."""
    values: list[bytes | None] = field(default_factory=list)
    """Their values."""
    epoch: int = 0
    late: list[tuple[int, Transaction]] = field(default_factory=list)
    """Commits on their way: carried out unless their producer is fenced first."""
    fences: bool = True
    """False: each producer has a transactional id of its own."""

    def open(self) -> int:
        """Fence everyone else."""
        self.epoch += 1
        return self.epoch

    def commit(self, epoch: int, transaction: Transaction) -> bool:
        """Carry a commit out unless its producer is fenced."""
        if self.fences and epoch != self.epoch:
            return False
        self.log += transaction.writes
        records = [record for page in transaction.pages for record in page.records]
        self.changes += [int(record.origin.sequence) for record in records]
        self.values += [record.value for record in records]
        return True

    def deliver_late(self) -> None:
        """Let what is on its way arrive."""
        for request in [request for request in self.late if self.rng.random() < 0.3]:
            self.late.remove(request)
            self.commit(*request)


@dataclass
class Sandbox:
    """One sandbox: at most one batch at a time, stepped from outside."""

    publisher: ShardPublisher
    checkpoint_state: CheckpointState
    broker: Broker
    rng: random.Random
    pages: MakePages
    epoch: int = 0
    read_up_to: int = 0
    batch: list[int] = field(default_factory=list)
    steps: Generator[ClaimCommand, ProducerAnswer | None, Failure | None] | None = None
    command: ClaimCommand | None = None

    def begin(self, batch: list[int]) -> None:
        """Take a batch."""
        self.batch = batch
        self.steps = self.publisher.publish(self.pages(batch, self.publisher), NOW_MS)
        self.command = None

    def step(self, *, faults: bool) -> bool:
        """Carry out one command; tells whether the batch has ended."""
        assert self.steps is not None
        try:
            if self.command is None:
                self.command = next(self.steps)
            else:
                self.command = self.steps.send(self._carry_out(self.command, faults=faults))
        except StopIteration:
            self.steps = None
            return True
        except TimeIsUpError:
            self.give_up()
            return True
        return False

    def give_up(self) -> None:
        """The time is up: nothing is under way for whoever comes next."""
        self.publisher.abandon()
        self.steps = None

    def first_failed(self) -> int | None:
        """Return the first change of the batch that is not published, as the function answers."""
        sequence = int(self.publisher.sequence or 0)
        return next((number for number in self.batch if number > sequence), None)

    def _carry_out(self, command: ClaimCommand, *, faults: bool) -> ProducerAnswer | None:
        match command:
            case OpenProducer(epoch):
                self.epoch = self.broker.open()
                if faults and self.rng.random() < 0.05:
                    return ProducerLost(epoch, fenced=False, reason="init_transactions timed out")
                return ProducerOpened(epoch)
            case Commit(epoch, transaction):
                return self._commit(epoch, transaction, faults=faults)
            case CatchUp():
                if command.is_over():
                    return None
                end = len(self.broker.log)
                if faults and self.rng.random() < 0.1:
                    end = self.rng.randint(self.read_up_to, end)
                for write in self.broker.log[self.read_up_to : end]:
                    self.checkpoint_state.apply(0, write.key, write.record)
                self.read_up_to = end
                return None
            case CloseProducer():
                return None

    def _commit(self, epoch: int, transaction: Transaction, *, faults: bool) -> ProducerAnswer:
        fate = self.rng.random() if faults else 1.0
        if fate < 0.05:
            self.broker.late.append((self.epoch, transaction))
        elif not self.broker.commit(self.epoch, transaction):
            return ProducerLost(epoch, fenced=True, reason="fenced")
        if fate < 0.10:
            return ProducerLost(epoch, fenced=False, reason="commit_transaction timed out")
        return Committed(epoch)


def run(seed: int, make: MakeDelivery = correct, *, fences: bool = True) -> list[int]:
    """Deliver a shard's changes to the end; gives what was committed, in its order.

    Raises AssertionError when that does not end.
    """
    return deliver(seed, range(1, CHANGES + 1), make, lambda: in_threes, fences=fences).changes


def deliver(
    seed: int, numbers: range, make: MakeDelivery, make_pages: Callable[[], MakePages], *, fences: bool = True
) -> Broker:
    """Deliver changes of a shard to sandboxes, each with its own `make_pages()`; give what became of it."""
    rng = random.Random(seed)
    broker = Broker(
        rng, fences=fences, log=[Write(0, MethodKey(), MethodRecord(method="lambda", nonce="n", at_ms=NOW_MS))]
    )
    sandboxes: list[Sandbox] = []
    position = numbers[0] - 1  # all changes up to here are answered for
    waiting: Sandbox | None = None  # the sandbox whose answer the mapper waits for; others are forgotten zombies
    for step in range(STEPS_MAX):
        faults = step < STEPS_MAX // 2
        broker.deliver_late()
        if waiting is None and position == numbers[-1]:
            break
        if waiting is None or (faults and rng.random() < 0.02):  # by rights, a time-out, or the same batch twice
            idle = [each for each in sandboxes if each.steps is None]
            if not idle or rng.random() < 0.1:
                checkpoint_state = CheckpointState(1)
                publisher = make(f"sandbox-{len(sandboxes)}", checkpoint_state)
                idle = [Sandbox(publisher, checkpoint_state, broker, rng, make_pages())]
                sandboxes += idle
            waiting = rng.choice(idle)
            waiting.begin(list(range(position + 1, min(numbers[-1], position + rng.randint(1, 8)) + 1)))
        running = [each for each in sandboxes if each.steps is not None]
        one = rng.choice(running) if faults else waiting
        if faults and rng.random() < 0.02:
            one.give_up()
        elif not one.step(faults=faults):
            continue
        if one is waiting:
            failed = one.first_failed()
            position = one.batch[-1] if failed is None else failed - 1
            waiting = None
    assert position == numbers[-1], "the deliveries do not come to an end"
    return broker
