"""Tables are compared with their topics while both change: a model of table, stream and topic, from seeds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from random import Random
from typing import Any, cast
from unittest.mock import patch
from zlib import crc32

import pytest

from tailrace.config import from_flags
from tailrace.core.change import Change, Op, Origin
from tailrace.core.comparison import compare
from tailrace.core.ports import Rows, SourcePage, SourceRecord, TableFacts
from tailrace.core.shard import ShardRef
from tailrace.formats.item_state import ItemStates
from tailrace.operations import table_comparison, table_scan
from tailrace.operations.pending_changes import Ends, Take
from tailrace.operations.progress import unheard
from tailrace.operations.published_items import PublishedItems
from tailrace.operations.table_comparison import TableComparison
from tailrace.operations.table_scan import TableScan
from tailrace.operations.topic_states import TopicState
from tailrace.wiring.pipeline import make_converter
from tailrace.wiring.transformations import Transformations

PIPELINE = from_flags(["orders"], "localhost:9092", region="us-east-1", name="shop").pipeline
SHARD = ShardRef("arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/2026", "shard-1")
FACTS = TableFacts("orders", "arn:aws:dynamodb:us-east-1:000000000000:table/orders", {"id": "S"}, 100, 1, None)
HOT = [f"hot-{number}" for number in range(12)]
COLD = [f"cold-{number}" for number in range(40)]
PAGE_ITEMS = 5


class World:
    """A table, its stream, and a topic; hot items change whenever anything is asked of any of them."""

    def __init__(self, seed: int, *, is_served: bool = True) -> None:
        self.random = Random(seed)
        self.pipeline = PIPELINE
        self.converter = make_converter(self.pipeline, Transformations(self.pipeline))
        self.items: dict[str, int] = {}
        self.unpublished: list[SourceRecord] = []
        self.log: list[tuple[bytes, bytes | None, int]] = []
        self.lost: set[str] = set()
        """Items whose changes do not arrive in the topic."""
        self.sequence = 0
        self._served = is_served
        self._topic_at = 0
        for name in HOT + COLD:
            self.write(name)
        self.publish(len(self.unpublished))

    # What happens

    def write(self, name: str, *, deletes: bool = False) -> None:
        self.sequence += 1
        before = self.items.get(name)
        if deletes and before is None:
            return
        if deletes:
            del self.items[name]
        else:
            self.items[name] = self.sequence
        op: Op = "d" if deletes else "c" if before is None else "u"
        self.unpublished.append(self._record(name, op, before, self.items.get(name)))

    def publish(self, count: int) -> None:
        batch, self.unpublished = self.unpublished[:count], self.unpublished[count:]
        page = self.converter.convert(SHARD, SourcePage(batch, None, 0, full=False), 0)
        for record in page.records:
            assert record.key is not None
            if record.key.decode().split('"')[3] not in self.lost:
                self.log.append((record.key, record.value, int(time.time() * 1000)))

    def show_again(self, name: str) -> None:
        """Publish an item's row, as a repair does."""
        page = self.converter.convert(SHARD, SourcePage([self._row(name)], None, 0, full=False), 0)
        self.log += [(record.key or b"", record.value, int(time.time() * 1000)) for record in page.records]

    def stir(self) -> None:
        for _ in range(self.random.randrange(6)):
            self.write(self.random.choice(HOT), deletes=self.random.random() < 0.3)
        if self._served:
            self.publish(self.random.randrange(6))

    # The parts of a comparison

    def scan(self, facts: TableFacts, segment: int, total: int, cursor: str | None, **_options: Any) -> Rows:
        self.stir()
        names = sorted(name for name in self.items if crc32(name.encode()) % total == segment and name > (cursor or ""))
        page = names[:PAGE_ITEMS]
        return Rows([self._row(name) for name in page], page[-1] if len(names) > PAGE_ITEMS else None, 0, 0.0)

    def get(self, facts: TableFacts, keys: Sequence[bytes], **_options: Any) -> Rows:
        self.stir()
        names = [key.decode().split('"')[5] for key in keys]
        return Rows([self._row(name) for name in names if name in self.items], None, 0, 0.0)

    def read_pending(self, take: Take) -> Ends:
        self.stir()
        if not self.unpublished:
            return {}
        take(SHARD, list(self.unpublished))
        return {SHARD: self.unpublished[-1].origin.sequence}

    def wait_published(self, ends: Ends, timeout_s: float) -> bool:
        self.stir()
        if not self._served:
            return not ends
        for end in ends.values():
            self.publish(sum(int(each.origin.sequence) <= int(end) for each in self.unpublished))
        return True

    def read(self, states: ItemStates, heard: Callable[[int], None]) -> Iterator[TopicState]:
        self.stir()
        for key, value, created_ms in self.log[self._topic_at :]:
            yield TopicState(key, 0, states.of(value), created_ms)
        self._topic_at = len(self.log)

    def compare(self, folder: Path) -> TableComparison:
        class Pending:
            read = self.read_pending
            wait_published = self.wait_published

            @staticmethod
            def await_delivery() -> None:
                """The stream has every change at once."""

            @staticmethod
            def is_served() -> bool:
                return self._served

        reader = cast(Any, self)
        compared = TableComparison(
            PublishedItems(self.pipeline, FACTS, self.converter, keeps_keys=True),
            scan=TableScan(reader, FACTS, 1e9),
            pending=cast(Any, Pending),
            topics=reader,
            folder=folder,
            progress=unheard,
        )
        # One segment: what happens follows from the seed alone.
        with patch.object(time, "sleep"), patch.object(table_scan, "SEGMENTS", 1):
            compared.run(30.0)
        return compared

    def _row(self, name: str) -> SourceRecord:
        return self._record(name, "r", None, self.items[name])

    def _record(self, name: str, op: Op, before: int | None, after: int | None) -> SourceRecord:
        sequence = "" if op == "r" else str(self.sequence)
        change = Change(
            op=op,
            table="orders",
            keys=b'{"id":{"S":"%b"}}' % name.encode(),
            before=None if before is None else _image(name, before),
            after=None if after is None else _image(name, after),
            created_ms=1,
            event_id=sequence,
            sequence=sequence,
            shard_id="shard-1",
            stream_arn=SHARD.stream,
            region="us-east-1",
            view_type="NEW_AND_OLD_IMAGES",
        )
        return SourceRecord(Origin("orders", sequence, 1, b"{}"), change)


