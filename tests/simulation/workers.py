"""The product's worker in simulated time: its engine, lane runners, enumerator and follower, with model clients."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import msgspec
from confluent_kafka import Consumer, Producer

from simulation.broker import Broker
from simulation.checkers import require
from simulation.clients import ModelAdmin, ModelConsumer, ModelProducer, Network
from simulation.coverage import Coverage
from simulation.faults import Faults
from simulation.group import Group
from simulation.repeating_source import RepeatingSource, change_of, flagged
from simulation.simulated_threads import SimulatedHost, SimulatedPool
from simulation.simulated_time import Action, Host, Schedule
from simulation.source import DELETED_WORD, Source
from tailrace.convert.converter import Converter
from tailrace.core.change import Change, Message
from tailrace.core.checkpoint import DefinitionRecord, Start, Write
from tailrace.core.lane import Lane
from tailrace.core.lane_messages import Command, Event, Notice, Read, Transaction
from tailrace.core.lane_options import LaneOptions
from tailrace.core.page import Outgoing, Page
from tailrace.core.ports import ReadFailure, ShardReader
from tailrace.core.shard import ShardRef
from tailrace.core.windowed_shard import WindowOptions
from tailrace.kafka.checkpoint_topic import Follower
from tailrace.kafka.client_factory import ClientFactory
from tailrace.kafka.clients import Admin
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.kafka.membership import Membership
from tailrace.kafka.topic_limits import TopicLimits
from tailrace.process.host import Jobs
from tailrace.sources.windowed import WindowedReader
from tailrace.wiring.pipeline import lane_suffix
from tailrace.worker.engine import RELEASE_TIMEOUT_S, Engine
from tailrace.worker.enumerator import EnumeratorLoop
from tailrace.worker.vitals import Vitals

PIPELINE = "shop"
CHECKPOINTS = f"{PIPELINE}.checkpoints"
DEAD_LETTERS = f"{PIPELINE}.dead-letters"
ENUMERATOR_INTERVAL_S = 3.0
PUBLISH_POLL_S = 0.1
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
    windows: WindowOptions
    """What becomes of late changes, of a source that repeats them."""
    source_type: str = "dynamodb-streams"
    """What the pipeline's file calls the source."""
    make_reader: Callable[[Callable[[], float]], ShardReader] | None = None
    """Makes a worker's reader, given its clock; None: it reads the source as it is."""


class Inbox:
    """The engine's inbox: what comes in is a step of the host."""

    def __init__(self, host: Host, step: Callable[[Action], None]) -> None:
        self.name = "message"
        self.delay_ms = 0
        self._host = host
        self._step = step

    def put(self, item: Action) -> None:
        name, self.name = self.name, "message"
        self._host.later(self.delay_ms, name, partial(self._step, item))


# The worker


class WorkerHost(Host):
    """The host of one worker."""

    worker: SimulatedWorker


class Readers:
    """The readers: each read takes its time, and its answer comes when it comes."""

    def __init__(self, around: Surroundings, host: Host, inbox: Inbox) -> None:
        self._around = around
        self._host = host
        self._inbox = inbox

    def submit(self, job: Action) -> None:
        rng, schedule = self._around.rng, self._around.schedule
        self._host.later(0, "Read", lambda: schedule.after(rng.randint(2, 20), lambda: self._read(job)))

    def stop(self) -> None:
        """What is under way ends with the host."""

    def _read(self, job: Action) -> None:
        rng = self._around.rng
        if not self._host.is_dead:
            is_slow = rng.random() < self._around.faults.read_slow
            self._inbox.delay_ms = rng.randint(500, 15_000) if is_slow else rng.randint(2, 20)
            job()
            self._inbox.delay_ms = 0


