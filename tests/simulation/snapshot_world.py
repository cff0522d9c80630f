"""Histories with snapshots: of tables that are written to, by workers that share their segments, with an operator."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Literal

import msgspec

from simulation.broker import Message, Partition
from simulation.clients import PARTITIONS
from simulation.group import Group
from simulation.simulated_time import Host
from simulation.snapshot_checker import Snapshot, SnapshotChecker, check_the_order, snapshot_of
from simulation.snapshot_deletes import model_topics
from simulation.snapshot_workers import IDLE, SimulatedSnapshots, SnapshotOptions
from simulation.source import SNAPSHOTS, SourceKind, table_of
from simulation.tables import ModelTables, TableFaults
from simulation.workers import CHECKPOINTS, DEAD_LETTERS, PIPELINE, SimulatedWorker, Surroundings, WorkerHost
from simulation.world import LANE_COUNT, World
from tailrace.core.checkpoint import (
    AcceptKey,
    GapAccepted,
    SegmentKey,
    SegmentRecord,
    SegmentRef,
    SnapshotControl,
    SnapshotControlKey,
    SnapshotKey,
    SnapshotRecord,
    TopicKey,
    TopicRecord,
)
from tailrace.core.checkpoint_bytes import encode_key, encode_record
from tailrace.wiring.pipeline import snapshot_suffix

CALM_S = 60
"""How long items change, and the operator goes on, after the other faults have stopped: rows meet changes then."""
CALM_REQUEST_LATE = 0.08
CALM_LATE_MS = (100, 3_500)
"""So that transactions are open for long, and end well: of rows while changes come, of changes while rows come."""
CALM_SLOW = 0.2
"""So that changes come between a row's read and the end of its page."""
CALM_FAILED = 0.05
CALM_SHOWN_LATE = 0.7
CALM_HANDED_OVER_LATE = 0.15
CALM_HANDED_OVER_LATE_MS = (1_000, 25_000)
"""So that the second child of a split is sometimes published long after the first."""
CALM_MAKE_AGAIN = 0.05
SPLIT_BEFORE_READ = 0.3
CHANGED_AFTER_READ = 0.4
ABSENT_MS = (7_000, 20_000)
"""Time between the deletion of a table and its making: deleting takes longer than listings are late."""
PUBLISHED_MS = (3_000, 6_000)
"""A row is published so long after it was read, if nothing goes wrong: it changes while its transaction is open."""
CLOCK_OFF = 0.2
"""Part of what clocks are off in other histories: what `SourcePolicy.settle_ms` allows for."""
QUIET_FROM = 8
IDLE_NAPS = 0.02
"""Part of the naps that a wait for rows meets."""
Order = Literal["run", "pause", "cancel"]


@dataclass
class OperatorFaults:
    """What the operator does in a second, and how workers start; zero is off."""

    start: float = 0.3
    keys: float = 0.3
    """For each start: only some items are read, by their keys."""
    dies: float = 0.1
    """For each start: the operator's process dies before the snapshot is begun."""
    pause: float = 0.06
    resume: float = 0.3
    cancel: float = 0.02
    rebalance: float = 0.15
    """Of the snapshot workers' group."""
    make_again: float = 0.05
    """For each item that a scan reads: its table is deleted and made again, once in a history."""
    without_lanes: float = 0.4
    """For each worker that starts: it takes snapshots only."""

    @classmethod
    def drawn(cls, rng: random.Random) -> OperatorFaults:
        """Each is off, rare or frequent."""
        return cls(**{f.name: getattr(cls, f.name) * rng.choice((0.0, 0.3, 1.0)) for f in fields(cls)})

    def stop(self) -> None:
        for fault in fields(self):
            setattr(self, fault.name, 0.0)