def _image(name: str, version: int) -> bytes:
    return b'{"id":{"S":"%b"},"version":{"N":"%d"}}' % (name.encode(), version)


def key_of(name: str) -> str:
    return f'{{"id":"{name}"}}'


def differences(compared: TableComparison) -> dict[str, set[str]]:
    return {
        word: {each.key for each in compared.found(word).samples}
        for word in ("missing", "stale", "surplus", "unsettled")
        if compared.found(word).count
    }


@pytest.mark.parametrize("seed", range(25))
def test_a_table_that_changes_all_the_time_is_equal(tmp_path: Path, seed: int) -> None:
    compared = World(seed).compare(tmp_path)
    assert differences(compared) == {}
    assert compared.counts["equal"] >= len(COLD)


@pytest.mark.parametrize("seed", range(10))
def test_what_a_topic_lacks_is_found_whatever_changes_beside_it(tmp_path: Path, seed: int) -> None:
    world = World(seed)
    gone, old, ghost = COLD[:3]
    world.log = [record for record in world.log if record[0] != key_of(gone).encode()]
    world.lost = {old, ghost}
    world.write(old)
    world.write(ghost, deletes=True)
    assert differences(world.compare(tmp_path)) == {
        "missing": {key_of(gone)},
        "stale": {key_of(old)},
        "surplus": {key_of(ghost)},
    }


@pytest.mark.parametrize("seed", range(5))
def test_what_was_repaired_is_equal_when_it_is_looked_at_again(tmp_path: Path, seed: int) -> None:
    world = World(seed)
    gone, left = COLD[:2]
    world.log = [record for record in world.log if record[0] not in {key_of(gone).encode(), key_of(left).encode()}]
    compared = world.compare(tmp_path)
    assert (compared.differences, compared.unrepairable) == (2, 0)
    assert set(compared.repairable) == {b'{"id":{"S":"%b"}}' % name.encode() for name in (gone, left)}
    world.show_again(gone)
    with patch.object(time, "sleep"):
        compared.look_again(30.0)
    assert differences(compared) == {"missing": {key_of(left)}}
    assert compared.differences == 1


@pytest.mark.parametrize("seed", range(10))
def test_what_nobody_publishes_is_in_flight(tmp_path: Path, seed: int) -> None:
    world = World(seed, is_served=False)
    gone, old = COLD[:2]
    world.log = [record for record in world.log if record[0] != key_of(gone).encode()]
    world.write(old)
    compared = world.compare(tmp_path)
    found = differences(compared)
    assert found.pop("missing") == {key_of(gone)}
    assert compared.pending_changes > 0
    assert found.keys() == {"unsettled"}
    assert compared.found("unsettled").count >= 1


@pytest.mark.parametrize("seed", range(5))
def test_more_differences_than_are_looked_at_again_are_counted(tmp_path: Path, seed: int) -> None:
    world = World(seed)
    world.log = [(key, value, 1) for key, value, _ in world.log if b"cold" not in key]
    with patch.object(table_comparison, "DOUBTED_KEYS_MAX", 10):
        compared = world.compare(tmp_path)
    assert compared.counts["missing"] + compared.counts["unsettled"] >= len(COLD)
    assert compared.counts["missing"] >= len(COLD) - 10
    assert compared.counts["unsettled"] <= len(HOT)
    assert compared.counts["stale"] == compared.counts["surplus"] == 0


def _without_changes_in_flight(world: World) -> None:
    world.read_pending = lambda take: {}  # type: ignore[method-assign]


def _without_waiting(world: World) -> None:
    world.wait_published = lambda ends, timeout_s: True  # type: ignore[method-assign]


def _last_states_only(world: World) -> None:
    world.replaced = patch.object(  # type: ignore[attr-defined]
        table_comparison,
        "compare",
        lambda item, seen: compare(item, {topic: states[-1:] for topic, states in seen.items()}),
    )


@pytest.mark.parametrize("fault", [_without_changes_in_flight, _without_waiting, _last_states_only])
def test_a_comparison_that_lacks_a_rule_raises_false_alarms(tmp_path: Path, fault: Callable[[World], None]) -> None:
    alarms = 0
    for seed in range(25):
        world = World(seed)
        fault(world)
        folder = tmp_path / str(seed)
        folder.mkdir()
        with getattr(world, "replaced", nullcontext()):
            alarms += bool(differences(world.compare(folder)))
    assert alarms > 0