def encode(change: Change, now_ns: int) -> Message:
    """Make the simplest of records: the item's state, or that it was deleted.

    A stream's delete says which change it is (`event_id`); one that a snapshot found names what was deleted.
    """
    if change.op == "d":
        return Message(change.keys, change.event_id.encode() or b"%b %b" % (change.before or b"", DELETED_WORD))
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

    def __init__(self, around: Surroundings, tables: list[str], clients: ClientFactory) -> None:
        self.name = PIPELINE
        self.lane_count = around.lane_count
        self.lane_options = around.lane_options
        self.reader_count = 0
        self.definition = msgspec.structs.replace(definition(tables), source_type=around.source_type)
        self.reader: ShardReader = around.source.reader
        if around.make_reader is not None:
            self.reader = around.make_reader(clients.monotonic_s)
        elif isinstance(around.source, RepeatingSource):
            self.reader = WindowedReader(
                around.source.log,
                around.windows,
                window_bytes=1 << 20,
                gone_after_ms=around.source.policy.gone_after_ms,
                flagged=flagged,
                change_of=change_of,
                clock=clients.monotonic_s,
            )
        self.limits = ModelLimits(around.too_large)
        self.converter = Converter(
            encode,
            pipeline=PIPELINE,
            topic_of=lambda table, *_: f"{PIPELINE}.{table}",
            dead_letters_topic=DEAD_LETTERS,
            tombstones=False,
            errors_fail=around.lane_options.errors_fail,
            limits=self.limits,
        )
        self._around = around
        self._tables = tables
        self._clients = clients

    def producer(self, lane: int, epoch: int) -> LaneProducer:
        return LaneProducer(
            f"{PIPELINE}.{lane_suffix(lane)}",
            epoch,
            pipeline=PIPELINE,
            checkpoint_topic=CHECKPOINTS,
            dead_letters_topic=DEAD_LETTERS,
            properties={"transaction.timeout.ms": "12000"},
            limits=self.limits,
            factory=self._clients,
        )

    def follower(self, on_replaced: Callable[[], None]) -> Follower:
        return Follower({}, PIPELINE, range(self.lane_count), on_replaced=on_replaced, factory=self._clients)

    def membership(self, *_: object) -> Membership:
        raise NotImplementedError("the model of the group calls the worker by itself")

    def enumerator_loop(self, engine: Engine, epoch: int) -> EnumeratorLoop:
        return EnumeratorLoop(
            engine,
            self._around.source.enumerator,
            epoch,
            policy=self._around.source.policy,
            table_names=lambda: self._tables,
            wanted=self._tables.__contains__,
            start=self._around.start,
            interval_s=ENUMERATOR_INTERVAL_S,
            prepare_table=lambda _: None,
            publish_poll_s=PUBLISH_POLL_S,
        )


