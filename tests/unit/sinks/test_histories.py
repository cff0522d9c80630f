"""A folder of JSON Lines in simulated time: its runners interleaved, frozen inside any step, killed and replaced."""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
from confluent_kafka import Message

from support.sink_histories import FROZEN_DEPTH, PLACES, Process, World
from tailrace.kafka.watched_consumer import Place
from tailrace.sinks import jsonl
from tailrace.sinks.contract import FencedError, Sink
from tailrace.sinks.jsonl import JsonLinesFolder, _Claimed
from tailrace.sinks.progress import Extent, Obstacle, Position
from tailrace.sinks.runner import Runner

SEEDS = 60


def offsets(folder: Path, place: Place) -> list[int]:
    files = sorted((folder / place.topic / str(place.partition)).glob("*.jsonl"))
    return [json.loads(line)["offset"] for file in files for line in file.read_bytes().splitlines()]


def history(folder: Path, seed: int) -> World:
    """Play a history: whoever publishes or fences may be frozen before it and after."""
    shutil.rmtree(folder, ignore_errors=True)
    world = World(seed, lambda: JsonLinesFolder(folder))
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
        folder = tmp_path / "folder"
        world = history(folder, seed)
        assert world.faults(partial(offsets, folder)) == [], f"seed {seed}"
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

        def remember(self: World, seed: int, make_sink: Callable[[], Sink]) -> None:
            world.append(self)
            make(self, seed, make_sink)

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
        return bool(history(folder / "folder", seed).faults(partial(offsets, folder / "folder")))
    except AssertionError:  # it does not come to an end
        return True


class _Recording:
    """A sink that takes whatever it is given."""

    identity = "recording"

    def __init__(self) -> None:
        self.commits: list[set[Place]] = []

    def claim(self, _place: Place, _topic_id: str) -> Position | None:
        return None

    position = claim

    def is_full(self, _place: Place) -> bool:
        return False

    def commit(self, ends: Mapping[Place, int]) -> set[Place]:
        self.commits.append(set(ends))
        return set()

    def write(self, *_: object) -> None:
        pass

    skip = release = write


def test_partitions_are_committed_together_when_one_has_waited() -> None:
    """The second one had its first record long after the first."""
    sink = _Recording()
    world = World(0, lambda: sink)  # type: ignore[arg-type, return-value]
    world._depth = FROZEN_DEPTH  # nobody else does anything
    process = Process(world)
    process.news = [(True, place) for place in PLACES]
    for place in PLACES:
        world.log.produce(place, 1, commit=True)
        for _ in range(8):
            process.step()
            world.now_ms += 150
    while not sink.commits:
        process.step()
        world.now_ms += 150
    assert sink.commits == [set(PLACES)]
