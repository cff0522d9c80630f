"""The worker: one thread in which all lanes live, and the threads that carry out what they ask for.

    group member ──┐                      ┌── reader pool   (GetRecords, conversion)
    follower ──────┼──> inbox ──> engine ─┼── lane runners  (init_transactions, commit)
    pools ─────────┘    (lanes, checkpoint state)     └── enumerator loop   (while lane 0 is active)

Only the engine's thread touches the lanes and the checkpoint state. It never waits for anything but its inbox.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar

from tailrace.convert.converter import Converter
from tailrace.core import definition
from tailrace.core.checkpoint import Checkpoint, CheckpointKey, DefinitionRecord, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.lane import ENUMERATOR_LANE, Lane, LaneState
from tailrace.core.lane_messages import (
    CheckpointStateChanged,
    CloseProducer,
    Command,
    Commit,
    Committed,
    Event,
    Notice,
    OpenProducer,
    PageRead,
    PublishLineage,
    Read,
    ReadFailed,
    Release,
    Released,
    Tick,
    Transaction,
)
from tailrace.core.lane_options import LaneOptions
from tailrace.core.lane_report import LaneReport, report
from tailrace.core.memory_budget import MemoryBudget
from tailrace.core.ports import ReadError, ReadFailure, ShardReader
from tailrace.core.shard import ShardRef
from tailrace.errors import UnderSwitchError, WorldError
from tailrace.kafka import checkpoint_topic
from tailrace.kafka.checkpoint_topic import Followed, Follower
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.kafka.membership import Membership
from tailrace.kafka.owner import new_owner
from tailrace.worker.clock import Clock
from tailrace.worker.enumerator import EnumeratorLoop
from tailrace.worker.lane_runner import LaneRunner
from tailrace.worker.observer import Observer
from tailrace.worker.threads import Pool, start_thread
from tailrace.worker.vitals import Vitals

logger = logging.getLogger("tailrace.worker")

_T = TypeVar("_T")

RELEASE_TIMEOUT_S = 5.0
"""How long a rebalance, or the end, waits for transactions under way. Fencing keeps exactly-once without waiting."""
LEAVE_TIMEOUT_S = 3.0
IDLE_WAKE_S = 1.0
REPORT_TIMEOUT_S = 5.0
_READY_STATES = {LaneState.IDLE, LaneState.ACTIVE}


class Parts(Protocol):
    """Makes what a worker is built of; `runtime.pipeline` wires it to the real things."""

    name: str
    lane_count: int
    lane_options: LaneOptions
    definition: DefinitionRecord
    """What this worker takes the pipeline for, as it was recorded at its start."""
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

    def enumerator_loop(self, engine: Worker, epoch: int) -> EnumeratorLoop:
        """Make the enumerator's loop for one taking of lane 0."""
        ...


