"""The product's snapshot worker in simulated time, with model clients: one beside each worker's engine."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from queue import SimpleQueue
from typing import Any, cast

import msgspec
from confluent_kafka import Consumer

from simulation.clients import BlockingConsumer
from simulation.group import Group
from simulation.simulated_threads import SimulatedHost, SimulatedPool, SimulatedQueue
from simulation.simulated_time import Action, Host, Process, sleep
from simulation.snapshot_deletes import ModelFormat
from simulation.tables import ModelTables
from simulation.workers import (
    CHECKPOINTS,
    DEAD_LETTERS,
    PIPELINE,
    SimulatedWorker,
    Surroundings,
    WorkersClients,
)
from tailrace.core import barrier
from tailrace.core.checkpoint import SnapshotRecord
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.ports import ExportReader, ReadFailure, TableFacts
from tailrace.kafka.checkpoint_topic import Follower
from tailrace.kafka.client_factory import ClientFactory
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.kafka.membership import Membership
from tailrace.process.host import Jobs
from tailrace.snapshot.beside import SnapshotsBeside
from tailrace.snapshot.deletes import Deletes
from tailrace.snapshot.export_window import ExportWindow
from tailrace.snapshot.exports import Exports
from tailrace.snapshot.observer import SnapshotNotice
from tailrace.snapshot.rows import RowReader
from tailrace.snapshot.window import Window
from tailrace.wiring.pipeline import snapshot_suffix

IDLE = "Idle"
"""The step of a snapshot worker that waits for what it reads: it takes so many that few of them meet a nap."""
READERS = 2
_NO_EXPORTS = "no exports are played"


class SnapshotOptions(msgspec.Struct):
    """How the snapshots of a history are taken."""

    tables: ModelTables
    group: Group
    """The snapshot workers'."""
    is_initial: bool
    resnapshots: bool
    segments: int
    read_capacity: float
    partitions: int
    parallel_tables: int | None


class SnapshotClients(WorkersClients):
    """The Kafka clients of a snapshot worker: they let its process wait."""

    def __init__(self, worker: SimulatedWorker, around: Surroundings, options: SnapshotOptions) -> None:
        super().__init__(worker)
        self._around = around
        self._partitions = options.partitions

    def consumer(self, _user: object, own: Mapping[str, Any]) -> Consumer:
        around = self._around
        model = BlockingConsumer(
            around.broker, around.rng, around.faults, lambda: around.schedule.now_ms, self._worker.read_version, own=own
        )
        return cast(Consumer, model)


class SnapshotHost(SimulatedHost):
    """What a snapshot worker needs of its host."""

    def __init__(self, host: Host, rng: random.Random, clock_off_ms: int) -> None:
        super().__init__(host, rng, clock_off_ms)
        self._simulated = host

    def pool(self, name: str, size: int) -> Jobs:
        return _Pools([SimulatedPool(self._simulated, f"{name}-{number}") for number in range(size)])

    def queue(self) -> SimpleQueue[Any]:
        return SimulatedQueue(IDLE)


class _Pools:
    """Threads that take turns."""

    def __init__(self, pools: list[SimulatedPool]) -> None:
        self._pools = deque(pools)

    def submit(self, job: Action) -> None:
        self._pools[0].submit(job)
        self._pools.rotate(1)

    def stop(self) -> None:
        for pool in self._pools:
            pool.stop()


class SnapshotMember:
    """A snapshot worker in its group (`tailrace.kafka.membership.Membership`): it hears of its lanes as it polls."""

    def __init__(
        self,
        group: Group,
        host: Host,
        on_assigned: Callable[[list[int]], None],
        on_revoked: Callable[[list[int]], None],
        on_lost: Callable[[list[int]], None],
    ) -> None:
        self.host = host
        self.held: set[int] = set()
        self._group = group
        self._on_assigned, self._on_revoked, self._on_lost = on_assigned, on_revoked, on_lost
        self._news: deque[Action] = deque()

    def join(self) -> None:
        self._group.join(self)

    def poll(self, _timeout_s: float) -> None:
        while self._news:
            self._news.popleft()()

    def leave(self) -> None:
        if not self.host.is_dead:
            self._group.quit(self)

    # What the group tells

    def assigned(self, lane: int) -> None:
        self._news.append(partial(self._take, lane))

    def revoked(self, lane: int, done: Action) -> None:
        def give_back() -> None:
            self._give_up(lane, self._on_revoked)
            done()

        self._news.append(give_back)

    def lost(self, lane: int) -> None:
        self._news.append(partial(self._give_up, lane, self._on_lost))

    def _take(self, lane: int) -> None:
        if lane not in self.held:
            self.held.add(lane)
            self._on_assigned([lane])

    def _give_up(self, lane: int, tell: Callable[[list[int]], None]) -> None:
        if lane in self.held:
            self.held.discard(lane)
            tell([lane])