class SnapshottingWorker(SimulatedWorker):
    """A worker with the snapshot worker of its process; `has_lanes` False: only that (`run --snapshot-only`)."""

    def __init__(
        self,
        host: WorkerHost,
        around: Surroundings,
        version: int,
        *,
        tables: list[str],
        clock_off_ms: int,
        options: SnapshotOptions,
        has_lanes: bool,
    ) -> None:
        super().__init__(host, around, version, tables=tables, clock_off_ms=clock_off_ms)
        self._options = options
        self._has_lanes = has_lanes
        self._snapshots: SimulatedSnapshots | None = None
        self._clock_off_ms = clock_off_ms

    def stop(self) -> None:
        if self._snapshots is not None:
            self._snapshots.stop()
        super().stop()

    def expire_snapshots(self) -> None:
        """Let the group of snapshot workers lose this one."""
        if self._snapshots is not None and self._snapshots.member is not None:
            self._options.group.expire(self._snapshots.member)

    def leave_snapshots(self) -> None:
        if self._snapshots is not None and self._snapshots.member is not None:
            self._options.group.leave(self._snapshots.member)

    def _start(self) -> None:
        super()._start()
        self._snapshots = SimulatedSnapshots(self, self._around, self._options, self._clock_off_ms)

    def _join(self) -> None:
        if self._has_lanes:
            super()._join()

    def _end(self) -> None:
        super()._end()
        self.leave_snapshots()


