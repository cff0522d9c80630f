"""The lister's loop: what it asks the source, and what it hands to lane 0."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar

import pytest

from support.lanes import NOW_MS, STREAM, TABLE, checkpoint
from support.waiting import wait_for
from tailrace.core.checkpoint import CheckpointKey, Write
from tailrace.core.ports import ReadError, ReadFailure, StreamListing, TableStream
from tailrace.core.shard import ListedShard, ShardRef, lane_of
from tailrace.core.view import View
from tailrace.runtime import lister
from tailrace.runtime.lister import ListerLoop

_T = TypeVar("_T")

LANES = 4


class Engine:
    """Answers at once, and commits at once what is published."""

    def __init__(self) -> None:
        self.view = View(LANES)
        self._lock = threading.Lock()

    def ask(self, question: Callable[[View], _T]) -> Future[_T]:
        answer: Future[_T] = Future()
        with self._lock:
            answer.set_result(question(self.view))
        return answer

    def publish(self, incarnation: int, writes: tuple[Write, ...]) -> None:
        assert incarnation == 7
        with self._lock:
            for write in writes:
                self.view.apply(write.partition, write.key, write.record)

    def now_ms(self) -> int:
        return NOW_MS

    def end(self, shard: ShardRef) -> None:
        with self._lock:
            self.view.apply(lane_of(shard, LANES), CheckpointKey(*shard), checkpoint("ended", 1))


class Source:
    """A stream whose listing the test changes, and what was asked of it."""

    def __init__(self) -> None:
        self.shards_listed: list[ListedShard] = []
        self.hidden: list[ListedShard] = []
        """Shards that a listing misses, but that `children` and `exists` know."""
        self.fails: set[str] = set()
        self.asked: list[str] = []

    def table_names(self, patterns: list[str]) -> list[str]:
        raise NotImplementedError

    def table_stream(self, table: str) -> TableStream:
        self._ask("table_stream")
        return TableStream(table, STREAM, "NEW_IMAGE")

    def shards(self, stream_arn: str) -> StreamListing:
        self._ask("shards")
        return StreamListing(stream_arn, NOW_MS, tuple(self.shards_listed))

    def children(self, shard: ShardRef) -> tuple[ListedShard, ...]:
        self._ask("children")
        known = (*self.shards_listed, *self.hidden)
        return tuple(each for each in known if shard.shard_id in each.parent_ids)

    def exists(self, shard: ShardRef) -> bool:
        self._ask("exists")
        return shard.shard_id in {each.shard_id for each in (*self.shards_listed, *self.hidden)}

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self.fails:
            raise ReadError(f"{what} failed", ReadFailure.UNAVAILABLE)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def loop(engine: Engine, source: Source, monkeypatch: pytest.MonkeyPatch) -> Iterator[ListerLoop]:
    monkeypatch.setattr(lister, "CHILDREN_PAUSE_S", 0.01)
    made = ListerLoop(
        engine,
        source,
        7,
        table_names=lambda: [TABLE],
        wanted=lambda _table: True,
        start="TRIM_HORIZON",
        interval_s=3600,
        prepare_table=lambda _stream: None,
    )
    yield made
    made.stop()


def run(loop: ListerLoop) -> None:
    """Start it; the fixture stops it."""
    threading.Thread(target=loop.run, daemon=True).start()


def known(engine: Engine) -> set[str]:
    return engine.ask(lambda view: {shard.shard_id for shard in view.shards}).result()


def test_a_listing_is_published_with_the_pipelines_birth(engine: Engine, source: Source, loop: ListerLoop) -> None:
    source.shards_listed = [ListedShard("a"), ListedShard("b", ("a",))]
    run(loop)
    wait_for("both are known", lambda: known(engine) == {"a", "b"})
    assert engine.view.pipeline is not None
    assert engine.view.tables[TABLE].state == "streaming"


def test_a_parent_that_the_listing_misses_is_asked_about_before_its_child_is_published(
    engine: Engine, source: Source, loop: ListerLoop
) -> None:
    source.shards_listed = [ListedShard("child", ("gone",))]
    run(loop)
    wait_for("the child is known", lambda: known(engine) == {"child"})
    assert "exists" in source.asked
    assert engine.view.shards[ShardRef(STREAM, "child")].parents == ()


def test_the_children_of_a_shard_that_ended_are_found_although_they_show_late(
    engine: Engine, source: Source, loop: ListerLoop
) -> None:
    source.shards_listed = [ListedShard("a")]
    run(loop)
    wait_for("the shard is known", lambda: known(engine) == {"a"})
    engine.end(ShardRef(STREAM, "a"))
    loop.shard_ended(ShardRef(STREAM, "a"))
    wait_for("they are asked for in vain", lambda: source.asked.count("children") >= 2)
    source.hidden = [ListedShard("b", ("a",)), ListedShard("c", ("a",))]
    wait_for("they are known", lambda: known(engine) == {"a", "b", "c"})


def test_when_many_shards_end_at_once_the_stream_is_listed_instead_of_each_ones_children(
    engine: Engine, source: Source, loop: ListerLoop
) -> None:
    parents = [f"p{number}" for number in range(20)]
    source.shards_listed = [ListedShard(parent) for parent in parents]
    run(loop)
    wait_for("they are known", lambda: known(engine) == set(parents))
    source.shards_listed += [ListedShard(f"child of {parent}", (parent,)) for parent in parents]
    with engine._lock:  # so that all have ended before the loop looks
        for parent in parents:
            loop.shard_ended(ShardRef(STREAM, parent))
    wait_for("the children are known", lambda: len(known(engine)) == 40)
    assert source.asked.count("children") <= lister.CHILDREN_CALLS_MAX


@pytest.mark.parametrize("what", ["children", "exists"])
def test_looking_for_children_goes_on_after_the_source_failed(
    engine: Engine, source: Source, loop: ListerLoop, what: str
) -> None:
    source.shards_listed = [ListedShard("a"), ListedShard("z")]
    run(loop)
    wait_for("the shards are known", lambda: known(engine) == {"a", "z"})
    source.hidden = [ListedShard("b", ("a", "missed"))]
    source.fails = {what}
    loop.shard_ended(ShardRef(STREAM, "a"))
    wait_for(f"{what} failed", lambda: what in source.asked)
    source.fails = set()
    source.hidden = [ListedShard("y", ("z",))]
    loop.shard_ended(ShardRef(STREAM, "z"))
    wait_for("a later child is found", lambda: "y" in known(engine))


def test_a_defect_between_two_rounds_does_not_end_the_listing(
    engine: Engine, source: Source, loop: ListerLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.shards_listed = [ListedShard("a")]
    run(loop)
    wait_for("the shard is known", lambda: known(engine) == {"a"})
    monkeypatch.setattr(source, "children", lambda _shard: 1 / 0)
    source.shards_listed.append(ListedShard("b"))

    def another_round_lists() -> bool:
        loop.shard_ended(ShardRef(STREAM, "a"))
        return known(engine) == {"a", "b"}

    wait_for("another round lists", another_round_lists)
