"""One history, wholly determined by its seed: workers and the world around them, faults, and then a time without."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from functools import partial

from simulation.broker import Broker, Message, Partition, State
from simulation.checkers import BrokenPromiseError, Checker, check_the_topics, require
from simulation.coverage import Coverage
from simulation.defects import defects_raised
from simulation.faults import Faults, RepeatingFaults
from simulation.group import SESSION_TIMEOUT_MS, Group
from simulation.log_checker import LogChecker, check_each_once
from simulation.repeating_source import RepeatingSource
from simulation.simulated_time import Host, Schedule
from simulation.source import STREAMS, Source, SourceKind
from simulation.workers import (
    CHECKPOINTS,
    DEAD_LETTERS,
    SimulatedWorker,
    Surroundings,
    WorkerHost,
    definition,
)
from tailrace.core.checkpoint import AcceptKey, DefinitionKey, GapAccepted, Start
from tailrace.core.checkpoint_bytes import encode_key, encode_record
from tailrace.core.lane_options import LaneOptions
from tailrace.core.pacing import Backoff, Pacing
from tailrace.core.source_policy import SourcePolicy
from tailrace.core.windowed_shard import Late, WindowOptions

LANE_COUNT = 3
BIRTH_MS = 1_700_000_000_000
SETTLE_S = 1_800
"""Everything is published so soon after the faults stop, or never."""
HOUR_MS = 3_600_000


class World:
    """One history."""

    items_of_table = 5
    lasts_s = 40

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None, kind: SourceKind = STREAMS) -> None:
        """`trace` is given a line for all that happens."""
        self.seed = seed
        self.coverage = Coverage()
        self._rng = rng = random.Random(seed)
        self._trace = trace
        self._schedule = schedule = Schedule(BIRTH_MS)
        self.faults: Faults
        self._source: Source
        if kind.repeats:
            self.faults = repeating = RepeatingFaults.drawn(rng)
            self._source = RepeatingSource(kind, schedule, rng, repeating)
        else:
            self.faults = Faults.drawn(rng)
            fates = random.Random(f"fates of {seed}") if kind.has_snapshots else None
            self._source = Source(kind, schedule, rng, self.faults, fates=fates)
        faults = self.faults
        self._broker = Broker(lambda: schedule.now_ms, self._refuses)
        self._group = Group(schedule, rng, faults, LANE_COUNT)
        self.checker = self._checker()
        self._is_fixed = False
        self._is_settling = False
        self._versions = [1, 1]
        """What a worker that starts may write: now, and with the fault of a newer version."""
        self._start: Start = rng.choice(["TRIM_HORIZON", "TRIM_HORIZON", "LATEST"])
        numbers = range(self.items_of_table)
        items = {table: [f"{table}/{n}" for n in numbers] for table in ["orders", "users"][: rng.choice([1, 2])]}
        self._tables = list(items)
        streams = kind.streams_of(items)
        tables = list(streams)
        self._around = Surroundings(
            schedule=schedule,
            faults=faults,
            rng=rng,
            broker=self._broker,
            source=self._source,
            group=self._group,
            coverage=self.coverage,
            tell=self._tell if trace else None,
            lane_count=LANE_COUNT,
            lane_options=_options(kind.policy, errors_fail=rng.random() < 0.25, linger_ms=rng.choice([60, 500])),
            too_large=self._too_large if rng.random() < 0.5 else lambda *_: False,
            start=self._start,
            patterns=tables,
            windows=self._windows(kind),
        )
        self._source.on_trimmed = self.checker.trimmed
        self._broker.on_commit = self.checker.committed
        self._broker.on_stable = self._stable
        if trace is not None:
            self._broker.tell = partial(self._tell, "broker")
            self._group.tell = partial(self._tell, "group")
            self._tell(
                "seed", f"{seed}: start {self._start}, {self._around.lane_options.errors_fail=}, faults: {faults}"
            )
        self._names = itertools.count(1)
        self._workers: list[SimulatedWorker] = []
        self._files = random.Random(f"files of {seed}")  # of its own, so that most histories stay what they were
        self._has_old_files = len(tables) == 2 and self._files.random() < 0.2
        """Some workers start with an older file, that lacks a table of the recorded definition."""
        if self._has_old_files:
            key, record = encode_key(DefinitionKey()), encode_record(definition(tables, generation=1))
            self._broker.write((CHECKPOINTS, 0), Message(key, record, []))
        for name, carried in streams.items():
            self._source.add_stream(name, carried, rng.randint(1, 3))

    def _checker(self) -> Checker:
        topics = {"checkpoint_topic": CHECKPOINTS, "dead_letters_topic": DEAD_LETTERS}
        if isinstance(self._source, RepeatingSource):
            return LogChecker(self._source, **topics)
        return Checker(self._source, **topics)

    def _windows(self, kind: SourceKind) -> WindowOptions:
        if not kind.repeats:
            return WindowOptions(window_ms=0)
        late: Late = self._rng.choice(["flag", "reorder"])
        return WindowOptions(window_ms=kind.policy.window_ms, late=late, late_wait_ms=self._rng.choice([500, 2_000]))

    def run(self) -> None:
        """Play the history. Raises BrokenPromiseError."""
        with defects_raised():
            try:
                self._play()
                self._settle()
                if self._source.reader.waited:
                    self.coverage.happened("source waits for a reader")
            finally:
                for worker in self._workers:
                    worker.host.die()

    # With faults

    def _play(self) -> None:
        rng, faults = self._rng, self.faults
        if rng.random() < 0.3:  # the streams are older than the pipeline
            self._write(10)
            self._leap(rng.choice([1, 13, 25]) * HOUR_MS)
        for _ in range(rng.choice([1, 2, 3])):
            self._new_worker()
        happenings = self._happenings()
        for _ in range(self.lasts_s):
            for _ in range(rng.randint(0, 4)):
                self._write(rng.randint(1, 2))
                self._pass(250)
                if rng.random() < 0.2:
                    self._accept_gaps()
            for name, happen in happenings:
                if rng.random() < getattr(faults, name):
                    self.coverage.happened(name)
                    self._tell("world", name)
                    happen()
            self._every_second()

    def _happenings(self) -> list[tuple[str, Callable[[], None]]]:
        """Return what may happen each second, by the name of its fault."""
        rng = self._rng
        return [
            ("rebalance", self._group.rebalance),
            ("kill", self._kill),
            ("stop_worker", self._stop_worker),
            ("compaction", self._compact),
            ("split", self._source.split),
            ("merge", self._source.merge),
            ("topic_refused", self._refuse_a_topic),
            ("quarter_of_an_hour", lambda: self._leap(rng.randint(14, 20) * 60_000)),
            ("half_a_day", lambda: self._break_down(rng.randint(7 * 60, 23 * 60))),
            ("a_day", lambda: self._break_down(rng.randint(24 * 60 + 1, 30 * 60))),
            ("upgrade", self._upgrade),
        ]

    def _pass(self, milliseconds: int) -> None:
        self._schedule.run_until(self._schedule.now_ms + milliseconds)

    def _every_second(self) -> None:
        self._broker.abort_old_transactions()
        self._source.trim()
        self._pass(self._rng.randint(1, 999))
        if not [worker for worker in self._workers if not worker.host.is_dead]:
            self._new_worker()

    def _write(self, count: int) -> None:
        for _ in range(count):
            self._source.write(self._rng.choice(self._written_to()))

    def _written_to(self) -> list[str]:
        return self._source.items

    def _leap(self, milliseconds: int) -> None:
        """Nobody works for a while: changes are written, and trimmed."""
        for _ in range(4):
            self._source.settle()
            self._schedule.leap(milliseconds // 4)
            self._write(self._rng.randint(0, 2))
            if self._rng.random() < 0.3 and self.faults.split:
                self._source.split()
        self._source.trim()
        self._broker.abort_old_transactions()

    def _break_down(self, minutes: int) -> None:
        """Let nobody work for many hours, maybe several times in a day."""
        self._leap(minutes * 60_000)
        for member in list(self._group.members):
            if self._rng.random() < 0.5:
                self._group.expire(member)

    def _nap_ms(self, host: Host, step: str) -> int:
        if self._rng.random() >= self.faults.nap:
            return 0
        nap_ms = self._rng.choice([self._rng.randint(500, 9_000), self._rng.randint(11_000, 40_000)])
        self._tell(host.name, f"sleeps for {nap_ms / 1000:.1f} s before {step}")
        if nap_ms > SESSION_TIMEOUT_MS:
            self.coverage.napped(step)
            self._schedule.after(SESSION_TIMEOUT_MS, lambda: self._expire(host))
        return nap_ms

    def _expire(self, host: Host) -> None:
        if isinstance(host, WorkerHost):
            self._group.expire(host.worker)

    def _new_worker(self) -> None:
        is_newer = self._rng.random() < self.faults.newer_version
        version = max(2, self._versions[1]) if is_newer else self._versions[0]
        host = WorkerHost(f"worker-{next(self._names)}", self._schedule, self._nap_ms)
        clock_off_ms = self._rng.choice([0, self._rng.randint(-2_000, 2_000)])
        self._tell(host.name, f"starts, version {version}, its clock is {clock_off_ms} ms off")
        tables = self._around.patterns
        if self._has_old_files and not self._is_settling and self._files.random() < 0.4:
            tables = tables[:1]
            self.coverage.happened("older file")
        self._workers.append(self._made_worker(host, version, tables, clock_off_ms))

    def _made_worker(self, host: WorkerHost, version: int, tables: list[str], clock_off_ms: int) -> SimulatedWorker:
        return SimulatedWorker(host, self._around, version, tables=tables, clock_off_ms=clock_off_ms)

    def _alive(self) -> list[SimulatedWorker]:
        self._workers = [worker for worker in self._workers if not worker.host.is_dead]
        return self._workers

    def _kill(self) -> None:
        """Kill a worker; what it has asked of the broker may still happen. Another starts in its place."""
        if not self._alive():
            return
        worker = self._rng.choice(self._alive())
        self._tell(worker.host.name, "is killed")
        worker.host.die()
        self._schedule.after(SESSION_TIMEOUT_MS, lambda: self._left(worker))
        self._new_worker()

    def _left(self, worker: SimulatedWorker) -> None:
        self._group.leave(worker)

    def _stop_worker(self) -> None:
        """Stop a worker as SIGTERM does, and start another."""
        if self._alive():
            self._rng.choice(self._alive()).stop()
            self._new_worker()

    def _upgrade(self) -> None:
        """From now on workers write what the older ones cannot read."""
        self._versions = [3, 3]
        self._new_worker()

    def _compact(self) -> None:
        for (topic, _), log in self._broker.logs.items():
            if topic == CHECKPOINTS:
                log.compact(self._rng.randint(0, log.next_offset), self._schedule.now_ms)

    def _refuse_a_topic(self) -> None:
        topic = f"shop.{self._rng.choice(self._tables)}"
        self._broker.refused_topics.add(topic)
        self._schedule.after(self._rng.randint(3_000, 15_000), lambda: self._broker.refused_topics.discard(topic))

    def _refuses(self, topic: str, message: Message) -> bool:
        return self._too_large(topic, message.value)

    def _too_large(self, topic: str, value: bytes | None) -> bool:
        """Return whether a record is too large; a dead letter's kind is known by its value, too."""
        words = (value or b"").split(b" ")
        is_letter = topic == DEAD_LETTERS
        return not self._is_fixed and words[-1] in ({b"colossal"} if is_letter else {b"huge", b"colossal"})

    def _stable(self, partitions: set[Partition]) -> None:
        if any(topic == CHECKPOINTS for topic, _ in partitions):
            for worker in self._workers:
                if not worker.host.is_dead:
                    worker.follow_soon()

    def _accept_gaps(self) -> None:
        """Be the operator."""
        for table, gaps in self.checker.gaps().items():
            if not self.checker.is_accepted(table, gaps):
                self._tell("operator", f"accepts the gaps of {table}")
                record = GapAccepted(shards=tuple(gaps), stream_arn=None, at_ms=self._schedule.now_ms)
                self._broker.write((CHECKPOINTS, 0), Message(encode_key(AcceptKey(table)), encode_record(record), []))

    # Without faults

    def _settle(self) -> None:
        """Let the faults stop, and everything be published."""
        self._remedy()
        for second in range(SETTLE_S):
            if second % 5 == 0:
                self._heal()
            self._every_second()
            self._accept_gaps()
            if not self._missing():
                break
        else:
            missing = self._missing()
            raise BrokenPromiseError(f"never published: {', '.join(missing[:5])}; {self._describe()}")
        unended = [each for each in self._broker.transactions if each.state is State.OPEN]
        for _ in range(20):
            self._every_second()
        for each in unended:
            require(each.state is not State.OPEN, f"a transaction of {each.transactional_id} never ended")
        self._check_the_topics()

    def _heal(self) -> None:
        self._group.heal()

    def _missing(self) -> list[str]:
        """Return what is still to be published."""
        return self.checker.missing()

    def _check_the_topics(self) -> None:
        if isinstance(self._source, RepeatingSource):
            check_each_once(self._broker, {CHECKPOINTS, DEAD_LETTERS})
        else:
            check_the_topics(self._broker, CHECKPOINTS, DEAD_LETTERS)

    def _remedy(self) -> None:
        """End the faults, and do what an operator would: fix what stops shards, end workers that cannot go on."""
        self._tell("world", "the faults stop")
        self.faults.stop()
        self._is_settling = True
        self._broker.refused_topics.clear()
        errors_fail = self._around.lane_options.errors_fail
        self._is_fixed = self._source.is_fixed = errors_fail
        for worker in self._alive():
            if errors_fail or worker.version < self._versions[0] or worker.tables != self._around.patterns:
                worker.stop()
            if worker.host.is_asleep:
                worker.host.wake()

    def _describe(self) -> str:
        return "; ".join(worker.describe() for worker in self._alive())

    def _tell(self, who: str, what: str) -> None:
        if self._trace is not None:
            self._trace(f"{(self._schedule.now_ms - BIRTH_MS) / 1000:10.3f}  {who:10} {what}")


def _options(policy: SourcePolicy, *, errors_fail: bool, linger_ms: int) -> LaneOptions:
    """Short pauses, and bounds that are soon met."""
    return LaneOptions(
        policy,
        batch_changes=4,
        linger_ms=linger_ms,
        buffer_bytes=5_000,
        memory_bytes=8_000,
        pacing=Pacing(min_ms=200, max_ms=1_500),
        errors_fail=errors_fail,
        read_backoff=Backoff(base_ms=200, max_ms=2_000),
        reclaim_backoff=Backoff(base_ms=200, max_ms=3_000),
        fenced_pause_ms=1_000,
        refused_backoff=Backoff(base_ms=2_000, max_ms=8_000),
        catch_up_timeout_ms=3_000,
    )
