"""The engine: what a worker does with its lanes, in one thread, one step after the other.

    group member ──┐                      ┌── reader pool   (GetRecords, conversion)
    follower ──────┼──> inbox ──> engine ─┼── lane runners  (init_transactions, commit)
    pools ─────────┘    (lanes, state)    └── enumerator    (while lane 0 is active)

Only the thread that makes its steps touches the lanes and the checkpoint state. No step waits for anything.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Protocol, TypeVar, assert_never

from tailrace.convert.converter import Converter
from tailrace.core import definition
from tailrace.core.checkpoint import Checkpoint, CheckpointKey, DefinitionRecord, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.lane import Lane
from tailrace.core.lane_messages import (
    CheckpointStateChanged,
    CloseProducer,
    Command,
    Commit,
    Committed,
    Event,
    Notice,
    OpenProducer,
    PublishLineage,
    Read,
    Release,
    Released,
    Tick,
    Transaction,
)
from tailrace.core.lane_options import LaneOptions
from tailrace.core.lane_report import LaneReport, report
from tailrace.core.memory_budget import MemoryBudget
from tailrace.core.ports import ShardReader
from tailrace.core.shard import ENUMERATOR_LANE, ShardRef
from tailrace.errors import UnderSwitchError, WorldError
from tailrace.kafka import checkpoint_topic
from tailrace.kafka.checkpoint_topic import Followed, Follower
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.kafka.membership import Membership
from tailrace.process.host import Host, Inbox
from tailrace.worker.enumerator import EnumeratorLoop
from tailrace.worker.lane_runner import LaneRunner
from tailrace.worker.observer import Observer
from tailrace.worker.page_reader import PageReader
from tailrace.worker.vitals import Vitals

logger = logging.getLogger("tailrace.worker")

_T = TypeVar("_T")

RELEASE_TIMEOUT_S = 5.0
"""How long a rebalance, or the end, waits for transactions in flight. Fencing keeps exactly-once without waiting."""


class Parts(Protocol):
    """Makes what a worker is built of; `tailrace.wiring` wires it to the real things."""

    name: str
    lane_count: int
    lane_options: LaneOptions
    definition: DefinitionRecord
    """The pipeline's definition as recorded when this worker started."""
    reader_count: int
    reader: ShardReader
    converter: Converter

    def producer(self, lane: int, epoch: int) -> LaneProducer:
        """Make a lane's producer."""
        ...

    def follower(self, on_replaced: Callable[[], None]) -> Follower:
        """Make the follower of the checkpoint topic."""
        ...

    def membership(
        self,
        owner: str,
        on_assigned: Callable[[list[int]], None],
        on_revoked: Callable[[list[int]], None],
        on_lost: Callable[[list[int]], None],
        on_replaced: Callable[[], None],
    ) -> Membership:
        """Make the membership of the pipeline's group."""
        ...

    def enumerator_loop(self, engine: Engine, epoch: int) -> EnumeratorLoop:
        """Make the enumerator's loop for one claim of lane 0."""
        ...