class Worker:
    """One worker of a pipeline. `run` blocks until `stop`, or until something fatal to the pipeline happens."""

    def __init__(self, parts: Parts, observer: Observer) -> None:
        self.owner = new_owner()
        self.now_ms = Clock()
        """Milliseconds since the epoch."""
        self.checkpoint_state = CheckpointState(parts.lane_count)
        """Only the engine's thread may look at it; others `ask`."""
        self.vitals = Vitals()
        self._parts = parts
        self._observer = observer
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lanes: dict[int, Lane] = {}
        self._runners: dict[int, LaneRunner] = {}
        self._epochs = itertools.count(1)
        self._random = random.Random()
        self._budget = MemoryBudget(parts.lane_options.memory_bytes)
        self._readers = Pool("reader", parts.reader_count)
        self._enumerator: EnumeratorLoop | None = None
        self._enumerator_epoch = 0
        self._releasing: list[tuple[set[int], threading.Event]] = []
        self._assigned_again: set[int] = set()
        """Lanes that came back while their last transaction before was still under way."""
        self._lost: dict[int, LaneReport] = {}
        """What is known of the lanes that Kafka took from this worker, until it hears from the group again."""
        self._commit_started_s: dict[int, tuple[float, Transaction]] = {}
        self._joined = threading.Event()
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        self._fatal: Exception | None = None
        self._told_generation = 0
        """Of the definition that was last compared with this worker's own."""

    # From any thread

    def run(self) -> None:
        """Work until stopped. Raises what was fatal to the pipeline."""
        member = start_thread("member", self._keep_membership)
        follower = start_thread("follower", self._follow)
        try:
            self._engine()
        finally:
            self._stopped.set()
            if self._enumerator is not None:
                self._enumerator.stop()
            self._readers.stop()
            deadline_s = time.monotonic() + LEAVE_TIMEOUT_S
            for thread in (member, follower):
                thread.join(max(0.0, deadline_s - time.monotonic()))
        if self._fatal is not None:
            raise self._fatal

    def stop(self) -> None:
        """Give the lanes back and end `run`; does not wait. Safe in a signal handler."""
        self._stopping.set()
        self._inbox.put(lambda: None)

    def ask(self, question: Callable[[CheckpointState], _T]) -> Future[_T]:
        """Run `question` in the engine's thread."""
        answer: Future[_T] = Future()

        def answered() -> None:
            try:
                answer.set_result(question(self.checkpoint_state))
            except Exception as error:
                answer.set_exception(error)

        self._inbox.put(answered)
        return answer

    def publish(self, epoch: int, writes: tuple[Write, ...]) -> None:
        """Hand the enumerator's records to lane 0."""
        self._tell(ENUMERATOR_LANE, PublishLineage(epoch, writes))

    def report(self) -> list[LaneReport]:
        """Describe this worker's lanes. Raises TimeoutError when the engine does not answer: it is not healthy."""

        def reports(checkpoint_state: CheckpointState) -> list[LaneReport]:
            mine = {number: report(lane, checkpoint_state) for number, lane in self._lanes.items()}
            return list((self._lost | mine).values())

        return self.ask(reports).result(timeout=REPORT_TIMEOUT_S)

    def unhealthy_why(self) -> str | None:
        """Return why this worker should be restarted, or None. Raises TimeoutError when the engine does not answer."""
        self.report()
        return "the worker has stopped" if self._stopped.is_set() else None

    def unready_why(self) -> str | None:
        """Return why this worker does no work yet, or None: it has joined the group and holds what it was given."""
        if not self._joined.is_set():
            return "it has not joined the group yet"
        opening = sorted(
            (lane for lane in self.report() if lane.state not in _READY_STATES), key=lambda each: each.lane
        )
        if not opening:
            return None
        why = next((f": {lane.lost_why}" for lane in opening if lane.lost_why), "")
        return f"lanes {[lane.lane for lane in opening]} are not taken yet{why}"

    # The engine's thread

    def _engine(self) -> None:
        release_deadline_s: float | None = None
        while True:
            with contextlib.suppress(Empty):
                self._inbox.get(timeout=self._seconds_to_wake())()
            self._wake_lanes()
            if self._stopping.is_set():
                if release_deadline_s is None:
                    release_deadline_s = time.monotonic() + RELEASE_TIMEOUT_S
                    self._release(set(self._lanes))
                is_late = time.monotonic() > release_deadline_s
                if is_late or not (self._lanes or isinstance(self._fatal, UnderSwitchError)):
                    return

    def _seconds_to_wake(self) -> float:
        times = [lane.wake_at_ms for lane in self._lanes.values() if lane.wake_at_ms is not None]
        if not times:
            return IDLE_WAKE_S
        return min(IDLE_WAKE_S, max(0.0, (min(times) - self.now_ms()) / 1000))

    def _wake_lanes(self) -> None:
        now_ms = self.now_ms()
        for lane in list(self._lanes.values()):
            if lane.wake_at_ms is not None and lane.wake_at_ms <= now_ms:
                self._handle(lane, Tick())
        for lane in sorted(self._lanes.values(), key=lambda lane: lane.waits_for_memory_since_ms or 0):
            if lane.waits_for_memory_since_ms is not None and self._budget.fits(self._parts.lane_options.page_bytes):
                self._handle(lane, Tick())

    def _tell(self, lane: int, event: Event) -> None:
        """Pass an event to a lane, from any thread."""

        def deliver() -> None:
            target = self._lanes.get(lane)
            if target is not None:
                self._handle(target, event)

        self._inbox.put(deliver)

    def _handle(self, lane: Lane, event: Event) -> None:
        if isinstance(event, Committed) and lane.number in self._commit_started_s:
            started_s, transaction = self._commit_started_s.pop(lane.number)
            self.vitals.committed()
            self._observer.committed(transaction, time.monotonic() - started_s, self.now_ms())
        for command in lane.handle(event, self.now_ms()):
            self._carry_out(lane, command)
        if lane.number == ENUMERATOR_LANE:
            self._follow_enumerator(lane)

    def _carry_out(self, lane: Lane, command: Command) -> None:
        match command:
            case Read():
                self._readers.submit(partial(self._read, lane.number, command))
            case Commit():
                self._commit_started_s[lane.number] = time.monotonic(), command.transaction
                self._runners[lane.number].carry_out(command)
            case OpenProducer() | CloseProducer():
                self._runners[lane.number].carry_out(command)
            case Notice():
                self._observer.notice(lane.number, command)
            case Released():
                self._released(lane.number)

    def _follow_enumerator(self, lane: Lane) -> None:
        """Run the enumerator's loop exactly while lane 0 is active, one loop for each taking."""
        active = lane.is_enumerator and lane.number in self._lanes
        if self._enumerator is not None and (not active or lane.epoch != self._enumerator_epoch):
            self._enumerator.stop()
            self._enumerator = None
        if active and self._enumerator is None:
            self._enumerator = self._parts.enumerator_loop(self, lane.epoch)
            self._enumerator_epoch = lane.epoch
            start_thread("enumerator", self._enumerator.run)

    def _assigned(self, lanes: list[int]) -> None:
        lost, self._lost = self._lost, {}
        for number in lanes:
            if self._stopping.is_set():
                continue
            if number in self._lanes:
                self._assigned_again.add(number)
                continue
            self._runners[number] = LaneRunner(number, self._parts.producer, partial(self._tell, number))
            self._lanes[number] = Lane(
                number,
                self.owner,
                self.checkpoint_state,
                self._parts.lane_options,
                epochs=self._epochs,
                jitter=self._random.random,
                budget=self._budget,
                known_until_ms=_known_until_ms(lost.get(number)),
            )
            self._handle(self._lanes[number], CheckpointStateChanged())
        self._lost = {number: lost[number] for number in self._assigned_again if number in lost}
        self._observer.assigned(sorted(self._lanes))

    def _release(self, lanes: set[int], done: threading.Event | None = None) -> None:
        self._assigned_again -= lanes
        if done is not None:
            self._releasing.append((set(lanes), done))
        for number in lanes:
            lane = self._lanes.get(number)
            if lane is None:
                self._released(number)
            else:
                self._handle(lane, Release())
        self._observer.assigned(sorted(self._lanes))

    def _lose(self, lanes: list[int]) -> None:
        """Release lanes that Kafka took away; what is known of them stays in the report."""
        self._lost |= {
            number: report(self._lanes[number], self.checkpoint_state).lost()
            for number in lanes
            if number in self._lanes
        }
        self._release(set(lanes))

    def _released(self, number: int) -> None:
        lane = self._lanes.pop(number, None)
        if lane is not None:
            self._runners.pop(number).stop()
        for waiting, done in self._releasing:
            waiting.discard(number)
            if not waiting:
                done.set()
        self._releasing = [(waiting, done) for waiting, done in self._releasing if waiting]
        if number in self._assigned_again:
            self._assigned_again.remove(number)
            self._assigned([number])

    def _followed(self, batch: list[Followed]) -> None:
        version = self.checkpoint_state.version
        for partition, key, record in batch:
            self.checkpoint_state.apply(partition, key, record)
            if isinstance(key, CheckpointKey) and isinstance(record, Checkpoint) and record.state == "ended":
                self._look_for_children(ShardRef(key.stream_arn, key.shard_id))
        if self.checkpoint_state.version != version:
            try:
                checkpoint_topic.check_rescaled(self._parts.name, self.checkpoint_state)
                checkpoint_topic.check_method(self._parts.name, self.checkpoint_state.method, "worker")
                self._check_definition()
            except WorldError as error:
                self._fail(error)
                return
            for lane in list(self._lanes.values()):
                self._handle(lane, CheckpointStateChanged())

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
        if self._enumerator is not None and not self.checkpoint_state.children_of(shard):
            self._enumerator.shard_ended(shard)

    def _fail(self, error: Exception) -> None:
        """Stop for good: without the group or the checkpoint topic the worker would only seem to work.

        A switch is told once more when it has ended while the lanes are released: then it is known who publishes.
        """
        if self._fatal is None or isinstance(self._fatal, UnderSwitchError):
            self._fatal = error
        self.stop()

    # Other threads

    def _read(self, lane: int, read: Read) -> None:
        """Read and convert one page (a reader's thread)."""
        started_s = time.monotonic()
        shard = read.shard
        under_way = self.vitals.read_began(shard)
        try:
            source = self._parts.reader.read(shard, read.position, read.iterator)
            under_way.converting = True
            page = self._parts.converter.convert(shard, source, time.time_ns())
        except ReadError as error:
            self.vitals.read_failed(error.failure, str(error))
            self._observer.read_failed(shard, error.failure, time.monotonic() - started_s)
            self._tell(lane, ReadFailed(read.epoch, read.ticket, shard, error.failure, str(error)))
        except Exception as error:
            self.vitals.read_ended()
            logger.exception("reading shard %s failed; this is a defect of Tailrace", shard.shard_id)
            reason = f"{type(error).__name__}: {error}"
            self._tell(lane, ReadFailed(read.epoch, read.ticket, shard, ReadFailure.UNAVAILABLE, reason))
        else:
            self.vitals.read_succeeded()
            self._observer.page_read(shard, page, time.monotonic() - started_s)
            self._tell(lane, PageRead(read.epoch, read.ticket, page))

    def _follow(self) -> None:
        """Follow the checkpoint topic (the follower's thread)."""
        follower = self._parts.follower(partial(self._observer.client_replaced, "follower"))
        try:
            while not self._stopped.is_set():
                batch = follower.poll(0.1)
                if batch:
                    self._inbox.put(partial(self._followed, batch))
        except Exception as error:
            self._inbox.put(partial(self._fail, error))
        finally:
            follower.close()

    def _keep_membership(self) -> None:
        """Be a member of the group (the member's thread)."""
        membership = self._parts.membership(
            self.owner,
            self._on_assigned,
            self._on_revoked,
            self._on_lost,
            partial(self._observer.client_replaced, "member"),
        )
        try:
            membership.join()
            while not self._stopped.is_set():
                membership.poll(0.2)
        except Exception as error:
            self._inbox.put(partial(self._fail, error))
        finally:
            membership.leave()

    def _on_assigned(self, lanes: list[int]) -> None:
        self._joined.set()
        self._inbox.put(partial(self._assigned, lanes))

    def _on_revoked(self, lanes: list[int]) -> None:
        if self._stopped.is_set() or not lanes:
            return
        done = threading.Event()
        self._inbox.put(partial(self._release, set(lanes), done))
        done.wait(RELEASE_TIMEOUT_S)

    def _on_lost(self, lanes: list[int]) -> None:
        self._inbox.put(partial(self._lose, lanes))


def _known_until_ms(lost: LaneReport | None) -> dict[ShardRef, int]:
    shards = lost.shards if lost is not None else ()
    return {each.shard: each.published_until_ms for each in shards if each.published_until_ms is not None}
