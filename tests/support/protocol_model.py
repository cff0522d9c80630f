"""A small model of everything around the lanes: a source with splits, a broker with transactions, workers that die.

`Simulation(seed).run()` plays one random history, then lets the faults stop and waits until all is published.
Whatever breaks a promise raises `BrokenPromiseError`.
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from tailrace.core.checkpoint import AcceptKey, Checkpoint, CheckpointKey, GapAccepted, TopicKey, TopicRecord
from tailrace.core.discovery import reconcile
from tailrace.core.lane import LISTER_LANE, Lane, LaneOptions
from tailrace.core.lane_messages import (
    CloseProducer,
    Command,
    Commit,
    Committed,
    Event,
    OpenProducer,
    PageRead,
    ProducerLost,
    ProducerOpened,
    PublishLineage,
    Read,
    ReadFailed,
    Refusal,
    Release,
    Released,
    Tick,
    Transaction,
    ViewChanged,
)
from tailrace.core.page import Outgoing, Page
from tailrace.core.ports import ReadFailure, StreamListing
from tailrace.core.shard import ListedShard, Position, ShardRef
from tailrace.core.view import View

TABLE, STREAM = "orders", "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/1"
LANE_COUNT = 3
DAY_MS = 24 * 3_600_000
ITEMS = tuple(f"item-{n}" for n in range(8))
OPTIONS = LaneOptions(batch_changes=4, linger_ms=20, buffer_bytes=5_000, page_bytes=1_000, catch_up_timeout_ms=3_000)


class BrokenPromiseError(AssertionError):
    """A promise is broken."""


class Written(msgspec.Struct, frozen=True):
    """One change: the `number`-th of its item."""

    sequence: int
    item: str
    number: int
    huge: bool


@dataclass
class ModelShard:
    """A shard as it truly is."""

    parents: tuple[ShardRef, ...]
    items: set[str]
    changes: list[Written] = field(default_factory=list)
    closed: bool = False


class Source:
    """A table's stream: items move to the child shards when a shard is split or two are merged."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.shards: dict[ShardRef, ModelShard] = {}
        self.removed: dict[ShardRef, ModelShard] = {}
        self._written: dict[str, int] = defaultdict(int)
        self._sequence = 96  # so that the numbers soon grow in digits
        self._open_shard((), set(ITEMS[:4]))
        self._open_shard((), set(ITEMS[4:]))

    @property
    def all(self) -> dict[ShardRef, ModelShard]:
        return self.shards | self.removed

    def write(self, item: str, *, huge: bool) -> None:
        owner = next(shard for shard in self.shards.values() if not shard.closed and item in shard.items)
        self._sequence += self._rng.randint(1, 3)
        owner.changes.append(Written(self._sequence, item, self._written[item], huge))
        self._written[item] += 1

    def split(self) -> None:
        parent = self._rng.choice(self._open())
        items = self._close(parent)
        left = {item for item in items if self._rng.random() < 0.5}
        self._open_shard((parent,), left)
        self._open_shard((parent,), items - left)

    def merge(self) -> None:
        if len(self._open()) < 3:
            return
        parents = tuple(self._rng.sample(self._open(), 2))
        self._open_shard(parents, self._close(parents[0]) | self._close(parents[1]))

    def remove(self, shard: ShardRef) -> None:
        self.removed[shard] = self.shards.pop(shard)

    def listing(self, *, holes: bool) -> StreamListing:
        shown = [shard for shard in self.shards if not holes or self._rng.random() < 0.7]
        return StreamListing(STREAM, 0, tuple(self._listed(shard, stale=holes) for shard in shown))

    def read(self, shard: ShardRef, position: Position, iterator: str | None, *, faults: bool) -> Page:
        """Read as GetRecords does: empty pages, and (with faults) records that were read before."""
        true = self.shards[shard]
        if iterator is not None:
            start = int(iterator)
        elif position.sequence is None:
            start = 0
        else:
            start = sum(change.sequence <= int(position.sequence) for change in true.changes)
            start = max(0, start - self._rng.randint(0, 2)) if faults else start
        count = self._rng.randint(0, 5) if faults else 5
        changes = true.changes[start : start + count]
        end = start + len(changes)
        at_end = true.closed and end == len(true.changes)
        return Page(
            shard=shard,
            table=TABLE,
            records=[_outgoing(change) for change in changes],
            change_count=len(changes),
            size_bytes=100 * len(changes),
            first_sequence=str(changes[0].sequence) if changes else None,
            last_sequence=str(changes[-1].sequence) if changes else None,
            last_created_ms=1 if changes else None,
            next_iterator=None if at_end else str(end),
        )

    def _listed(self, shard: ShardRef, *, stale: bool) -> ListedShard:
        true = self.shards[shard]
        closed = true.closed and not (stale and self._rng.random() < 0.5)
        return ListedShard(shard.shard_id, tuple(parent.shard_id for parent in true.parents), closed)

    def _open(self) -> list[ShardRef]:
        return [shard for shard, true in self.shards.items() if not true.closed]

    def _close(self, shard: ShardRef) -> set[str]:
        self.shards[shard].closed = True
        return self.shards[shard].items

    def _open_shard(self, parents: tuple[ShardRef, ...], items: set[str]) -> None:
        self.shards[ShardRef(STREAM, f"shardId-{len(self.all):08d}")] = ModelShard(parents, items)


