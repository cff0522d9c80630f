"""The product's worker in simulated time: its engine, lane runners, enumerator and follower, with model clients."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from functools import partial
from queue import SimpleQueue
from types import SimpleNamespace
from typing import TypeVar
from unittest.mock import patch

import msgspec

from simulation.broker import Broker
from simulation.clients import ModelAdmin, ModelConsumer, ModelProducer, Network
from simulation.coverage import Coverage
from simulation.faults import Faults
from simulation.group import Group
from simulation.simulated_threads import SimulatedEvent, SimulatedFuture, SimulatedPool, SimulatedQueue
from simulation.simulated_time import Action, Host, Process, Schedule
from simulation.source import Source
from tailrace.convert.converter import Converter
from tailrace.core.change import Change, Message
from tailrace.core.checkpoint import DefinitionRecord, Start, Write
from tailrace.core.lane import Lane
from tailrace.core.lane_messages import Command, Event, Notice, Transaction
from tailrace.core.lane_options import LaneOptions
from tailrace.core.page import Outgoing, Page
from tailrace.core.ports import ReadFailure, ShardReader
from tailrace.core.shard import ShardRef
from tailrace.kafka import client_watch, clients, lane_producer
from tailrace.kafka.checkpoint_topic import Follower
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.kafka.membership import Membership
from tailrace.kafka.topic_limits import TopicLimits
from tailrace.wiring.pipeline import lane_suffix
from tailrace.worker import enumerator, lane_runner, worker
from tailrace.worker.clock import Clock
from tailrace.worker.enumerator import EnumeratorLoop
from tailrace.worker.threads import Pool
from tailrace.worker.worker import Worker

_T = TypeVar("_T")

PIPELINE = "shop"
CHECKPOINTS = f"{PIPELINE}.checkpoints"
DEAD_LETTERS = f"{PIPELINE}.dead-letters"
ENUMERATOR_INTERVAL_S = 3.0
LOOK_MS = 500
"""Time between two polls of a consumer that has stopped: so that it costs few steps."""
MOST_TICKS = 50
"""A lane that wakes so often without time passing would never sleep."""


class Surroundings(msgspec.Struct):
    """What all workers of a history share."""

    schedule: Schedule
    faults: Faults
    rng: random.Random
    broker: Broker
    source: Source
    group: Group
    coverage: Coverage
    tell: Callable[[str, str], None] | None
    """Hears what each host does; None when nobody listens."""
    lane_count: int
    lane_options: LaneOptions
    too_large: Callable[[str, bytes | None], bool]
    """What workers know of a record's size before it is sent, by topic and value."""
    start: Start
    patterns: list[str]


class Inbox(SimpleQueue[Action]):
    """The engine's inbox: what comes in is a step of the host."""

    def __init__(self, host: Host, step: Callable[[Action], None]) -> None:
        super().__init__()
        self.name = "message"
        self.delay_ms = 0
        self._host = host
        self._step = step

    def put(self, item: Action, block: bool = True, timeout: float | None = None) -> None:
        name, self.name = self.name, "message"
        self._host.later(self.delay_ms, name, partial(self._step, item))


class SimulatedClock(Clock):
    """A host's clock, which is some seconds off."""

    def __init__(self, schedule: Schedule, off_ms: int) -> None:
        super().__init__()
        self._schedule = schedule
        self._off_ms = off_ms

    def __call__(self) -> int:
        return self._schedule.now_ms + self._off_ms


@contextlib.contextmanager
def simulated_runtime(schedule: Schedule) -> Iterator[None]:
    """Let the product's modules use the models."""

    def kafka() -> SimulatedWorker:
        assert isinstance(Host.current, WorkerHost)
        return Host.current.worker

    with contextlib.ExitStack() as stack:
        for module, name, model in (
            (lane_runner, "Pool", SimulatedPool),
            (worker, "Future", SimulatedFuture),
            (worker, "start_thread", lambda name, run: Process(_host(), name, run)),
            (enumerator, "PUBLISH_POLL_S", 0.1),
            (enumerator, "logger", _Log()),
            (worker, "logger", _Log()),
            (lane_producer, "time", SimpleNamespace(monotonic=lambda: schedule.now_ms / 1000)),
            (clients, "producer", lambda _, own: kafka().make_producer(own)),
            (lane_producer, "topics", SimpleNamespace(without_right_to_write=lambda _, used: kafka().refused(used))),
            (clients, "consumer", lambda *_: kafka().make_consumer()),
            (clients, "admin", lambda *_: kafka().make_admin()),
            (client_watch, "time", SimpleNamespace(monotonic=lambda: schedule.now_ms / 1000)),
            (clients, "drop", lambda consumer: consumer.close()),
            (client_watch, "logger", _Log()),
        ):
            stack.enter_context(patch.object(module, name, model))
        yield