class SnapshotWorld(World):
    """One history with snapshots."""

    items_of_table = 12

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None, kind: SourceKind = SNAPSHOTS) -> None:
        self._own = own = random.Random(f"snapshots of {seed}")
        super().__init__(seed, trace, kind)
        self.operator_faults = OperatorFaults.drawn(own)
        self.table_faults = TableFaults.drawn(own)
        self.snapshot_checker = SnapshotChecker(
            self._source, checkpoint_topic=CHECKPOINTS, dead_letters_topic=DEAD_LETTERS
        )
        self._broker.on_commit = self._committed
        self._options = SnapshotOptions(
            tables=ModelTables(self._source, own, self.table_faults, table_of=table_of),
            group=Group(self._schedule, own, self.faults, LANE_COUNT),
            is_initial=own.random() < 0.5,
            resnapshots=own.random() < 0.5,
            segments=own.choice([1, 2, 4]),
            read_capacity=own.choice([3.0, 1_000.0]),
            partitions=PARTITIONS,
            parallel_tables=random.Random(f"tables of {seed}").choice((None, 1)),
        )
        self._options.tables.before_read = self._before_read
        self._options.tables.after_read = self._after_read
        self.faults.hole = 0.0  # a barrier counts on listings to show a shard soon after it is made (`shown_late`)
        if self._options.resnapshots:  # gaps in which something is lost, rather than many
            self.faults.wrongly_gone, self.faults.a_day = 0.0, 0.03
        self._orders: dict[str, Order] = {}
        """What the operator last ordered of a snapshot, by its id."""
        self._made_again: set[str] = set()
        """Tables that were deleted, and made again or will be."""
        self._started = 0
        self._calm_until_ms: int | None = None
        if trace is not None:
            self._options.group.tell = lambda what: self._tell("snapshots", what)
            drawn = {name: value for name, value in msgspec.structs.asdict(self._options).items() if _is_plain(value)}
            self._tell("seed", f"{drawn}, {self.operator_faults}, {self.table_faults}")

    def run(self) -> None:
        with model_topics(self._broker, self._own):
            super().run()

    # With faults

    def _play(self) -> None:
        for item in self._source.items:
            if self._own.random() < 0.7:
                self._source.load(item)
                self.checker.never_streamed(item, 0)
        super()._play()

    def _every_second(self) -> None:
        super()._every_second()
        if self._is_calm:
            for _ in range(self._own.randint(2, 6)):
                self._write(1)
                self._pass(self._own.randint(1, 100))
        faults, own = self.operator_faults, self._own
        if own.random() < faults.start:
            self._start_snapshot(own.choice(self._tables))
        for snapshot in [each for each in self.snapshot_checker.current.values() if each.outcome is None]:
            is_paused = self._orders.get(snapshot.id) == "pause"
            if own.random() < faults.cancel:
                self._order(snapshot, "cancel")
            elif not is_paused and own.random() < faults.pause:
                self._order(snapshot, "pause")
            elif is_paused and own.random() < faults.resume:
                self._order(snapshot, "run")
        if own.random() < faults.rebalance:
            self._options.group.rebalance()

    def _written_to(self) -> list[str]:
        """Let some items change all the time, and the others now and then."""
        items = [item for item in super()._written_to() if not (self._is_calm and item in self._quiet)]
        return items[::5] if self._own.random() < (0.95 if self._is_calm else 0.7) else items

    def _before_read(self, item: str) -> None:
        """Let an item change in a shard that is new, now and then, just before a scan reads it."""
        if self._may_change(item) and self._own.random() < SPLIT_BEFORE_READ:
            self._tell("world", f"splits {self._source.shard_of(item).shard_id} of {item}")
            self._source.split(self._source.shard_of(item))
            self._source.show_last(item)
            self._source.write(item)

    def _after_read(self, item: str) -> None:
        """Let what was just read change more often than anything else, until it is published."""
        table = table_of(item)
        if self._own.random() < self.operator_faults.make_again and table not in self._made_again:
            self._delete_and_make_again(table)
        if self._own.random() < CHANGED_AFTER_READ:
            delay_ms = self._own.choice([0, self._own.randint(*PUBLISHED_MS)])
            self._schedule.after(delay_ms, partial(self._change, item))

    def _delete_and_make_again(self, table: str) -> None:
        """Delete a table amid its snapshot, and make it again."""
        self.coverage.happened("table made again")
        self._tell("operator", f"deletes {table}")
        self._made_again.add(table)
        self._source.delete_table(table)
        self._schedule.after(self._own.randint(*ABSENT_MS), partial(self._make, table))

    def _make(self, table: str) -> None:
        self._tell("operator", f"makes {table} again")
        self._source.make_table_again(table)
        for item in self._source.items:
            if table_of(item) == table and self._own.random() < 0.5:
                self._source.write(item)

    def _change(self, item: str) -> None:
        if self._may_change(item):
            self._source.write(item)

    def _may_change(self, item: str) -> bool:
        return not self._is_settling or (self._is_calm and item not in self._quiet)

    def _start_snapshot(self, table: str) -> None:
        """Start a snapshot as the command does: its segments first, then the snapshot in the coordinator's place."""
        current = self.snapshot_checker.current.get(table)
        record = self.checker.tables.get(table, {"state": "unknown"})
        if record["state"] != "streaming" or (current is not None and current.outcome is None):
            return
        own, now_ms = self._own, self._schedule.now_ms
        self._started += 1
        name = f"{now_ms:011x}-{self._started:04x}"
        by_keys = own.random() < self.operator_faults.keys
        items = [item for item in self._source.items if table_of(item) == table]
        keys = own.sample(items, 6)
        total = own.choice([1, 2, 3])
        self.coverage.happened("snapshot: started by keys" if by_keys else "snapshot: started by hand")
        self._tell("operator", f"starts {name} of {table}, {total} segments{', by keys' if by_keys else ''}")
        for number in range(total):
            segment = SegmentKey(SegmentRef(table, name, str(number)))
            mine = tuple(keys[number::total]) if by_keys else ()
            running = SegmentRecord(table=table, state="running", at_ms=now_ms, keys=mine)
            self._write_record(segment.home_lane(LANE_COUNT), segment, running)
        if own.random() < self.operator_faults.dies:
            self.coverage.happened("snapshot: begun and not started")
            return
        snapshot = SnapshotRecord(
            id=name,
            source="keys" if by_keys else "scan",
            reason="repair" if by_keys else "manual",
            segments=total,
            at_ms=now_ms,
            stream=record["stream_arn"],
        )
        self._broker.init_producer_id(f"{PIPELINE}.{snapshot_suffix(0)}")  # the coordinator starts none meanwhile
        self._write_record(0, SnapshotKey(table), snapshot)

    def _order(self, snapshot: Snapshot, order: Order) -> None:
        if self._orders.get(snapshot.id) == "cancel":
            return
        self.coverage.happened(f"snapshot: {order}")
        self._tell("operator", f"orders {snapshot.id} to {order}")
        self._orders[snapshot.id] = order
        record = SnapshotControl(id=snapshot.id, order=order, at_ms=self._schedule.now_ms)
        self._write_record(0, SnapshotControlKey(snapshot.table), record)

    def _write_record(self, partition: int, key: TopicKey, record: TopicRecord) -> None:
        self._broker.write((CHECKPOINTS, partition), Message(encode_key(key), encode_record(record), []))

    def _accept_gaps(self) -> None:
        if self._options.resnapshots:
            return
        super()._accept_gaps()
        for table, found in self.checker.tables.items():
            if found["state"] == "gap":
                self._tell("operator", f"accepts that {table} has another stream")
                shards, stream = tuple(self.checker.gaps().get(table, ())), found["next_stream_arn"]
                record = GapAccepted(shards=shards, stream_arn=stream, at_ms=self._schedule.now_ms)
                self._write_record(0, AcceptKey(table), record)

    def _made_worker(self, host: WorkerHost, version: int, tables: list[str], clock_off_ms: int) -> SimulatedWorker:
        has_lanes = self._own.random() >= self.operator_faults.without_lanes
        if not has_lanes:
            self.coverage.happened("snapshot: worker without lanes")
        return SnapshottingWorker(
            host,
            self._around,
            version,
            tables=tables,
            clock_off_ms=int(clock_off_ms * CLOCK_OFF),
            options=self._options,
            has_lanes=has_lanes,
        )

    def _nap_ms(self, host: Host, step: str) -> int:
        if step == IDLE and self._own.random() >= IDLE_NAPS:
            return 0
        return super()._nap_ms(host, step)

    def _expire(self, host: Host) -> None:
        super()._expire(host)
        if isinstance(host, WorkerHost) and isinstance(host.worker, SnapshottingWorker):
            host.worker.expire_snapshots()

    def _leap(self, milliseconds: int) -> None:
        """Let changes be lost that nobody has read yet, deletes among them."""
        for item in sorted(self._quiet):
            if self._own.random() < 0.5:
                self._source.write(item)
        super()._leap(milliseconds)

    def _break_down(self, minutes: int) -> None:
        super()._break_down(minutes)
        for member in list(self._options.group.members):
            if self._own.random() < 0.5:
                self._options.group.expire(member)

    def _left(self, worker: SimulatedWorker) -> None:
        super()._left(worker)
        if isinstance(worker, SnapshottingWorker):
            worker.leave_snapshots()

    # What is promised

    def _committed(self, written: list[tuple[Partition, Message]]) -> None:
        self.snapshot_checker.committed(written)
        self.checker.committed([(place, message) for place, message in written if snapshot_of(message) is None])

    # Without faults

    def _remedy(self) -> None:
        super()._remedy()
        self.table_faults.stop()
        self.table_faults.slow, self.table_faults.failed = CALM_SLOW, CALM_FAILED
        self.operator_faults.without_lanes = 0.0
        self.operator_faults.make_again = self._own.choice([0.0, CALM_MAKE_AGAIN])
        self.faults.request_late, self.faults.late_ms = CALM_REQUEST_LATE, CALM_LATE_MS
        self.faults.shown_late = CALM_SHOWN_LATE
        self.faults.handed_over_late = CALM_HANDED_OVER_LATE
        self.faults.handed_over_late_ms = CALM_HANDED_OVER_LATE_MS
        self._calm_until_ms = self._schedule.now_ms + CALM_S * 1_000
        self._new_worker()

    @property
    def _quiet(self) -> set[str]:
        """The items that change no more once it is calm: a snapshot must find which of them were deleted."""
        return {item for item in self._source.items if int(item.split("/")[1]) >= QUIET_FROM}

    @property
    def _is_calm(self) -> bool:
        """Whether the faults have stopped and items still change."""
        return self._calm_until_ms is not None and self._schedule.now_ms < self._calm_until_ms

    def _heal(self) -> None:
        super()._heal()
        self._options.group.heal()
        if self._is_calm:
            return
        self.faults.stop()
        self.table_faults.stop()
        self.operator_faults.stop()
        for snapshot in self.snapshot_checker.current.values():
            has_failed = any(segment.state == "failed" for segment in snapshot.segments.values())
            if snapshot.outcome is None and (has_failed or self._orders.get(snapshot.id) == "pause"):
                self._order(snapshot, "run")

    def _missing(self) -> list[str]:
        without = [
            f"the snapshot of {table}"
            for table in self._tables
            if self._options.is_initial and table not in self.snapshot_checker.current
        ]
        changing = ["what still changes"] if self._is_calm else []
        return super()._missing() + self.snapshot_checker.unfinished() + without + changing

    def _check_the_topics(self) -> None:
        for (topic, _), log in self._broker.logs.items():
            if topic.startswith(f"{PIPELINE}.") and topic not in {CHECKPOINTS, DEAD_LETTERS}:
                check_the_order(log.committed(0, log.next_offset)[0], topic)
        self.snapshot_checker.check_the_tables(self._broker, self.checker.is_excused)


def _is_plain(value: object) -> bool:
    """Return whether a value is told in the same words each time."""
    return isinstance(value, int | float)