def _outgoing(change: Written) -> Outgoing:
    value = msgspec.json.encode(change)
    return Outgoing("topic", change.item.encode(), value, None, 1, str(change.sequence), value)


class Checker:
    """Looks at every commit as a `read_committed` consumer would see it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.next_number: dict[str, int] = defaultdict(int)
        self.checkpoints: dict[ShardRef, Checkpoint] = {}

    def see(self, transaction: Transaction) -> None:
        for page in transaction.pages:
            for record in page.records:
                self._see_change(msgspec.json.decode(record.raw, type=Written))
        for write in transaction.writes:
            if isinstance(write.key, CheckpointKey):
                shard = ShardRef(write.key.stream_arn, write.key.shard_id)
                if write.record is None:
                    self._require(self._has_ended(shard), f"{shard.shard_id} has a tombstone before its end")
                    continue
                assert isinstance(write.record, Checkpoint)
                self._see_checkpoint(shard, write.record)

    def missing(self) -> list[str]:
        """Say what is not published."""
        shards = self._source.all
        unended = [shard.shard_id for shard, true in shards.items() if true.closed and not self._has_ended(shard)]
        unpublished = [
            f"{change.item} {change.number}"
            for true in shards.values()
            for change in true.changes
            if change.number >= self.next_number[change.item]
        ]
        return unended + unpublished

    def _has_ended(self, shard: ShardRef) -> bool:
        return shard in self.checkpoints and self.checkpoints[shard].state == "ended"

    def _see_change(self, change: Written) -> None:
        expected = self.next_number[change.item]
        self._require(change.number <= expected, f"{change.item}: {change.number} instead of {expected}: lost or early")
        self._require(change.number >= expected, f"{change.item}: {change.number} again")
        self.next_number[change.item] += 1

    def _see_checkpoint(self, shard: ShardRef, checkpoint: Checkpoint) -> None:
        before = self.checkpoints.get(shard)
        if before is None:
            for parent in self._source.all[shard].parents:
                self._require(self._has_ended(parent), f"{shard.shard_id} began before {parent.shard_id} ended")
        else:
            self._require(before.state != "ended", f"{shard.shard_id} goes on after its end")
            steps = int(before.sequence or 0) <= int(checkpoint.sequence or 0)
            self._require(steps, f"{shard.shard_id} steps back from {before.sequence} to {checkpoint.sequence}")
        self.checkpoints[shard] = checkpoint

    @staticmethod
    def _require(holds: bool, otherwise: str) -> None:
        if not holds:
            raise BrokenPromiseError(otherwise)


class Broker:
    """Transactional ids with epochs, and the checkpoint topic as `read_committed` shows it."""

    def __init__(self, checker: Checker, rng: random.Random) -> None:
        self.partitions: list[list[tuple[TopicKey, TopicRecord | None]]] = [[] for _ in range(LANE_COUNT)]
        self._checker = checker
        self._rng = rng
        self._epochs: dict[int, int] = defaultdict(int)
        self._undecided: dict[int, Transaction] = {}
        """Transactions whose EndTxn nobody has heard the answer of: the next fence decides, or chance before it."""

    def init_transactions(self, lane: int) -> int:
        """Fence whoever had the id, end what it left open, and give the new epoch."""
        if lane in self._undecided:
            self.decide(lane)
        self._epochs[lane] += 1
        return self._epochs[lane]

    def decide(self, lane: int) -> None:
        transaction = self._undecided.pop(lane)
        if self._rng.random() < 0.5:
            self._append(transaction)

    @property
    def undecided(self) -> list[int]:
        return list(self._undecided)

    def is_fenced(self, lane: int, epoch: int) -> bool:
        return epoch != self._epochs[lane]

    def commit(self, transaction: Transaction) -> None:
        self._append(transaction)

    def leave_undecided(self, lane: int, transaction: Transaction) -> None:
        self._undecided[lane] = transaction

    def accept_gaps(self, accepted: GapAccepted) -> None:
        self.partitions[0].append((AcceptKey(TABLE), accepted))

    def _append(self, transaction: Transaction) -> None:
        self._checker.see(transaction)
        for write in transaction.writes:
            self.partitions[write.partition].append((write.key, write.record))


def refusals(transaction: Transaction) -> tuple[Refusal, ...]:
    """Refuse what is huge: with its whole batch, unless it is alone in one."""
    for page_index, page in enumerate(transaction.pages):
        for index, record in enumerate(page.records):
            huge = msgspec.json.decode(record.raw, type=Written).huge and index not in page.set_aside
            if not huge:
                continue
            batch = [index] if index in page.alone else [i for i in range(len(page.records)) if i not in page.alone]
            return tuple(Refusal(page_index, i, True, len(batch) == 1, "too large") for i in batch)
    return ()


class ModelWorker:
    """A worker: its view, its lanes, and the calls that they wait for."""

    def __init__(self, name: str, rng: random.Random) -> None:
        self.name = name
        self.view = View(LANE_COUNT)
        self.followed = [0] * LANE_COUNT
        self.lanes: dict[int, Lane] = {}
        self.calls: dict[int, deque[OpenProducer | Commit | CloseProducer]] = defaultdict(deque)
        """Producer calls: in order for each lane."""
        self.reads: list[tuple[int, Read]] = []
        self.epochs: dict[int, int] = {}
        self._incarnations = itertools.count(1)
        self._rng = rng

    def assign(self, number: int, now_ms: int) -> None:
        if number not in self.lanes:
            self.lanes[number] = Lane(
                number, self.name, self.view, OPTIONS, incarnations=self._incarnations, jitter=self._rng.random
            )
            self.handle(number, ViewChanged(), now_ms)

    def handle(self, number: int, event: Event, now_ms: int) -> None:
        lane = self.lanes.get(number)
        if lane is not None:
            for command in lane.handle(event, now_ms):
                self._carry_out(number, command)

    def _carry_out(self, number: int, command: Command) -> None:
        match command:
            case Read():
                self.reads.append((number, command))
            case OpenProducer() | Commit() | CloseProducer():
                self.calls[number].append(command)
            case Released():
                del self.lanes[number]


class Simulation:
    """One history, wholly determined by its seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.now_ms = 1_000_000
        self.source = Source(self._rng)
        self.checker = Checker(self.source)
        self.broker = Broker(self.checker, self._rng)
        self._names = (f"worker-{n}" for n in itertools.count(1))
        self.workers = [ModelWorker(next(self._names), self._rng) for _ in range(2)]
        self._faults = True
        self._owners: dict[int, int] = {}
        for lane in range(LANE_COUNT):
            self._move(lane, zombie=False)

    def run(self, steps: int = 400) -> None:
        for _ in range(steps):
            self._random_step()
        self._faults = False
        self._settle()

    # Things that happen

    def _random_step(self) -> None:
        rng = self._rng
        weighted = {
            self._write: 8,
            self._follow: 14,
            self._call: 16,
            self._read: 12,
            self._tick: 12,
            self._list: 4,
            self.source.split: 0.4,
            self.source.merge: 0.3,
            self._decide: 1,
            self._move_any: 0.8,
            self._let_go: 0.6,
            self._die: 0.25,
            self._accept: 1,
            self._pass_a_day: 0.3,
        }
        step = rng.choices(list(weighted), list(weighted.values()))[0]
        step()

    def _write(self) -> None:
        for _ in range(self._rng.randint(1, 4)):
            self.source.write(self._rng.choice(ITEMS), huge=self._rng.random() < 0.02)

    def _follow(self) -> None:
        worker = self._rng.choice(self.workers)
        partition = self._rng.randrange(LANE_COUNT)
        self._follow_partition(worker, partition, self._rng.randint(1, 6))

    def _follow_partition(self, worker: ModelWorker, partition: int, count: int) -> bool:
        start = worker.followed[partition]
        records = self.broker.partitions[partition][start : start + count]
        worker.followed[partition] += len(records)
        version = worker.view.version
        for key, record in records:
            worker.view.apply(partition, key, record)
        if worker.view.version != version:
            for number in list(worker.lanes):
                worker.handle(number, ViewChanged(), self.now_ms)
        return bool(records)

    def _call(self) -> None:
        """Carry out the next producer call of some lane, and answer it."""
        waiting = [(worker, number) for worker in self.workers for number, calls in worker.calls.items() if calls]
        if waiting:
            worker, number = self._rng.choice(waiting)
            answer = self._answer_call(worker, number, worker.calls[number].popleft())
            if answer is not None:
                worker.handle(number, answer, self.now_ms)

    def _answer_call(self, worker: ModelWorker, number: int, call: Command) -> Event | None:
        fault = self._faults and self._rng.random() < 0.08
        match call:
            case OpenProducer(incarnation):
                worker.epochs[number] = self.broker.init_transactions(number)
                return ProducerLost(incarnation, False, "timed out") if fault else ProducerOpened(incarnation)
            case Commit(incarnation, transaction):
                epoch = worker.epochs.get(number)
                if epoch is None or self.broker.is_fenced(number, epoch):
                    return ProducerLost(incarnation, epoch is not None, "fenced")
                if refused := refusals(transaction):
                    return ProducerLost(incarnation, False, "refused", refused)
                if fault:
                    self.broker.leave_undecided(number, transaction)
                    return ProducerLost(incarnation, False, "outcome unknown")
                self.broker.commit(transaction)
                return Committed(incarnation)
            case _:
                worker.epochs.pop(number, None)
                return None

    def _read(self) -> None:
        """Answer some read; with faults also late, twice, or with a failure."""
        waiting = [worker for worker in self.workers if worker.reads]
        if not waiting:
            return
        worker = self._rng.choice(waiting)
        number, read = worker.reads.pop(self._rng.randrange(len(worker.reads)))
        answer = self._answer_read(read)
        for _ in range(2 if self._faults and self._rng.random() < 0.1 else 1):
            worker.handle(number, answer, self.now_ms)

    def _answer_read(self, read: Read) -> PageRead | ReadFailed:
        failure = None
        if read.shard not in self.source.shards:
            failure = ReadFailure.GONE
        elif self._faults and self._rng.random() < 0.12:
            kinds = [ReadFailure.EXPIRED, ReadFailure.THROTTLED, ReadFailure.UNAVAILABLE]
            # A wrong GONE or TRIMMED (another endpoint by mistake): a gap, and none that was lost.
            failure = self._rng.choice(kinds * 6 + [ReadFailure.GONE] * (read.position.sequence is not None))
        if failure is not None:
            return ReadFailed(read.incarnation, read.ticket, read.shard, failure, failure)
        page = self.source.read(read.shard, read.position, read.iterator, faults=self._faults)
        return PageRead(read.incarnation, read.ticket, page)

    def _tick(self) -> None:
        self.now_ms += self._rng.choice((1, 10, 50, 300, 2_000))
        self._wake()

    def _wake(self) -> None:
        """Tell the lanes that asked for it, and no other, that time passed."""
        for worker in self.workers:
            for number, lane in list(worker.lanes.items()):
                if lane.wake_at_ms is not None and lane.wake_at_ms <= self.now_ms:
                    worker.handle(number, Tick(), self.now_ms)

    def _list(self) -> bool:
        """Let every worker that believes to be the lister list the stream."""
        wrote = False
        for worker in self.workers:
            lane = worker.lanes.get(LISTER_LANE)
            if lane is None or not lane.is_lister or lane.outbox.has_waiting or lane.outbox.is_under_way:
                continue
            if worker.followed != [len(partition) for partition in self.broker.partitions]:
                continue  # the lister waits until the view shows what it published
            listing = self.source.listing(holes=self._faults and self._rng.random() < 0.5)
            gone = [shard for shard in self.source.removed if self._rng.random() < 0.9 or not self._faults]
            result = reconcile(
                worker.view,
                TABLE,
                listing,
                whole=True,
                current=True,
                start="TRIM_HORIZON",
                gone=gone,
                now_ms=self.now_ms,
            )
            if result.writes:
                worker.handle(LISTER_LANE, PublishLineage(lane.incarnation, result.writes), self.now_ms)
                wrote = True
        return wrote

    def _decide(self) -> None:
        if self.broker.undecided:
            self.broker.decide(self._rng.choice(self.broker.undecided))

    def _move_any(self) -> None:
        self._move(self._rng.randrange(LANE_COUNT), zombie=self._rng.random() < 0.5)

    def _move(self, lane: int, *, zombie: bool) -> None:
        """Give a lane to another worker; a zombie has not heard of it."""
        before = self._owners.get(lane, 0)
        self._owners[lane] = 1 - before
        if not zombie:
            self.workers[before].handle(lane, Release(), self.now_ms)
        self.workers[1 - before].assign(lane, self.now_ms)

    def _let_go(self) -> None:
        """Let the zombies hear that they have lost their lanes."""
        for index, worker in enumerate(self.workers):
            for number in list(worker.lanes):
                if self._owners[number] != index:
                    worker.handle(number, Release(), self.now_ms)
                else:
                    worker.assign(number, self.now_ms)
        for number, index in self._owners.items():
            self.workers[index].assign(number, self.now_ms)

    def _die(self) -> None:
        """Kill a worker (what it last asked of the broker may still happen), and start another in its place."""
        index = self._rng.randrange(2)
        worker = self.workers[index]
        for number, calls in worker.calls.items():
            call = calls[0] if calls else None
            if isinstance(call, Commit) and number in worker.epochs:
                fenced = self.broker.is_fenced(number, worker.epochs[number])
                if not fenced and number not in self.broker.undecided and not refusals(call.transaction):
                    self.broker.leave_undecided(number, call.transaction)
        self.workers[index] = ModelWorker(next(self._names), self._rng)
        for lane, owner in self._owners.items():
            if owner == index:
                self.workers[index].assign(lane, self.now_ms)

    def _accept(self) -> None:
        gaps = [(shard, each.at_ms) for shard, each in self.checker.checkpoints.items() if each.state == "gap"]
        if gaps:
            self.broker.accept_gaps(GapAccepted(shards=tuple(gaps), stream_arn=None, at_ms=self.now_ms))

    def _pass_a_day(self) -> None:
        """Let a day pass: what has ended is trimmed."""
        self.now_ms += DAY_MS + 1
        for shard in list(self.source.shards):
            if self.checker.checkpoints.get(shard) and self.checker.checkpoints[shard].state == "ended":
                self.source.remove(shard)

    # The end: no faults any more

    def _settle(self) -> None:
        """Do whatever can be done until everything is published; a lane that forgets to wake up is found here."""
        for _ in self._rounds():
            if not self.checker.missing():
                return
        raise BrokenPromiseError(f"never published: {self.checker.missing()[:5]}; {self.describe()}")

    def _rounds(self, most: int = 400) -> Iterator[None]:
        for _ in range(most):
            self._let_go()
            self._accept()
            while any(worker.reads for worker in self.workers):
                self._read()
            while any(calls for worker in self.workers for calls in worker.calls.values()):
                self._call()
            for worker in self.workers:
                for partition in range(LANE_COUNT):
                    self._follow_partition(worker, partition, len(self.broker.partitions[partition]))
            self._list()
            wakes = [lane.wake_at_ms for worker in self.workers for lane in worker.lanes.values() if lane.wake_at_ms]
            self.now_ms = max(self.now_ms, min(wakes, default=self.now_ms))
            self._wake()
            yield

    def describe(self) -> str:
        return "; ".join(
            f"{worker.name}/{number} {lane.state} "
            + " ".join(f"{r.shard.shard_id[-2:]}={r.phase}" for r in lane.readings.values())
            for worker in self.workers
            for number, lane in worker.lanes.items()
        )