class Engine:
    """Holds the lanes of one worker. Its driver passes the jobs of its inbox to `step`."""

    def __init__(
        self, parts: Parts, observer: Observer, *, owner: str, host: Host, vitals: Vitals, inbox: Inbox
    ) -> None:
        self.owner = owner
        self.host = host
        self.checkpoint_state = CheckpointState(parts.lane_count)
        """Only for jobs; others `ask`."""
        self.lanes: dict[int, Lane] = {}
        """Only for jobs; others `ask`."""
        self.fatal: Exception | None = None
        """What ended the pipeline for this worker."""
        self.inbox = inbox
        self._parts = parts
        self._observer = observer
        self._vitals = vitals
        self._runners: dict[int, LaneRunner] = {}
        self._epochs = itertools.count(1)
        self._budget = MemoryBudget(parts.lane_options.memory_bytes)
        self._pages = PageReader(
            parts.reader, parts.converter, observer=observer, vitals=vitals, host=host, answer=self.tell
        )
        self._readers = host.pool("reader", parts.reader_count)
        self._enumerator: EnumeratorLoop | None = None
        self._enumerator_epoch = 0
        self._releasing: list[tuple[set[int], Callable[[], None]]] = []
        self._assigned_again: set[int] = set()
        """Lanes that came back while their last transaction before was still under way."""
        self._lost: dict[int, LaneReport] = {}
        """What is known about lanes that Kafka took from this worker, until it hears from the group again."""
        self._commit_started_s: dict[int, tuple[float, Transaction]] = {}
        self._is_stopping = False
        self._release_deadline_s: float | None = None
        self._told_generation = 0
        """Of the definition that was last compared with this worker's own."""

    # From any thread

    def ask(self, question: Callable[[CheckpointState], _T]) -> Future[_T]:
        """Ask `question` in the engine's thread."""
        answer: Future[_T] = self.host.future()

        def answered() -> None:
            try:
                answer.set_result(question(self.checkpoint_state))
            except Exception as error:
                answer.set_exception(error)

        self.inbox.put(answered)
        return answer

    def publish(self, epoch: int, writes: tuple[Write, ...]) -> None:
        """Hand the enumerator's records to lane 0."""
        self.tell(ENUMERATOR_LANE, PublishLineage(epoch, writes))

    def tell(self, lane: int, event: Event) -> None:
        """Pass an event to a lane, from any thread."""

        def deliver() -> None:
            target = self.lanes.get(lane)
            if target is not None:
                self.handle(target, event)

        self.inbox.put(deliver)

    def stop(self) -> None:
        """Release every lane with the next step; does not wait. Safe in a signal handler."""
        self._is_stopping = True
        self.inbox.put(lambda: None)

    def close(self) -> None:
        """End the threads that the engine started."""
        if self._enumerator is not None:
            self._enumerator.stop()
        self._readers.stop()

    # The engine's thread

    @property
    def is_stopping(self) -> bool:
        """Whether it was stopped and starts no more lanes."""
        return self._is_stopping

    def step(self, job: Callable[[], None] | None) -> None:
        """Carry out a job, if any, and what is due."""
        if job is not None:
            job()
        self._wake_lanes()
        if self._is_stopping and self._release_deadline_s is None:
            self._release_deadline_s = self.host.monotonic_s() + RELEASE_TIMEOUT_S
            self.release(set(self.lanes))

    @property
    def has_ended(self) -> bool:
        """It was stopped, and its lanes are released or their time is up.

        A switch is waited for until its end shows, so that the error says who publishes now.
        """
        if self._release_deadline_s is None:
            return False
        is_late = self.host.monotonic_s() > self._release_deadline_s
        return is_late or not (self.lanes or isinstance(self.fatal, UnderSwitchError))

    @property
    def wake_at_ms(self) -> int | None:
        """When the first lane needs a step; None if only a job can change anything."""
        return min((lane.wake_at_ms for lane in self.lanes.values() if lane.wake_at_ms is not None), default=None)

    def reports(self) -> list[LaneReport]:
        """Return the state of the lanes, including lost ones."""
        mine = {number: report(lane, self.checkpoint_state) for number, lane in self.lanes.items()}
        return list((self._lost | mine).values())

    def _wake_lanes(self) -> None:
        now_ms = self.host.now_ms()
        for lane in list(self.lanes.values()):
            if lane.wake_at_ms is not None and lane.wake_at_ms <= now_ms:
                self.handle(lane, Tick())
        page_bytes = self._parts.lane_options.source.page_bytes
        for lane in sorted(self.lanes.values(), key=lambda lane: lane.waits_for_memory_since_ms or 0):
            if lane.waits_for_memory_since_ms is not None and self._budget.fits(page_bytes):
                self.handle(lane, Tick())

    def handle(self, lane: Lane, event: Event) -> None:
        """Pass an event to a lane, and carry out its commands."""
        if isinstance(event, Committed) and lane.number in self._commit_started_s:
            started_s, transaction = self._commit_started_s.pop(lane.number)
            self._vitals.committed()
            self._observer.committed(transaction, self.host.monotonic_s() - started_s, self.host.now_ms())
        for command in lane.handle(event, self.host.now_ms()):
            self.carry_out(lane, command)
        if lane.number == ENUMERATOR_LANE:
            self._follow_enumerator(lane)

    def carry_out(self, lane: Lane, command: Command) -> None:
        """Carry out a lane's commands."""
        match command:
            case Read():
                self._readers.submit(partial(self._pages.read, lane.number, command))
            case Commit():
                self._commit_started_s[lane.number] = self.host.monotonic_s(), command.transaction
                self._runners[lane.number].carry_out(command)
            case OpenProducer() | CloseProducer():
                self._runners[lane.number].carry_out(command)
            case Notice():
                self._observer.notice(lane.number, command)
            case Released():
                self._released(lane.number)
            case _:
                assert_never(command)

    def _follow_enumerator(self, lane: Lane) -> None:
        """Run the enumerator's loop exactly while lane 0 is active, one loop for each claim."""
        active = lane.is_enumerator and lane.number in self.lanes
        if self._enumerator is not None and (not active or lane.epoch != self._enumerator_epoch):
            self._enumerator.stop()
            self._enumerator = None
        if active and self._enumerator is None:
            self._enumerator = self._parts.enumerator_loop(self, lane.epoch)
            self._enumerator_epoch = lane.epoch
            self.host.start("enumerator", self._enumerator.run)

    def assigned(self, lanes: list[int]) -> None:
        """Start the lanes that the group assigns to this worker."""
        lost, self._lost = self._lost, {}
        for number in lanes:
            if self._is_stopping:
                continue
            if number in self.lanes:
                self._assigned_again.add(number)
                continue
            self._runners[number] = LaneRunner(number, self._parts.producer, partial(self.tell, number), self.host)
            self.lanes[number] = Lane(
                number,
                self.owner,
                self.checkpoint_state,
                self._parts.lane_options,
                epochs=self._epochs,
                jitter=self.host.random,
                budget=self._budget,
                known_until_ms=_known_until_ms(lost.get(number)),
            )
            self.handle(self.lanes[number], CheckpointStateChanged())
        self._lost = {number: lost[number] for number in self._assigned_again if number in lost}
        self._observer.assigned(sorted(self.lanes))

    def release(self, lanes: set[int], done: Callable[[], None] | None = None) -> None:
        """Release lanes; `done` is called once the last one is."""
        self._assigned_again -= lanes
        if done is not None:
            self._releasing.append((set(lanes), done))
        for number in lanes:
            lane = self.lanes.get(number)
            if lane is None:
                self._released(number)
            else:
                self.handle(lane, Release())
        self._observer.assigned(sorted(self.lanes))

    def lose(self, lanes: list[int]) -> None:
        """Release lanes that Kafka took away; what is known of them stays in the report."""
        self._lost |= {
            number: report(self.lanes[number], self.checkpoint_state).lost() for number in lanes if number in self.lanes
        }
        self.release(set(lanes))

    def _released(self, number: int) -> None:
        lane = self.lanes.pop(number, None)
        if lane is not None:
            self._runners.pop(number).stop()
        for waiting, done in self._releasing:
            waiting.discard(number)
            if not waiting:
                done()
        self._releasing = [(waiting, done) for waiting, done in self._releasing if waiting]
        if number in self._assigned_again:
            self._assigned_again.remove(number)
            self.assigned([number])

    def followed(self, batch: list[Followed]) -> None:
        """Take in what the checkpoint topic shows."""
        version = self.checkpoint_state.version
        for partition, key, record in batch:
            self.checkpoint_state.apply(partition, key, record)
            if isinstance(key, CheckpointKey) and isinstance(record, Checkpoint) and record.state == "ended":
                self._look_for_children(key.shard)
        if self.checkpoint_state.version != version:
            try:
                checkpoint_topic.check_rescaled(self._parts.name, self.checkpoint_state)
                checkpoint_topic.check_method(self._parts.name, self.checkpoint_state.method, "worker")
                checkpoint_topic.check_source(
                    self._parts.name, self.checkpoint_state, self._parts.definition.source_type
                )
                self._check_definition()
            except WorldError as error:
                self.fail(error)
                return
            for lane in list(self.lanes.values()):
                self.handle(lane, CheckpointStateChanged())

    def _check_definition(self) -> None:
        """Warn of a definition that was recorded later and differs. Raises WorldError when it overrules this worker's.

        It must not go on then: as the enumerator it would undo what was accepted, and its lanes would publish
        elsewhere.
        """
        mine, recorded = self._parts.definition, self.checkpoint_state.definition
        if recorded is None or recorded.generation <= mine.generation:
            return
        overruled = definition.overruled_by(self.checkpoint_state, recorded, mine)
        if overruled:
            raise WorldError(
                f"the pipeline {self._parts.name} was given another definition: {'; '.join(map(str, overruled))}",
                hint="start this worker again with the new file",
            )
        found = definition.differences(mine, recorded)
        if found and recorded.generation != self._told_generation:
            logger.warning("another worker runs with another definition: %s", "; ".join(found))
        self._told_generation = recorded.generation

    def _look_for_children(self, shard: ShardRef) -> None:
        if self._enumerator is not None:
            self._enumerator.shard_ended(shard)

    def fail(self, error: Exception) -> None:
        """Stop for good: without the group or the checkpoint topic the worker would only seem to work.

        A switch is told once more when it has ended while the lanes are released: then it is known who publishes.
        """
        if self.fatal is None or isinstance(self.fatal, UnderSwitchError):
            self.fatal = error
        self.stop()


def _known_until_ms(lost: LaneReport | None) -> dict[ShardRef, int]:
    shards = lost.shards if lost is not None else ()
    return {each.shard: each.published_until_ms for each in shards if each.published_until_ms is not None}
