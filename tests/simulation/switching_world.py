"""A history in which a pipeline goes over from one model source to another that tells the same changes in its own way.

The two agree in what the product compares: item, operation, images, and the second of a change. Images are made so that
an item's changes often look alike, also within a second: then as many are to be published as were made.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

from msgspec.structs import replace

from simulation.broker import Message, Partition
from simulation.checkers import Checker, require
from simulation.faults import Faults, RepeatingFaults
from simulation.operations import Clients, History, OperationHost, SimulatedProcess
from simulation.repeating_source import RepeatingSource, flagged
from simulation.simulated_time import Host, Process, Schedule, sleep
from simulation.source import REPEATING, STREAMS, SWITCHING, Source, SourceKind
from simulation.workers import CHECKPOINTS, PIPELINE, SimulatedWorker, Surroundings, WorkerHost
from simulation.world import LANE_COUNT, World
from support.pipeline_file import write_file
from tailrace.config import LoadedPipeline, load
from tailrace.core.change import Change
from tailrace.core.ports import LogPage, LogReader, ShardReader, SourceRecord
from tailrace.core.shard import Position, ShardRef
from tailrace.core.windowed_shard import WindowOptions
from tailrace.errors import WorldError
from tailrace.operations.switch import switch
from tailrace.operations.switch_source import switch_source
from tailrace.sources.dynamodb.streams_log import StreamsLog
from tailrace.sources.windowed import WindowedReader
from tailrace.wiring.sources import ComparedSource

TYPES = {STREAMS.name: "dynamodb-streams", REPEATING.name: "kinesis"}
_OFF = ("huge", "colossal", "poison", "wrongly_gone", "quarter_of_an_hour", "half_a_day", "a_day", "newer_version")
"""Faults of which nothing is to be learned here, and such that would have to be excused."""
_OFF_TOO = ("upgrade", "repeats")


class SwitchChecker(Checker):
    """Counts what is published of changes that look alike, and follows who may publish."""

    def __init__(self, source: Source, other: Source) -> None:
        super().__init__(source, checkpoint_topic=CHECKPOINTS, dead_letters_topic="")
        self._made: Counter[tuple[str, int, int]] = Counter()
        self._done: Counter[tuple[str, int, int]] = Counter()
        self._seconds: dict[tuple[str, int], int] = {}
        self._newest: defaultdict[str, int] = defaultdict(int)
        """The second of each item's newest published change."""
        self.switches = 0
        self.is_over = True
        self._readable = set(source.streams.values())
        self._other = set(other.streams.values())

    def wrote(self, item: str, number: int, now_ms: int) -> None:
        """See that a change is made."""
        self._seconds[item, number] = now_ms // 1000
        self._made[self._look(item, number)] += 1

    def _look(self, item: str, number: int) -> tuple[str, int, int]:
        return item, self._seconds[item, number], number % 2

    def committed(self, written: list[tuple[Partition, Message]]) -> None:
        for (topic, _), message in written:
            if topic == CHECKPOINTS:
                self._see_key(json.loads(message.key or b""), message.value)
            else:
                self._see_change((message.value or b"").decode(), dict(message.headers))

    def _see_key(self, key: list[Any], value: bytes | None) -> None:
        match key:
            case ["handover"] if value is not None:
                record = json.loads(value)
                self.is_over = record["is_over"]
                if not self.is_over:
                    self.switches += 1
                    self._readable, self._other = self._other, self._readable
            case ["checkpoint", stream, shard_id] if value is not None:
                require(stream in self._readable, f"{shard_id} is published from a source that is not read any more")

    def _see_change(self, text: str, headers: dict[str, bytes]) -> None:
        item, number = text.split(" ", maxsplit=1)[0], int(text.split(" ")[1])
        self.published += 1
        look = self._look(item, number)
        self._done[look] += 1
        require(self._done[look] <= self._made[look], f"{item}: {number} again, or one that looks like it")
        if "tailrace.late" in headers:
            require(look[1] <= self._newest[item], f"{item}: {number} is said to be late, and is not")
        else:
            require(look[1] >= self._newest[item], f"{item}: {number} is late, and does not say so")
        self._newest[item] = max(self._newest[item], look[1])

    def trimmed(self, changes: object) -> None:
        """Nothing is trimmed."""

    def gaps(self) -> dict[str, list[tuple[ShardRef, int]]]:
        return {}

    def missing(self) -> list[str]:
        missing = [f"{item} of second {second}" for item, second, _ in (self._made - self._done).elements()]
        return missing + (["the end of the handover"] if not self.is_over or not self.switches else [])


