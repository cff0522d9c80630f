"""Runners of a sink in simulated time: interleaved, frozen inside any step, killed and replaced, from a seed.

The runner is the real one; Kafka, its group and the clock are models. A runner that is frozen stands in the middle of a
read or of a step of its target, while the others go on and the group gives its partitions to them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable
from random import Random

from confluent_kafka import Message, TopicPartition

from tailrace.errors import UnreachableError
from tailrace.kafka.watched_consumer import Place
from tailrace.sinks.contract import Sink
from tailrace.sinks.progress import Extent, Limits
from tailrace.sinks.runner import OnPlaces, Runner

PLACES = [Place("t", 0), Place("t", 1)]
LIMITS = Limits(size_bytes=4, age_ms=2_000)
FROZEN_DEPTH = 3
STEPS = 60


class KilledError(Exception):
    """A process dies in the middle of a step."""


class Log:
    """What Kafka holds: of each partition the records by offset; other offsets are markers or aborted."""

    def __init__(self) -> None:
        self.records: dict[Place, dict[int, int]] = {place: {} for place in PLACES}
        self.ends = dict.fromkeys(PLACES, 0)
        self.compacted: set[tuple[Place, int]] = set()
        self.read_up_to: dict[Place, int] = {}
        """Where consumers would commit their offsets that do so when they have read."""

    def produce(self, place: Place, count: int, *, commit: bool) -> None:
        for _ in range(count):
            if commit:
                self.records[place][self.ends[place]] = self.ends[place]
            self.ends[place] += 1
        self.ends[place] += 1

    def compact(self, place: Place, random: Random) -> None:
        if self.records[place]:
            offset = random.choice(sorted(self.records[place])[-6:])
            del self.records[place][offset]
            self.compacted.add((place, offset))


class Process:
    """One runner with its models of Kafka's clients; it is its own member, reader and cluster."""

    def __init__(self, world: World, *, until_end: bool = False) -> None:
        self.positions: dict[Place, int] = {}
        self.busy = False
        self.news: list[tuple[bool, Place]] = []
        """What the group has to tell it: partitions that come (True) and go."""
        self._world = world
        self._on_assigned: OnPlaces = lambda _: None
        self._on_gone: list[OnPlaces] = []
        """What hears that partitions are revoked, and that they are lost."""
        self.runner = Runner(
            {},
            world.make_sink(),
            lambda _: True,
            world.limits,
            until_end=until_end,
            cluster=self,
            reader=self,
            make_member=self._member,
            now_ms=lambda: world.now_ms,
        )

    def step(self) -> None:
        self.busy = True
        try:
            self.runner.step()
        finally:
            self.busy = False

    def _member(self, on_assigned: OnPlaces, on_revoked: OnPlaces, on_lost: OnPlaces) -> Process:
        self._on_assigned, self._on_gone = on_assigned, [on_revoked, on_lost]
        return self

    def subscribe(self, topics: Iterable[str]) -> None:
        pass

    def poll(self, _timeout_s: float) -> None:
        news, self.news = self.news, []
        for comes, place in news:
            (self._on_assigned if comes else self._world.random.choice(self._on_gone))([place])

    def leave(self) -> None:
        pass

    def close(self) -> None:
        pass

    def assign(self, starts: Iterable[TopicPartition]) -> None:
        self.positions.update({Place(each.topic, each.partition): each.offset for each in starts})

    def unassign(self, places: Iterable[Place]) -> None:
        for place in places:
            self.positions.pop(place, None)

    def read(self, _timeout_s: float) -> list[Message]:
        log, random = self._world.log, self._world.random
        read = []
        for place, position in self.positions.items():
            ahead = [offset for offset in log.records[place] if offset >= position]
            some = sorted(ahead)[: random.randrange(4)]
            read += [_message(place, offset) for offset in some]
            if some:
                self.positions[place] = some[-1] + 1
            if len(some) == len(ahead):
                self.positions[place] = log.ends[place]
            log.read_up_to[place] = max(log.read_up_to.get(place, 0), self.positions[place])
        self._world.others_go_on()
        return read

    def find(self, _wanted: Callable[[str], bool]) -> set[Place]:
        return set(PLACES)

    def ids(self, topics: Collection[str]) -> dict[str, str]:
        return dict.fromkeys(topics, "id")

    def extents(self, places: Collection[Place]) -> dict[Place, Extent]:
        self._world.others_go_on()
        return {place: Extent(0, self._world.log.ends[place], "id") for place in places}