class _Log:
    """Keeps quiet, but does not let a defect pass."""

    def warning(self, *_: object, **__: object) -> None:
        """It is expected here."""

    error = warning

    def exception(self, *_: object) -> None:
        raise  # noqa: PLE0704 - called where an exception was caught


def _host() -> Host:
    assert Host.current is not None
    return Host.current


# The worker


class WorkerHost(Host):
    """The host of one worker."""

    worker: SimulatedWorker


class Readers(Pool):
    """The readers: each read takes its time, and its answer comes when it comes."""

    def __init__(self, around: Surroundings, host: Host, inbox: Inbox) -> None:
        super().__init__("reader", 0)
        self._around = around
        self._host = host
        self._inbox = inbox

    def submit(self, job: Action) -> None:
        rng, schedule = self._around.rng, self._around.schedule
        self._host.later(0, "Read", lambda: schedule.after(rng.randint(2, 20), lambda: self._read(job)))

    def _read(self, job: Action) -> None:
        rng = self._around.rng
        if not self._host.is_dead:
            is_slow = rng.random() < self._around.faults.read_slow
            self._inbox.delay_ms = rng.randint(500, 15_000) if is_slow else rng.randint(2, 20)
            job()
            self._inbox.delay_ms = 0


class Encoder:
    """The simplest of formats."""

    def encode(self, change: Change, now_ns: int) -> Message:
        return Message(change.keys, change.after)


def definition(tables: list[str], generation: int = 0) -> DefinitionRecord:
    """The definition of a pipeline of these tables."""
    return DefinitionRecord(
        generation=generation,
        tables=tuple(tables),
        exclude=(),
        topic=f"{PIPELINE}.{{table}}",
        routes=(),
        format="",
        transform="",
    )


class ModelLimits(TopicLimits):
    """Knows what a broker of the model takes that goes by what a record is, not by its size."""

    def __init__(self, too_large: Callable[[str, bytes | None], bool]) -> None:
        super().__init__({})
        self._too_large = too_large

    @property
    def ordinary_bytes(self) -> int:
        return 0

    def why_too_large(self, record: Outgoing) -> str | None:
        return "known to be too large" if self._too_large(record.topic, record.value) else None


class SimulatedParts:
    """What the worker is built of."""

    def __init__(self, around: Surroundings, tables: list[str]) -> None:
        self.name = PIPELINE
        self.lane_count = around.lane_count
        self.lane_options = around.lane_options
        self.reader_count = 0
        self.definition = definition(tables)
        self.reader: ShardReader = around.source.reader
        self._limits = ModelLimits(around.too_large)
        self.converter = Converter(
            Encoder(),
            pipeline=PIPELINE,
            topic_of=lambda table: f"{PIPELINE}.{table}",
            table_of=lambda stream_arn: stream_arn.split("/")[1],
            dead_letters_topic=DEAD_LETTERS,
            tombstones=False,
            errors_fail=around.lane_options.errors_fail,
            limits=self._limits,
        )
        self._around = around
        self._tables = tables

    def producer(self, lane: int, epoch: int) -> LaneProducer:
        return LaneProducer(
            f"{PIPELINE}.{lane_suffix(lane)}",
            epoch,
            pipeline=PIPELINE,
            checkpoint_topic=CHECKPOINTS,
            dead_letters_topic=DEAD_LETTERS,
            properties={"transaction.timeout.ms": "12000"},
            limits=self._limits,
        )

    def follower(self, on_replaced: Callable[[], None]) -> Follower:
        return Follower({}, PIPELINE, range(self.lane_count), on_replaced=on_replaced)

    def membership(self, *_: object) -> Membership:
        raise NotImplementedError("the model of the group calls the worker by itself")

    def enumerator_loop(self, engine: Worker, epoch: int) -> EnumeratorLoop:
        loop = EnumeratorLoop(
            engine,
            self._around.source.enumerator,
            epoch,
            table_names=lambda: self._tables,
            wanted=self._tables.__contains__,
            start=self._around.start,
            interval_s=ENUMERATOR_INTERVAL_S,
            prepare_table=lambda _: None,
        )
        loop._stopped = SimulatedEvent()
        loop._ended = SimulatedQueue()
        return loop


