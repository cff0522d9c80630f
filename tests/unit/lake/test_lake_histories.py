"""A lake in simulated time: its writers interleaved, frozen and killed at any call of a store that fails as S3 does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from random import Random
from unittest.mock import patch

import pytest

from support.lake_rows import NothingSetAside, PlainRows
from support.lake_store import Store, StoreLocation
from support.sink_histories import World
from tailrace.config.lake import PartitionBy
from tailrace.errors import WorldError
from tailrace.kafka.watched_consumer import Place
from tailrace.lake import ledger, parquet_sink
from tailrace.lake.ledger import Ledger, Step
from tailrace.lake.parquet_sink import ParquetSink, _Claimed
from tailrace.sinks.progress import Position
from tailrace.sinks.runner import Runner

SEEDS = 30
BY_REGION = (PartitionBy("region", None),)


class InOrder:
    """A pool without threads: what it is given is done at once, in this process of the simulation."""

    def __init__(self, _threads: int) -> None:
        pass

    def __enter__(self) -> InOrder:
        return self

    def __exit__(self, *_failure: object) -> None:
        pass

    def map(self, function: Callable[[str], bool], names: Sequence[str]) -> Iterator[bool]:
        return map(function, names)

    def submit(self, function: Callable[[str], object], name: str) -> Future[object]:
        done: Future[object] = Future()
        done.set_result(function(name))
        return done


class LakeWorld:
    """A history of a lake: what its store has, and how its writers fared."""

    def __init__(self, seed: int) -> None:
        self.store = Store()
        self.completed = 0
        """How many interrupted steps another writer has completed."""
        self._mishaps = Random(seed)
        self._sinks: list[ParquetSink] = []
        self._world = World(seed, self._sink)

    def run(self) -> None:
        complete = ParquetSink._complete

        def counting(sink: ParquetSink, *arguments: object) -> None:
            self.completed += 1
            complete(sink, *arguments)  # type: ignore[arg-type]

        with (
            patch.object(ledger, "ThreadPoolExecutor", InOrder),
            patch.object(parquet_sink, "CHUNK_BYTES", 300),
            patch.object(ParquetSink, "_complete", counting),
        ):
            try:
                self._world.run()
            finally:
                for each in self._sinks:
                    each.close()

    @property
    def fenced(self) -> int:
        return self._world.fenced

    def faults(self) -> list[str]:
        gaps = self._world.faults(lambda place: sorted(self.store.rows.get(place, [])))
        return [*self.store.repeats, *gaps]

    def _sink(self) -> ParquetSink:
        location = StoreLocation(self.store, self._mishaps, self._on_call)
        sink = ParquetSink(
            location,
            Ledger(location),
            identity="lake",
            table_of=lambda topic: topic,
            make_rows=lambda _topic, known: PlainRows(known, regions=2, widens_every=15),
            set_aside=NothingSetAside(),
            partition_by=BY_REGION,
            file_bytes=1 << 20,
            now_ms=lambda: self._world.now_ms,
        )
        self._sinks.append(sink)
        return sink

    def _on_call(self) -> bool:
        return self._world.trouble(self._mishaps, self.store.late, self.store.arrive)


def history(seed: int) -> LakeWorld:
    world = LakeWorld(seed)
    world.run()
    return world


def test_every_committed_record_is_in_the_lake_once_at_any_moment() -> None:
    fenced = completed = 0
    for seed in range(SEEDS):
        world = history(seed)
        assert world.faults() == [], f"seed {seed}"
        fenced += world.fenced
        completed += world.completed
    assert fenced > SEEDS / 5
    assert completed > SEEDS / 5


# Planted faults


def _never_fence(self: Ledger, place: Place, step: Step) -> None:
    """Write a step over another's."""
    self._location._store.files.pop(f"{self.folder(place)}/{ledger._name(step.after)}", None)  # type: ignore[attr-defined]
    _add(self, place, step)


def _note_last(self: ParquetSink, place: Place, next_offset: int) -> None:
    """Create the files, and note the step only then."""
    noted: list[tuple[Place, Step]] = []

    def complete(ledger_: Ledger, at: Place, step: Step, uploads: Mapping[str, Callable[[str], object]]) -> None:
        _complete(ledger_, at, step, uploads)
        for each in noted:
            _add(ledger_, *each)

    with (
        patch.object(Ledger, "add", lambda _self, *each: noted.append(each)),
        patch.object(Ledger, "complete", complete),
    ):
        _commit(self, place, next_offset)


def _under_new_names(self: ParquetSink, place: Place, claimed: _Claimed, step: Step) -> None:
    """Complete an interrupted step in files of one's own."""
    files = self._finish(place, claimed, step.after, step.end)
    uploads = {f"{id(self)}-{name}": partial(self._location.upload, file=file.path) for name, file in files.items()}
    self._ledger.complete(place, step, uploads)


def _without_bound(last: Step | None, missing: Sequence[str]) -> Position | None:
    """Forget where an interrupted step ends."""
    position = _position(last, missing)
    return position._replace(bound=None) if position else None


def _release_without_reading_again(self: Runner, place: Place) -> None:
    self._sink.release([place])
    self._sink.claim(place, "id")


_add, _complete, _commit = Ledger.add, Ledger.complete, ParquetSink.commit_one
_position = parquet_sink._position
FAULTS: dict[str, tuple[object, str, object]] = {
    "steps without a condition": (Ledger, "add", _never_fence),
    "a step noted after its files": (ParquetSink, "commit_one", _note_last),
    "an interrupted step taken as whole": (Ledger, "missing", lambda *_: []),
    "an interrupted step cut elsewhere": (parquet_sink, "_position", _without_bound),
    "an interrupted step completed in other files": (ParquetSink, "_complete", _under_new_names),
    "a fenced batch that is not read again": (Runner, "_lose", _release_without_reading_again),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    with patch.object(*FAULTS[fault]):
        assert any(_breaks(seed) for seed in range(SEEDS))


def _breaks(seed: int) -> bool:
    try:
        return bool(history(seed).faults())
    except (AssertionError, WorldError):  # it does not come to an end, or a writer finds what cannot be
        return True