class Observed:
    """Hears of what the worker tells."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    def assigned(self, lanes: list[int]) -> None:
        """Nothing to note."""

    def client_replaced(self, client: str) -> None:
        self._around.coverage.happened(f"replaced: {client}")

    def page_read(self, read: Read, page: Page, seconds: float) -> None:
        """Nothing to note."""

    def read_failed(self, read: Read, failure: ReadFailure, seconds: float) -> None:
        self._around.coverage.happened(f"read failed: {failure}")

    def committed(self, transaction: Transaction, seconds: float, now_ms: int) -> None:
        """Nothing to note."""

    def notice(self, lane: int, notice: Notice) -> None:
        self._around.coverage.happened(f"notice: {notice.kind}")


class WorkersHost(SimulatedHost):
    """What the engine of one worker needs of its host."""

    def __init__(self, host: Host, around: Surroundings, clock_off_ms: int, readers: Readers) -> None:
        super().__init__(host, random.Random(around.rng.random()), clock_off_ms)
        self._readers = readers

    def pool(self, name: str, size: int) -> Jobs:
        return self._readers if name == "reader" else super().pool(name, size)


class WorkersClients:
    """The Kafka clients of one worker (`ClientFactory`); they are models of what they are declared to be."""

    def __init__(self, worker: SimulatedWorker) -> None:
        self._worker = worker

    def producer(self, _user: object, own: Mapping[str, Any]) -> Producer:
        return cast(Producer, self._worker.make_producer(own))

    def consumer(self, _user: object, own: Mapping[str, Any]) -> Consumer:
        return cast(Consumer, self._worker.make_consumer(own))

    def admin(self, _user: object, _timeout_s: float = 0) -> Admin:
        return cast(Admin, self._worker.make_admin())

    def drop(self, client: Consumer) -> None:
        client.close()

    def monotonic_s(self) -> float:
        return self._worker.host.schedule.now_ms / 1000


class ObservedEngine(Engine):
    """The product's engine, of which is noted what it does."""

    def __init__(self, parts: SimulatedParts, around: Surroundings, host: SimulatedHost, inbox: Inbox) -> None:
        super().__init__(
            parts, Observed(around), owner=host.name, host=host, vitals=Vitals(host.monotonic_s), inbox=inbox
        )
        self._around = around
        self._named_inbox = inbox
        self._commands: list[Command] = []

    def tell(self, lane: int, event: Event) -> None:
        self._named_inbox.name = type(event).__name__
        super().tell(lane, event)

    def publish(self, epoch: int, writes: tuple[Write, ...]) -> None:
        rng = self._around.rng
        faults = self._around.faults
        if rng.random() < faults.handed_over_late:
            self._named_inbox.delay_ms = rng.randint(*faults.handed_over_late_ms)
        super().publish(epoch, writes)
        self._named_inbox.delay_ms = 0

    def handle(self, lane: Lane, event: Event) -> None:
        state, phases = lane.state, {shard: shard_state.phase for shard, shard_state in lane.shard_states.items()}
        outer, self._commands = self._commands, []
        super().handle(lane, event)
        commands, self._commands = self._commands, outer
        options = self._around.lane_options
        most_bytes = options.memory_bytes + self._around.lane_count * options.source.page_bytes
        require(self._budget.held_bytes <= most_bytes, f"{self.owner} holds {self._budget.held_bytes} bytes of pages")
        self._around.coverage.handled(state, event, lane.state)
        for shard, shard_state in lane.shard_states.items():
            before = phases.get(shard)
            if before is not shard_state.phase:
                self._around.coverage.phase_changed(before, shard_state.phase)
        if self._around.tell is not None:
            self._around.tell(self.owner, _told(lane, state, event, commands))

    def carry_out(self, lane: Lane, command: Command) -> None:
        self._commands.append(command)
        SimulatedPool.step = type(command).__name__
        super().carry_out(lane, command)