class Observed:
    """Hears of what the worker tells."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    def assigned(self, lanes: list[int]) -> None:
        """Nothing to note."""

    def client_replaced(self, client: str) -> None:
        self._around.coverage.happened(f"replaced: {client}")

    def page_read(self, shard: ShardRef, page: Page, seconds: float) -> None:
        """Nothing to note."""

    def read_failed(self, shard: ShardRef, failure: ReadFailure, seconds: float) -> None:
        self._around.coverage.happened(f"read failed: {failure}")

    def committed(self, transaction: Transaction, seconds: float, now_ms: int) -> None:
        """Nothing to note."""

    def notice(self, lane: int, notice: Notice) -> None:
        self._around.coverage.happened(f"notice: {notice.kind}")


class SimulatedWorker(Worker):
    """One worker: the product's, driven by simulated time."""

    def __init__(
        self, host: WorkerHost, around: Surroundings, version: int, *, tables: list[str], clock_off_ms: int
    ) -> None:
        """`tables` are those that its file names."""
        super().__init__(SimulatedParts(around, tables), Observed(around))
        self.tables = tables
        host.worker = self
        self._host = host
        self.owner = host.name
        self.now_ms = SimulatedClock(around.schedule, clock_off_ms)
        self.version = version
        self._around = around
        self._random = random.Random(around.rng.random())
        inbox = Inbox(host, self._step)
        self._inbox = inbox
        self._engine_inbox = inbox
        self._readers = Readers(around, host, inbox)
        self._network = Network(host, around.faults, around.rng)
        self._commands: list[Command] = []
        self._armed_ms: int | None = None
        self._ticks = 0, 0
        self._is_releasing = False
        self._follows_soon = False
        self._consumer: ModelConsumer | None = None
        self._follower: Follower | None = None
        host.later(0, "Start", self._start)

    # What the models ask for

    @property
    def host(self) -> WorkerHost:
        return self._host

    def make_producer(self, own: dict[str, str]) -> ModelProducer:
        around = self._around
        return ModelProducer(
            around.broker,
            self._network,
            own["transactional.id"],
            around.rng,
            faults=around.faults,
            checkpoint_topic=CHECKPOINTS,
            translate=self._write_version,
            batch_bytes=int(own["batch.size"]),
        )

    def make_consumer(self) -> ModelConsumer:
        around = self._around
        self._consumer = ModelConsumer(
            around.broker, around.rng, around.faults, lambda: around.schedule.now_ms, self._read_version
        )
        return self._consumer

    def make_admin(self) -> ModelAdmin:
        around = self._around
        return ModelAdmin(around.broker, around.rng, around.faults)

    def refused(self, used: set[str]) -> set[str]:
        return used & self._around.broker.refused_topics

    def follow_soon(self) -> None:
        """The checkpoint topic shows more."""
        if not self._follows_soon:
            self._follows_soon = True
            has_stopped = self._consumer is not None and self._consumer.has_stopped
            delay_ms = LOOK_MS if has_stopped else self._around.rng.randint(1, 40)
            self.host.later(delay_ms, "Follow", self._follow_once)

    # The group

    def assigned(self, lane: int) -> None:
        self._on_assigned([lane])

    def revoked(self, lane: int, done: Callable[[], None]) -> None:
        event = _Calling(done)
        self._inbox.put(partial(self._release, {lane}, event))

    def lost(self, lane: int) -> None:
        self._on_lost([lane])

    @property
    def held(self) -> set[int]:
        return set(self._lanes)

    def describe(self) -> str:
        lanes = [
            f"{number} {lane.state} ({' '.join(f'{shard.shard_id[-2:]}={each.phase}' for shard, each in shards)})"
            for number, lane in self._lanes.items()
            for shards in (lane.shard_states.items(),)
        ]
        return f"{self.host.name}: {', '.join(lanes)}"

    # The engine

    def _start(self) -> None:
        self._follower = self._parts.follower(partial(self._observer.client_replaced, "follower"))
        self.follow_soon()
        self._around.group.join(self)

    def _step(self, item: Action) -> None:
        item()
        self._wake_lanes()
        if self._stopping.is_set() and not self._is_releasing:
            self._is_releasing = True
            self.host.schedule.after(5_000, self._end)
            self._release(set(self._lanes))
        if self._is_releasing and not self._lanes:
            self._end()
        self._arm()

    def _end(self) -> None:
        if not self.host.is_dead:
            if self._around.tell is not None:
                self._around.tell(self.host.name, f"ends{': ' + str(self._fatal) if self._fatal else ''}")
            self.host.schedule.after(0, self.host.die)
            self.host.is_dead = True
            self._around.group.leave(self)

    def _arm(self) -> None:
        """Ask to be woken when the first lane wants it, as the engine's wait for its inbox does."""
        times = [lane.wake_at_ms for lane in self._lanes.values() if lane.wake_at_ms is not None]
        if times and (self._armed_ms is None or min(times) < self._armed_ms):
            self._armed_ms = wake_ms = min(times)
            self.host.later(max(0, wake_ms - self.now_ms()), "Tick", lambda: self._tick(wake_ms))

    def _tick(self, wake_ms: int) -> None:
        if self._armed_ms != wake_ms:
            return
        at_ms, count = self._ticks
        self._ticks = self.now_ms(), count + 1 if at_ms == self.now_ms() else 0
        assert self._ticks[1] < MOST_TICKS, f"the lanes of {self.describe()} never sleep"
        self._armed_ms = None
        self._wake_lanes()
        self._arm()

    def _tell(self, lane: int, event: Event) -> None:
        self._engine_inbox.name = type(event).__name__
        super()._tell(lane, event)

    def publish(self, epoch: int, writes: tuple[Write, ...]) -> None:
        rng = self._around.rng
        if rng.random() < self._around.faults.handed_over_late:
            self._engine_inbox.delay_ms = rng.randint(10, 8_000)
        super().publish(epoch, writes)
        self._engine_inbox.delay_ms = 0

    def _handle(self, lane: Lane, event: Event) -> None:
        state, phases = lane.state, {shard: shard_state.phase for shard, shard_state in lane.shard_states.items()}
        outer, self._commands = self._commands, []
        super()._handle(lane, event)
        commands, self._commands = self._commands, outer
        self._around.coverage.handled(state, event, lane.state)
        for shard, shard_state in lane.shard_states.items():
            before = phases.get(shard)
            if before is not shard_state.phase:
                self._around.coverage.phase_changed(before, shard_state.phase)
        if self._around.tell is not None:
            self._around.tell(self.host.name, _told(lane, state, event, commands))

    def _carry_out(self, lane: Lane, command: Command) -> None:
        self._commands.append(command)
        SimulatedPool.step = type(command).__name__
        super()._carry_out(lane, command)

    def _follow_once(self) -> None:
        self._follows_soon = False
        assert self._follower is not None
        try:
            batch = self._follower.poll(0)
        except Exception as error:
            self._around.coverage.happened(f"refused to read: {type(error).__name__}")
            self._inbox.put(partial(self._fail, error))
            return
        if batch:
            self._inbox.put(partial(self._followed, batch))
        if self._consumer is not None and self._consumer.is_behind:
            self.follow_soon()

    # Versions

    def _write_version(self, value: bytes) -> bytes:
        """Write as the next version would: another `v`, a field that this version does not know."""
        if self.version == 1:
            return value
        record = msgspec.json.decode(value)
        return msgspec.json.encode({**record, "v": 2, "r": self.version - 1, "added": True})

    def _read_version(self, value: bytes) -> bytes:
        if self.version == 1:
            return value
        record = msgspec.json.decode(value)
        return msgspec.json.encode({**record, "v": 1, "r": 1})