class SimulatedSnapshotParts:
    """What a snapshot worker is built of (`tailrace.snapshot.parts.SnapshotParts`)."""

    filter: str | None = None
    named_tables: tuple[str, ...] = ()
    name = PIPELINE
    reader_count = READERS

    def __init__(
        self, worker: SimulatedWorker, around: Surroundings, options: SnapshotOptions, host: SnapshotHost
    ) -> None:
        self.lane_count = around.lane_count
        self.policy = around.source.policy
        self.parallel_tables = options.parallel_tables
        self.buffer_bytes = around.lane_options.memory_bytes
        self._worker = worker
        self._around = around
        self._options = options
        self._host = host
        self._clients: ClientFactory = SnapshotClients(worker, around, options)
        self.member: SnapshotMember | None = None

    def producer(self, lane: int, epoch: int) -> LaneProducer:
        return LaneProducer(
            f"{PIPELINE}.{snapshot_suffix(lane)}",
            epoch,
            pipeline=PIPELINE,
            checkpoint_topic=CHECKPOINTS,
            dead_letters_topic=DEAD_LETTERS,
            properties={"transaction.timeout.ms": "12000"},
            limits=self._worker.parts.limits,
            factory=self._clients,
        )

    def follower(self, on_replaced: Callable[[], None]) -> Follower:
        return Follower({}, PIPELINE, range(self.lane_count), on_replaced=on_replaced, factory=self._clients)

    def membership(
        self,
        _owner: str,
        on_assigned: Callable[[list[int]], None],
        on_revoked: Callable[[list[int]], None],
        on_lost: Callable[[list[int]], None],
        _on_replaced: Callable[[], None],
    ) -> Membership:
        group, host = self._options.group, self._worker.host
        self.member = SnapshotMember(group, host, on_assigned, on_revoked, on_lost)
        return cast(Membership, self.member)

    def window(self, on_replaced: Callable[[], None]) -> Window:
        return Window({}, on_replaced=on_replaced, factory=self._clients)

    def export_window(self, snapshot: SnapshotRecord, on_replaced: Callable[[], None]) -> ExportWindow:
        raise NotImplementedError(_NO_EXPORTS)

    def reader(self, snapshot: SnapshotRecord, facts: TableFacts, now_ms: Callable[[], int]) -> RowReader:
        return RowReader(
            snapshot,
            facts,
            self._options.tables,
            self._worker.parts.converter,
            Exports(snapshot, _no_export),
            deletes=self._deletes(snapshot, facts, now_ms),
            now_ms=now_ms,
            time_ns=self._host.time_ns,
        )

    def _deletes(self, snapshot: SnapshotRecord, facts: TableFacts, now_ms: Callable[[], int]) -> Deletes | None:
        if not snapshot.finds_deletes and snapshot.reason != "repair":
            return None
        return Deletes(
            snapshot,
            facts,
            self._options.tables,
            ModelFormat(pipeline=PIPELINE, numbers="string"),
            key_of=lambda key: key,
            user={},
            topics=self.topics_of(facts.table),
            region="eu-west-1",
            tombstones=False,
            is_of_table=lambda _topic, _value: True,
            now_ms=now_ms,
        )

    def facts(self, table: str) -> TableFacts:
        return self._options.tables.facts(table)

    def ensure_topics(self, _table: str) -> None:
        """They are there."""

    def tables_of(self, entry: str) -> tuple[str, ...]:
        return (entry,)

    def carried_tables(self, entry: str, stream: str) -> tuple[str, ...]:
        del stream
        return (entry,)

    def topics_of(self, table: str) -> tuple[str, ...]:
        return (f"{PIPELINE}.{table}",)

    def read_capacity(self, _facts: TableFacts) -> float:
        return self._options.read_capacity

    def published_until_ms(self, checkpoint_state: CheckpointState, table: str, whole_ms: int) -> int:
        return barrier.published_until_ms(checkpoint_state, table, self.policy, whole_ms)

    def reads(self, entry: str) -> bool:
        return entry in self._worker.tables

    def begins_with_snapshot(self, _table: str) -> bool:
        return self._options.is_initial

    def resnapshots(self, _table: str) -> bool:
        return self._options.resnapshots

    def segment_count(self, _facts: TableFacts) -> int:
        return self._options.segments

    def end_offsets(self, topics: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
        sleep(self._around.rng.randint(1, 50), "ListOffsets")
        logs, partitions = self._around.broker.logs, range(self._options.partitions)
        return {topic: tuple(logs[topic, partition].next_offset for partition in partitions) for topic in topics}


class Observed:
    """Hears of what the snapshot worker tells."""

    def __init__(self, around: Surroundings, owner: str) -> None:
        self._around = around
        self._owner = owner

    def chunk_published(self, table: str, **counted: float) -> None:
        for what in ("rows", "stale", "deletes"):
            if counted[what]:
                self._around.coverage.happened(f"snapshot: {what}")
        self._tell(f"chunk of {table}: {counted}")

    def chunk_aborted(self, table: str, stale: int) -> None:
        self._around.coverage.happened("snapshot: chunk aborted")
        self._tell(f"chunk of {table} aborted, {stale} rows stale")

    def read_failed(self, table: str, failure: ReadFailure, _seconds: float) -> None:
        self._around.coverage.happened(f"snapshot: read {failure}")

    def notice(self, notice: SnapshotNotice) -> None:
        self._around.coverage.happened(f"snapshot notice: {notice.kind}")
        self._tell(f"{notice}")

    def _tell(self, what: str) -> None:
        if self._around.tell is not None:
            self._around.tell(self._owner, what)


class SimulatedSnapshots:
    """What takes the snapshots of one process, beside its lanes."""

    def __init__(
        self, worker: SimulatedWorker, around: Surroundings, options: SnapshotOptions, clock_off_ms: int
    ) -> None:
        host = SnapshotHost(worker.host, random.Random(around.rng.random()), clock_off_ms)
        self._parts = SimulatedSnapshotParts(worker, around, options, host)
        self._beside = SnapshotsBeside(
            self._parts,
            Observed(around, worker.host.name),
            owner=worker.host.name,
            host=host,
            ask=worker.engine.ask,
            on_replaced=lambda client: around.coverage.happened(f"replaced: {client}"),
        )
        Process(worker.host, "snapshots", self._beside.run)

    @property
    def member(self) -> SnapshotMember | None:
        """Its membership of the group; None before the first."""
        return self._parts.member

    def stop(self) -> None:
        self._beside.stop()


def _no_export(_location: str) -> ExportReader:
    raise NotImplementedError(_NO_EXPORTS)