def _message(place: Place, offset: int) -> Message:
    return Message(topic=place.topic, partition=place.partition, offset=offset, value=b"%d" % offset, timestamp=(1, 0))


class World:
    """One history. `make_sink` makes the sink of a process; it may call `others_go_on` and raise KilledError."""

    def __init__(self, seed: int, make_sink: Callable[[], Sink], limits: Limits = LIMITS) -> None:
        self.make_sink = make_sink
        self.limits = limits
        self.random = Random(seed)
        self.log = Log()
        self.now_ms = 0
        self.fenced = 0
        self.is_calm = False
        """Nothing fails any more."""
        self._depth = 0
        self._processes = [Process(self) for _ in range(3)]
        self._owners: dict[Place, Process] = {}

    def run(self) -> None:
        for _ in range(STEPS):
            self._something_happens()
        self._depth = FROZEN_DEPTH  # nobody is frozen any more, and nothing is written
        last = Process(self, until_end=True)
        last.news = [(True, place) for place in PLACES]
        self._processes, zombies = [last], [each for each in self._processes if each is not last]
        self.is_calm = True
        for _ in range(1_000):
            last.step()
            self.now_ms += 500
            if last.runner.is_at_end:
                break
        assert last.runner.is_at_end
        for zombie in zombies:  # late ones change nothing any more
            for _ in range(3):
                with contextlib.suppress(UnreachableError):
                    zombie.step()
                self.now_ms += 2_000
        self.fenced = sum(each.runner.fenced for each in [*zombies, last])

    def trouble(self, random: Random, late: Collection[object], arrive: Callable[[], object]) -> bool:
        """Freeze the caller, let what is `late` arrive, kill the caller; return whether its call may go wrong."""
        if self.is_calm:
            return False
        if random.random() < 0.3:
            self.others_go_on()
        if late and random.random() < 0.3:
            arrive()
        if random.random() < 0.02:
            raise KilledError
        return True

    def others_go_on(self) -> None:
        """Freeze whoever calls this, for some steps of the others."""
        if self._depth < FROZEN_DEPTH and self.random.random() < 0.3:
            self._depth += 1
            for _ in range(self.random.randrange(1, 8)):
                self._something_happens()
            self._depth -= 1

    def faults(self, offsets: Callable[[Place], list[int]]) -> list[str]:
        """Compare what the target has with what was committed; what compaction took away may be there or not."""
        said = []
        for place in PLACES:
            found = offsets(place)
            compacted = {offset for each, offset in self.log.compacted if each == place}
            if found != sorted(set(found)):
                said.append(f"{place}: repeated or out of order: {found}")
            if {*found} - compacted != {*self.log.records[place]}:
                said.append(f"{place}: {found} instead of {sorted(self.log.records[place])}")
        return said

    def _something_happens(self) -> None:
        self.now_ms += self.random.choice([10, 200, 1_500])
        random, place = self.random, self.random.choice(PLACES)
        happens = random.random()
        idle = [each for each in self._processes if not each.busy]
        if happens < 0.25:
            self.log.produce(place, random.randrange(1, 6), commit=random.random() < 0.8)
        elif happens < 0.31:
            self.log.compact(place, random)
        elif happens < 0.41 or not self._owners:
            self._rebalance(place)
        elif happens < 0.44 and idle:
            self._kill(random.choice(idle))
        elif idle:
            process = random.choice(idle)
            try:
                process.step()
            except (KilledError, UnreachableError):
                self._kill(process)

    def _rebalance(self, place: Place) -> None:
        """Give a partition to somebody, who need not wait until its owner, perhaps frozen, has given it back."""
        if before := self._owners.get(place):
            before.news.append((False, place))
        self._owners[place] = self.random.choice(self._processes)
        self._owners[place].news.append((True, place))

    def _kill(self, process: Process) -> None:
        self._processes.remove(process)
        self._processes.append(Process(self))
        for place, owner in list(self._owners.items()):
            if owner is process:
                self._rebalance(place)