class _Calling(threading.Event):
    """Calls somebody when it is set."""

    def __init__(self, call: Callable[[], None]) -> None:
        super().__init__()
        self._call = call

    def set(self) -> None:
        self._call()


def _told(lane: Lane, state: str, event: Event, commands: list[Command]) -> str:
    after = f" -> {lane.state}" if lane.state != state else ""
    return f"lane {lane.number} [{state}{after}] {_short(event)}{''.join(f' | {_short(each)}' for each in commands)}"


def _short(message: Event | Command) -> str:
    """Tell an event or a command in a few words."""
    parts = []
    for name in message.__struct_fields__:
        value = getattr(message, name)
        match value:
            case Page():
                span = f"{value.first_sequence}..{value.last_sequence}" if value.records else "nothing"
                value = f"{value.shard.shard_id[-2:]}: {span}{'' if value.next_iterator else ', its end'}"
            case Transaction():
                pages = ", ".join(f"{p.shard.shard_id[-2:]}:{p.first_sequence}..{p.last_sequence}" for p in value.pages)
                keys = ", ".join("/".join(str(part)[-2:] for part in msgspec.to_builtins(w.key)) for w in value.writes)
                value = f"{pages}; {keys}"
            case ShardRef():
                value = value.shard_id[-2:]
            case tuple() if name == "writes":
                value = f"{len(value)} writes"
        parts.append(f"{name}={value}")
    return f"{type(message).__name__}({', '.join(parts)})"
