"""Runners and a folder in simulated time: interleaved, frozen inside any step, killed and replaced, from a seed.

Runner and folder are the real ones; Kafka, its group and the clock are models. A runner that is frozen stands in the
middle of a read or of a step of the folder, while the others go on and the group gives its partitions to them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest
from confluent_kafka import Message, TopicPartition

from tailrace.kafka.watched_consumer import Place
from tailrace.sinks import jsonl
from tailrace.sinks.contract import FencedError
from tailrace.sinks.jsonl import JsonLinesFolder, _Claimed
from tailrace.sinks.progress import Extent, Limits, Obstacle, Position
from tailrace.sinks.runner import OnPlaces, Runner

SEEDS = 60
PLACES = [Place("t", 0), Place("t", 1)]
LIMITS = Limits(size_bytes=4, age_ms=2_000)
FROZEN_DEPTH = 3
STEPS = 60


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
            JsonLinesFolder(world.folder),
            lambda _: True,
            LIMITS,
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
    """One history."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = Random(seed)
        self.log = Log()
        self.now_ms = 0
        self.fenced = 0
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
        for _ in range(200):
            last.step()
            self.now_ms += 500
            if last.runner.is_at_end:
                break
        assert last.runner.is_at_end
        for zombie in zombies:  # late ones change nothing any more
            for _ in range(3):
                zombie.step()
                self.now_ms += 2_000
        self.fenced = sum(each.runner.fenced for each in [*zombies, last])

    def others_go_on(self) -> None:
        """Freeze whoever calls this, for some steps of the others."""
        if self._depth < FROZEN_DEPTH and self.random.random() < 0.3:
            self._depth += 1
            for _ in range(self.random.randrange(1, 8)):
                self._something_happens()
            self._depth -= 1

    def faults(self) -> list[str]:
        """Compare the folder with what was committed; what compaction took away may be there or not."""
        said = []
        for place in PLACES:
            files = sorted((self.folder / place.topic / str(place.partition)).glob("*.jsonl"))
            found = [json.loads(line)["offset"] for file in files for line in file.read_bytes().splitlines()]
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
            random.choice(idle).step()

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


def history(folder: Path, seed: int) -> World:
    """Play a history: whoever publishes or fences may be frozen before it and after."""
    shutil.rmtree(folder, ignore_errors=True)
    world = World(folder, seed)
    publish, fence, read = jsonl._publish, jsonl._fence, JsonLinesFolder._read

    def freezing_publish(partial: Path, file: Path) -> None:
        world.others_go_on()
        publish(partial, file)
        world.others_go_on()

    def freezing_fence(place: Path) -> None:
        world.others_go_on()
        fence(place)
        world.others_go_on()

    def freezing_read(self: JsonLinesFolder, place: Path) -> object:
        found = read(self, place)
        world.others_go_on()
        return found

    with (
        patch.object(os, "fsync", lambda _: None),
        patch.object(jsonl, "_publish", freezing_publish),
        patch.object(jsonl, "_fence", freezing_fence),
        patch.object(JsonLinesFolder, "_read", freezing_read),
    ):
        world.run()
    return world


def test_every_committed_record_is_in_the_folder_once_and_in_order(tmp_path: Path) -> None:
    fenced = 0
    for seed in range(SEEDS):
        world = history(tmp_path / "folder", seed)
        assert world.faults() == [], f"seed {seed}"
        fenced += world.fenced
    assert fenced > SEEDS / 5


# Planted faults


def _overwrite(partial: Path, file: Path) -> None:
    if not partial.exists():
        raise FencedError
    file.write_bytes(partial.read_bytes())


def _append_again(self: JsonLinesFolder, place: Place, records: list[Message]) -> None:
    """Make the partial file again when another claim has dropped it."""
    claimed: _Claimed = self._claimed[place]
    if claimed.partial is not None:
        claimed.partial.touch()
    _write(self, place, records)


def _release_without_reading_again(self: Runner, place: Place) -> None:
    """Go on behind what was dropped."""
    self._sink.release([place])
    self._sink.claim(place, "id")


_write = JsonLinesFolder.write
FAULTS: dict[str, tuple[object, str, object]] = {
    "a file that is written over": (jsonl, "_publish", _overwrite),
    "a batch that goes on in a new file": (JsonLinesFolder, "write", _append_again),
    "a fenced batch that is not read again": (Runner, "_lose", _release_without_reading_again),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, tmp_path: Path) -> None:
    with patch.object(*FAULTS[fault]):
        assert any(_breaks(tmp_path, seed) for seed in range(SEEDS))


def test_positions_that_are_kept_in_kafka_are_found(tmp_path: Path) -> None:
    def breaks(seed: int) -> bool:
        world: list[World] = []
        asked: defaultdict[str, list[Place]] = defaultdict(list)
        make, extents = World.__init__, Process.extents

        def remember(self: World, folder: Path, seed: int) -> None:
            world.append(self)
            make(self, folder, seed)

        def note(self: Process, places: Collection[Place]) -> dict[Place, Extent]:
            found = extents(self, places)
            asked["places"] = list(places)
            return found

        def resume(_position: Position | None, _extent: Extent) -> int | Obstacle:
            return world[0].log.read_up_to.get(asked["places"].pop(0), 0)

        with (
            patch.object(World, "__init__", remember),
            patch.object(Process, "extents", note),
            patch("tailrace.sinks.runner.resume_offset", resume),
        ):
            return _breaks(tmp_path, seed)

    assert any(breaks(seed) for seed in range(SEEDS))


def _breaks(folder: Path, seed: int) -> bool:
    try:
        return bool(history(folder / "folder", seed).faults())
    except AssertionError:  # it does not come to an end
        return True
