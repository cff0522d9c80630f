"""Present states in Parquet in simulated time: writers interleaved, frozen and killed at any call of a bad store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Message

from support.lake_rows import NothingSetAside
from support.lake_store import Store, StoreLocation
from support.sink_histories import PLACES, World
from tailrace.errors import WorldError
from tailrace.kafka.watched_consumer import Place
from tailrace.lake import parquet_current
from tailrace.lake.agreed_types import AgreedTypes
from tailrace.lake.columns import Refused
from tailrace.lake.fitting import grown
from tailrace.lake.ledger import DataFile, Ledger, Step
from tailrace.lake.parquet_current import ParquetCurrent
from tailrace.lake.table_sink import Mark, TableSink

SEEDS = 5
KEEP_MS = 4_000
FILE_BYTES = 1_500
"""So that states are cut in parts."""
SCHEMA = pa.schema([("__op", pa.string()), ("__offset", pa.int64()), ("id", pa.string())])


def item_of(offset: int) -> str:
    return f"item-{offset * 7 % 5}"


def is_delete(offset: int) -> bool:
    return offset % 3 == 2


class ItemRows:
    """Rows of few items, each changed and deleted again and again."""

    schema = SCHEMA

    def __init__(self) -> None:
        self.keys: tuple[str, ...] = ("id",)
        self._offsets: list[int] = []

    @property
    def size_bytes(self) -> int:
        return 100 * len(self._offsets)

    def settle(self) -> None:
        pass

    def adopt(self, agreed: pa.Schema) -> None:
        pass

    def append(self, messages: Sequence[Message]) -> list[Refused]:
        self._offsets += [each.offset() or 0 for each in messages]
        return []

    def widened(self) -> list[str]:
        return []

    def take(self) -> pa.Table:
        offsets, self._offsets = self._offsets, []
        ops = ["d" if is_delete(each) else "u" for each in offsets]
        return pa.table([ops, offsets, [item_of(each) for each in offsets]], schema=SCHEMA)


class WatchedStore(Store):
    """A store of which a reader looks at the present state whenever that may have changed."""

    def __init__(self) -> None:
        super().__init__(lambda: self.world.now_ms if self.world else 0)
        self.faults: list[str] = []
        self.removed = 0
        self.parts_max = 0
        self.world: World | None = None
        self._end = dict.fromkeys(PLACES, 0)
        self._read: dict[str, list[tuple[str, int]]] = {}
        """The rows of each file that there ever was: item and offset."""

    def put(self, name: str, content: bytes) -> None:
        self.files[name] = content
        if "/current/" in name:
            self._look()
        elif name.endswith(".pq"):
            rows = pq.read_table(BytesIO(content)).to_pylist()
            self._read[name] = [(row["id"], row["__offset"]) for row in rows]

    def remove(self, name: str) -> None:
        super().remove(name)
        self.removed += 1
        self._look()

    def _look(self) -> None:
        for place in PLACES:
            end, found = self.state(place)
            if end < self._end[place]:
                self.faults.append(f"{place}: from {self._end[place]} back to {end}")
            self._end[place] = end
            if found != (wanted := self.wanted(place, end)):
                self.faults.append(f"{place} up to {end}: {found} instead of {wanted}")

    def state(self, place: Place) -> tuple[int, Any]:
        """Return what a reader finds by the pointer: the position, and the last change of each item."""
        folder = f"_tailrace/current/{place.topic}/{place.partition}/"
        pointer = max((name for name in self.files if name.startswith(folder)), default=None)
        if pointer is None:
            return 0, []
        step = json.loads(self.files[pointer])
        names = [each["name"] for each in step["files"]]
        self.parts_max = max(self.parts_max, len(names))
        if not {*names} <= self.files.keys():
            return step["end"], "files that are gone"
        return step["end"], sorted(row for name in names for row in self._read[name])

    def wanted(self, place: Place, end: int) -> list[tuple[str, int]]:
        assert self.world
        offsets = sorted(each for each in self.world.log.records[place] if each < end)
        last = {item_of(offset): offset for offset in offsets}
        return sorted((item, offset) for item, offset in last.items() if not is_delete(offset))


class CurrentWorld:
    """A history of a present state."""

    def __init__(self, seed: int) -> None:
        self.store = WatchedStore()
        self._mishaps = Random(seed)
        self._sinks: list[TableSink] = []
        self._world = self.store.world = World(seed, self._sink)
        self._world.log.compact = lambda *_: None  # type: ignore[method-assign]  # which changes what there is to find

    def run(self) -> None:
        try:
            self._world.run()
        finally:
            for each in self._sinks:
                each.close()

    @property
    def fenced(self) -> int:
        return self._world.fenced

    def faults(self) -> list[str]:
        lacking = [
            f"{place}: not all" for place in PLACES if self.store.state(place)[0] < max(self._world.log.records[place])
        ]
        return [*self.store.faults, *lacking]

    def _sink(self) -> TableSink:
        location = StoreLocation(self.store, self._mishaps, self._on_call)
        table = ParquetCurrent(
            location,
            Ledger(location, "current"),
            AgreedTypes(location, "types-current", grown),
            "orders",
            SCHEMA,
            file_bytes=FILE_BYTES,
            keep_ms=KEEP_MS,
            now_ms=lambda: self._world.now_ms,
        )
        sink = TableSink(
            lambda _: table,
            identity="lake",
            make_rows=lambda _topic, _known: ItemRows(),
            set_aside=NothingSetAside(),
            file_bytes=1 << 20,
            now_ms=lambda: self._world.now_ms,
            sleep=self._pause,
            now_s=lambda: self._world.now_ms / 1_000,
        )
        self._sinks.append(sink)
        return sink

    def _pause(self, seconds: float) -> None:
        self._world.now_ms += int(seconds * 1_000)
        self._world.others_go_on()

    def _on_call(self) -> bool:
        return self._world.trouble(self._mishaps, self.store.late, self.store.arrive)


def history(seed: int) -> CurrentWorld:
    world = CurrentWorld(seed)
    world.run()
    return world


def test_a_reader_finds_the_items_as_of_a_position_at_any_moment() -> None:
    fenced = removed = parts = 0
    for seed in range(SEEDS):
        world = history(seed)
        assert world.faults() == [], f"seed {seed}"
        fenced += world.fenced
        removed += world.store.removed
        parts = max(parts, world.store.parts_max)
    assert fenced > SEEDS / 5
    assert removed > 10 * SEEDS
    assert parts > 1


# Planted faults


def _switch_first(self: ParquetCurrent, place: Place, mark: Mark, files: Sequence[object], keys: Sequence[str]) -> None:
    """Create the pointer, and the files only then."""
    uploads: list[tuple[str, bytes]] = []

    def add(ledger: Ledger, at: Place, step: Step) -> None:
        _add(ledger, at, step)
        for name, content in uploads:
            self._location.create(name, content)

    def later(_: StoreLocation, name: str, file: Path) -> bool:
        uploads.append((name, file.read_bytes()))
        return True

    with patch.object(Ledger, "add", add), patch.object(StoreLocation, "upload", later):
        _commit(self, place, mark, files, keys)


def _without_condition(self: Ledger, place: Place, step: Step) -> None:
    """Switch although another has switched before."""
    self._location._store.files.pop(f"{self.folder(place)}/{step.after:020}.json", None)  # type: ignore[attr-defined]
    _add(self, place, step)


def _position_first(
    self: ParquetCurrent, place: Place, mark: Mark, files: Sequence[object], keys: Sequence[str]
) -> None:
    """Note the position beside the pointer, and before it."""
    self._location._store.files[f"positions/{place.partition}"] = msgspec.json.encode(mark)  # type: ignore[attr-defined]
    _commit(self, place, mark, files, keys)


def _mark_apart(self: ParquetCurrent, place: Place) -> Mark | None:
    _mark(self, place)
    content = self._location.read(f"positions/{place.partition}")
    return msgspec.json.decode(content, type=Mark) if content else None


def _first_part_alone(files: Sequence[DataFile]) -> list[parquet_current._Part]:
    """Forget that a state has several parts."""
    return [each._replace(of=1, number=0) for each in _parts(files)[:1]]


_add, _commit, _mark, _parts = Ledger.add, ParquetCurrent._commit, ParquetCurrent.mark, parquet_current._parts
FAULTS: dict[str, list[tuple[object, str, object]]] = {
    "a pointer that is switched before its files are there": [(ParquetCurrent, "_commit", _switch_first)],
    "a delete that is forgotten": [(parquet_current, "present", lambda rows: rows)],
    "a position apart from the pointer": [
        (ParquetCurrent, "_commit", _position_first),
        (ParquetCurrent, "mark", _mark_apart),
    ],
    "a stale writer that switches": [(Ledger, "add", _without_condition)],
    "a state of which parts are forgotten": [(parquet_current, "_parts", _first_part_alone)],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    with _planted(fault):
        assert any(_breaks(seed) for seed in range(3 * SEEDS))


def _planted(fault: str) -> ExitStack:
    stack = ExitStack()
    for each in FAULTS[fault]:
        stack.enter_context(patch.object(*each))
    return stack


def _breaks(seed: int) -> bool:
    try:
        return bool(history(seed).faults())
    except (AssertionError, WorldError):  # it does not come to an end, or a writer finds what cannot be
        return True