class Telling:
    """How a model source tells its changes where they are compared."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def change_of(self, record: SourceRecord, _shard: ShardRef) -> Change | None:
        change = record.change
        if change is None:
            return None
        item, text = record.origin.raw.decode().split(" ")[:2]
        number = int(text)
        created_ms = change.created_ms
        if isinstance(self._source, RepeatingSource):
            created_ms = self._source.created_us[item, number] // 1000
        looks = (b"%d" % (each % 2) for each in (number - 1, number))
        return replace(change, op="u", before=next(looks), after=next(looks), created_ms=created_ms)

    def log(self) -> LogReader:
        """Return the log that a switch reads."""
        if isinstance(self._source, RepeatingSource):
            return ComparedLog(self._source.log, self)
        return ComparedLog(StreamsLog(self._source.reader.read), self)

    def make_reader(self, windows: WindowOptions, clock: Callable[[], float]) -> ShardReader:
        """Make the reader of a worker."""
        is_repeating = isinstance(self._source, RepeatingSource)
        windowed = WindowedReader(
            self._source.log if isinstance(self._source, RepeatingSource) else StreamsLog(self._source.reader.read),
            windows if is_repeating else WindowOptions(window_ms=0),
            window_bytes=1 << 20,
            gone_after_ms=self._source.policy.gone_after_ms,
            flagged=flagged,
            change_of=self.change_of,
            clock=clock,
        )
        return windowed if is_repeating else _Streams(self._source.reader, windowed)


class _Streams(ShardReader):
    """As `sources.dynamodb.streams` reads."""

    def __init__(self, plain: ShardReader, windowed: WindowedReader) -> None:
        self._plain = plain
        self._windowed = windowed

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> Any:
        if position.handover is not None and (iterator is None or WindowedReader.returned(iterator)):
            return self._windowed.read(shard, position, iterator)
        return self._plain.read(shard, position, iterator)


class ComparedLog(LogReader):
    """A log whose changes are as they are compared."""

    def __init__(self, log: Any, telling: Telling) -> None:
        self._log = log
        self._telling = telling

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> LogPage:
        page: LogPage = self._log.read(shard, position, iterator)
        return replace(
            page,
            records=[
                replace(each, record=replace(each.record, change=self._telling.change_of(each.record, shard)))
                for each in page.records
            ],
        )


class _Listed:
    """What a switch asks of a source besides its records."""

    def __init__(self, source: Source) -> None:
        self.policy = replace(source.policy, carries_tables=isinstance(source, RepeatingSource))
        self.table_names = source.enumerator.table_names
        self.table_stream = source.enumerator.table_stream
        self.shards = source.enumerator.shards

    def close(self) -> None:
        """Nothing is open."""


class Operator:
    """What the host of an operation needs of its history (`simulation.operations.History`)."""

    partitions = LANE_COUNT
    fences = True

    def __init__(self, world: SwitchingWorld, schedule: Schedule, rng: random.Random, faults: Faults) -> None:
        self.broker = world.broker
        self.schedule = schedule
        self.rng = rng
        self.faults = faults
        self.clients = Clients(cast(History, self))

    def nap_ms(self, _host: Host, _step: str) -> int:
        return self.rng.randint(1_000, 60_000) if self.rng.random() < self.faults.nap else 0


class SwitchingWorld(World):
    """A history with one switch, or with another one back."""

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None, kind: SourceKind = SWITCHING) -> None:
        assert kind is SWITCHING
        kinds = [STREAMS, REPEATING]
        random.Random(f"order of {seed}").shuffle(kinds)
        super().__init__(seed, trace, kinds[0])
        self._start = self._around.start = "TRIM_HORIZON"
        self._has_old_files = False
        self._around.lane_options = replace(self._around.lane_options, errors_fail=False)
        self._around.too_large = lambda *_: False
        self._all_faults: list[Faults] = [self.faults]
        self._other = self._other_source(kinds[1])
        for fault in (*_OFF, *_OFF_TOO):
            for faults in self._all_faults:
                setattr(faults, fault, 0.0)
        self.checker = SwitchChecker(self._source, self._other)
        self._broker.on_commit = self.checker.committed
        self.checking = self.checker
        self._source.on_trimmed = self.checker.trimmed
        windows = self._windows(REPEATING)
        self._arounds = [
            self._told(self._source, kinds[0], windows),
            self._told(self._other, kinds[1], windows),
        ]
        self._around = self._arounds[0]
        self._operator = Operator(self, self._schedule, self._rng, self.faults)
        self._numbers: Counter[str] = Counter()
        self._operating: Host | None = None
        """Where a switch is under way."""
        self._switch_times = sorted(self._rng.sample(range(4, self.lasts_s - 4), self._rng.choice([1, 1, 2])))
        self._seconds = 0

    @property
    def broker(self) -> Any:
        return self._broker

    def _other_source(self, kind: SourceKind) -> Source:
        if kind.repeats:
            faults = RepeatingFaults.drawn(self._rng)
            source: Source = RepeatingSource(kind, self._schedule, self._rng, faults)
        else:
            faults = Faults.drawn(self._rng)  # type: ignore[assignment]
            source = Source(kind, self._schedule, self._rng, faults)
        self._all_faults.append(faults)
        items = {table: [item for item in self._source.items if item.startswith(table)] for table in self._tables}
        for name, carried in kind.streams_of(items).items():
            source.add_stream(name, carried, self._rng.randint(1, 3))
        return source

    def _told(self, source: Source, kind: SourceKind, windows: WindowOptions) -> Surroundings:
        telling = Telling(source)
        return replace(
            self._around,
            source=source,
            lane_options=replace(self._around.lane_options, source=kind.policy),
            patterns=list(source.streams),
            windows=windows,
            source_type=TYPES[kind.name],
            make_reader=partial(telling.make_reader, windows),
        )

    # What happens

    def _write(self, count: int) -> None:
        for _ in range(count):
            item = self._rng.choice(self._written_to())
            self.checking.wrote(item, self._numbers[item], self._schedule.now_ms)
            self._numbers[item] += 1
            self._source.write(item)
            self._other.write(item)

    def _leap(self, milliseconds: int) -> None:
        """Let time pass, less than after which the source that is read forgets what was never promised."""
        milliseconds = min(milliseconds, self._source.policy.retention_ms * 3 // 5)
        for _ in range(4):
            for source in (self._source, self._other):
                source.settle()
            self._schedule.leap(milliseconds // 4)
            self._write(self._rng.randint(0, 2))
        self._broker.abort_old_transactions()

    def _happenings(self) -> list[tuple[str, Callable[[], None]]]:
        both = {"split": self._split, "merge": self._merge}
        return [(name, both.get(name, happen)) for name, happen in super()._happenings()]

    def _split(self) -> None:
        self._rng.choice([self._source, self._other]).split()

    def _merge(self) -> None:
        next(each for each in (self._source, self._other) if isinstance(each, RepeatingSource)).merge()

    def _every_second(self) -> None:
        super()._every_second()
        self._seconds += 1
        if self._switch_times and self._seconds >= self._switch_times[0] and self._operating is None:
            del self._switch_times[0]
            self._operate(self._arounds[0], self._arounds[1])

    def _operate(self, before: Surroundings, after: Surroundings) -> None:
        """Switch; again when it breaks off or its host dies, until it succeeds."""
        host = self._operating = OperationHost("operator", cast(History, self._operator), is_operator=True)

        def attempt() -> None:
            while True:
                try:
                    self._switch(before, after)
                    break
                except WorldError as error:
                    self._tell("operator", f"the switch broke off: {error}")
                    self.coverage.happened("switch broken off")
                    if "are behind" in error.message:
                        self._go_back(before)
                        return
                sleep(self._rng.randint(100, 10_000), "Again")
            self._switched()

        Process(host, "operation", attempt)
        if self._rng.random() < 0.3:
            self._schedule.after(self._rng.randint(10, 20_000), partial(self._replace, host, before, after))

    def _replace(self, host: OperationHost, before: Surroundings, after: Surroundings) -> None:
        if self._operating is host:
            self.coverage.happened("operator killed")
            host.die()
            self._operate(before, after)

    def _switch(self, before: Surroundings, after: Surroundings) -> None:
        def open_source(pipeline: Any) -> ComparedSource:
            around = before if pipeline.source.type == before.source_type else after
            return ComparedSource(cast(Any, _Listed(around.source)), Telling(around.source).log())

        process = SimulatedProcess(cast(History, self._operator))
        done = switch_source(loaded(before), loaded(after), around=process, open_source=open_source)
        self._tell("operator", f"has switched: {done}")

    def _go_back(self, before: Surroundings) -> None:
        """Let the workers catch up, and switch later."""
        while True:
            with suppress(WorldError):
                switch(loaded(before), "worker", around=SimulatedProcess(cast(History, self._operator)))
                break
            sleep(1_000, "Again")
        self.coverage.happened("went back")
        self._operating = None
        self._switch_times.append(self._seconds + 10)

    def _switched(self) -> None:
        self._operating = None
        self.coverage.happened("switched")
        self._arounds.reverse()
        self._around = self._arounds[0]
        self._source, self._other = self._other, self._source
        for _ in range(self._rng.choice([1, 2])):
            self._new_worker()
        if self._rng.random() < 0.3:  # somebody starts a worker with the file before
            self._around = self._arounds[1]
            self._new_worker()
            self._around = self._arounds[0]

    def _made_worker(self, host: WorkerHost, version: int, tables: list[str], clock_off_ms: int) -> SimulatedWorker:
        return SimulatedWorker(host, self._around, version, tables=self._around.patterns, clock_off_ms=clock_off_ms)

    def _remedy(self) -> None:
        super()._remedy()
        for faults in self._all_faults:
            faults.stop()

    def _check_the_topics(self) -> None:
        """All was seen as it was committed."""


def loaded(around: Surroundings) -> LoadedPipeline:
    """Return a pipeline as its file says."""
    source: dict[str, Any] = {"type": around.source_type, "region": "us-east-1"}
    if around.source_type == "kinesis":
        source |= {"streams": around.patterns, "window": f"{around.source.policy.window_ms // 1000}s"}
    else:
        source |= {"tables": around.patterns}
    with tempfile.TemporaryDirectory() as folder:
        kafka = {"bootstrap.servers": "simulated:9092"}
        return load(write_file(Path(folder), kafka, PIPELINE, only_source=source, lanes=LANE_COUNT))