class SimulatedWorker:
    """One worker: the product's engine, driven by simulated time."""

    def __init__(
        self, host: WorkerHost, around: Surroundings, version: int, *, tables: list[str], clock_off_ms: int
    ) -> None:
        """`tables` are those that its file names."""
        self.host = host
        self.tables = tables
        self.version = version
        host.worker = self
        self._around = around
        self._inbox = inbox = Inbox(host, self._step)
        self.parts = SimulatedParts(around, tables, WorkersClients(self))
        self.engine = ObservedEngine(
            self.parts, around, WorkersHost(host, around, clock_off_ms, Readers(around, host, inbox)), inbox
        )
        self._network = Network(host, around.faults, around.rng)
        self._armed_ms: int | None = None
        self._ticks = 0, 0
        self._is_ending = False
        self._follows_soon = False
        self._consumer: ModelConsumer | None = None
        self._follower: Follower | None = None
        host.later(0, "Start", self._start)

    # What the models ask for

    def make_producer(self, own: Mapping[str, Any]) -> ModelProducer:
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

    def make_consumer(self, own: Mapping[str, Any]) -> ModelConsumer:
        around = self._around
        self._consumer = ModelConsumer(
            around.broker, around.rng, around.faults, lambda: around.schedule.now_ms, self.read_version, own=own
        )
        return self._consumer

    def make_admin(self) -> ModelAdmin:
        around = self._around
        return ModelAdmin(around.broker, around.rng, around.faults)

    def follow_soon(self) -> None:
        """The checkpoint topic shows more."""
        if not self._follows_soon:
            self._follows_soon = True
            has_stopped = self._consumer is not None and self._consumer.has_stopped
            delay_ms = LOOK_MS if has_stopped else self._around.rng.randint(1, 40)
            self.host.later(delay_ms, "Follow", self._follow_once)

    # The group

    def assigned(self, lane: int) -> None:
        self._inbox.put(partial(self.engine.assigned, [lane]))

    def revoked(self, lane: int, done: Callable[[], None]) -> None:
        self._inbox.put(partial(self.engine.release, {lane}, done))

    def lost(self, lane: int) -> None:
        self._inbox.put(partial(self.engine.lose, [lane]))

    @property
    def held(self) -> set[int]:
        return set(self.engine.lanes)

    def describe(self) -> str:
        lanes = [
            f"{number} {lane.state} ({' '.join(f'{shard.shard_id[-2:]}={each.phase}' for shard, each in shards)})"
            for number, lane in self.engine.lanes.items()
            for shards in (lane.shard_states.items(),)
        ]
        return f"{self.host.name}: {', '.join(lanes)}"

    # The engine

    def fail(self, error: Exception) -> None:
        """End, since a part of the worker failed for good."""
        self._inbox.put(partial(self.engine.fail, error))

    def stop(self) -> None:
        """Stop as SIGTERM does."""
        self.engine.stop()

    def _start(self) -> None:
        self._follower = self.parts.follower(lambda: self._around.coverage.happened("replaced: follower"))
        self.follow_soon()
        self._join()

    def _join(self) -> None:
        self._around.group.join(self)

    def _step(self, item: Action | None) -> None:
        self.engine.step(item)
        if self.engine.is_stopping and not self._is_ending:
            self._is_ending = True
            self.host.schedule.after(RELEASE_TIMEOUT_S * 1000 + 1, self._end)
        if self.engine.has_ended:
            self._end()
        self._arm()

    def _end(self) -> None:
        if not self.host.is_dead:
            fatal = self.engine.fatal
            if self._around.tell is not None:
                self._around.tell(self.host.name, f"ends{': ' + str(fatal) if fatal else ''}")
            self.host.schedule.after(0, self.host.die)
            self.host.is_dead = True
            self._around.group.leave(self)

    def _arm(self) -> None:
        """Ask to be woken when the first lane wants it, as the worker's wait for its inbox does."""
        wake_ms = self.engine.wake_at_ms
        if wake_ms is not None and (self._armed_ms is None or wake_ms < self._armed_ms):
            self._armed_ms = wake_ms
            self.host.later(max(0, wake_ms - self.engine.host.now_ms()), "Tick", lambda: self._tick(wake_ms))

    def _tick(self, wake_ms: int) -> None:
        if self._armed_ms != wake_ms:
            return
        now_ms, (at_ms, count) = self.engine.host.now_ms(), self._ticks
        self._ticks = now_ms, count + 1 if at_ms == now_ms else 0
        assert self._ticks[1] < MOST_TICKS, f"the lanes of {self.describe()} never sleep"
        self._armed_ms = None
        self._step(None)

    def _follow_once(self) -> None:
        self._follows_soon = False
        assert self._follower is not None
        try:
            batch = self._follower.poll(0)
        except Exception as error:
            self._around.coverage.happened(f"refused to read: {type(error).__name__}")
            self.fail(error)
            return
        if batch:
            self._inbox.put(partial(self.engine.followed, batch))
        if self._consumer is not None and self._consumer.is_behind:
            self.follow_soon()

    # Versions

    def _write_version(self, value: bytes) -> bytes:
        """Write as the next version would: another `v`, a field that this version does not know."""
        if self.version == 1:
            return value
        record = msgspec.json.decode(value)
        return msgspec.json.encode({**record, "v": 2, "r": self.version - 1, "added": True})

    def read_version(self, topic: str, value: bytes) -> bytes:
        if self.version == 1 or topic != CHECKPOINTS:
            return value
        record = msgspec.json.decode(value)
        return msgspec.json.encode({**record, "v": 1, "r": 1})


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
