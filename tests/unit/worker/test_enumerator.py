"""The enumerator's loop: what it asks the source, and what it hands to lane 0."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

import pytest
from msgspec.structs import replace

from support.lanes import NOW_MS, STREAM, TABLE, checkpoint
from support.waiting import wait_for
from tailrace.core.checkpoint import AcceptKey, CheckpointKey, GapAccepted, TableKey, TableRecord, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.ports import ReadError, ReadFailure, StreamListing, TableStream
from tailrace.core.shard import ListedShard, ShardRef, lane_of
from tailrace.errors import UnreachableError, WorldError
from tailrace.process.host import ThreadedHost
from tailrace.sources.dynamodb.policy import POLICY
from tailrace.worker import enumerator
from tailrace.worker.enumerator import EnumeratorLoop

_T = TypeVar("_T")

LANES = 4


class Engine:
    """Answers at once, and commits at once what is published."""

    def __init__(self) -> None:
        self.checkpoint_state = CheckpointState(LANES)
        self.host = ThreadedHost()
        began_s = time.monotonic()
        self.host.now_ms = lambda: NOW_MS + int((time.monotonic() - began_s) * 1000)
        self._lock = threading.Lock()

    def ask(self, question: Callable[[CheckpointState], _T]) -> Future[_T]:
        answer: Future[_T] = Future()
        with self._lock:
            answer.set_result(question(self.checkpoint_state))
        return answer

    def publish(self, epoch: int, writes: tuple[Write, ...]) -> None:
        assert epoch == 7
        with self._lock:
            for write in writes:
                self.checkpoint_state.apply(write.partition, write.key, write.record)

    def end(self, shard: ShardRef) -> None:
        with self._lock:
            self.checkpoint_state.apply(lane_of(shard, LANES), CheckpointKey(*shard), checkpoint("ended", 1))


class Source:
    """A stream whose listing the test changes, and what was asked of it."""

    def __init__(self) -> None:
        self.shards_listed: list[ListedShard] = []
        self.hidden: list[ListedShard] = []
        """Shards that a listing misses, but that `children` and `exists` know."""
        self.stream = STREAM
        self.fails: set[str] = set()
        self.fails_after_children: int | None = None
        """How many times the children are said before asking for them fails; None: always."""
        self.asked: list[str] = []
        self.streams_asked: list[str] = []

    def table_names(self, patterns: list[str]) -> list[str]:
        raise NotImplementedError

    def table_stream(self, table: str) -> TableStream:
        self._ask("table_stream")
        return TableStream(table, self.stream, "NEW_IMAGE")

    def shards(self, stream: str) -> StreamListing:
        self.streams_asked.append(stream)
        self._ask("shards")
        return StreamListing(stream, NOW_MS, tuple(self.shards_listed))

    def children(self, shard: ShardRef) -> tuple[ListedShard, ...]:
        self._ask("children")
        if self.fails_after_children is not None and self.asked.count("children") > self.fails_after_children:
            raise ReadError("children failed", ReadFailure.UNAVAILABLE)
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
def loop(engine: Engine, source: Source, monkeypatch: pytest.MonkeyPatch) -> Iterator[EnumeratorLoop]:
    monkeypatch.setattr(enumerator, "WAIT_S", 0.02)
    made = make_loop(engine, source)
    yield made
    made.stop()


def make_loop(
    engine: Engine,
    source: Source,
    *,
    interval_s: float = 3600,
    tables: Sequence[str] = (TABLE,),
    prepare_table: Callable[[TableStream], None] = lambda _stream: None,
    enable_stream: Callable[[str], None] | None = None,
    table_names: Callable[[], list[str]] | None = None,
    other_tags: Callable[[str], dict[str, str] | None] | None = None,
    second_child_ms: int = POLICY.second_child_ms,
) -> EnumeratorLoop:
    return EnumeratorLoop(
        engine,
        source,
        7,
        policy=replace(POLICY, children_pause_ms=10, second_child_ms=second_child_ms),
        table_names=table_names or (lambda: list(tables)),
        other_tags=other_tags,
        wanted=lambda _table: True,
        start="TRIM_HORIZON",
        interval_s=interval_s,
        prepare_table=prepare_table,
        enable_stream=enable_stream,
    )


def run(loop: EnumeratorLoop) -> None:
    """Start it; the fixture stops it."""
    threading.Thread(target=loop.run, daemon=True).start()


def known(engine: Engine) -> set[str]:
    return engine.ask(lambda checkpoint_state: {shard.shard_id for shard in checkpoint_state.shards}).result()


def test_a_listing_is_published_with_the_pipelines_birth(engine: Engine, source: Source, loop: EnumeratorLoop) -> None:
    source.shards_listed = [ListedShard("a"), ListedShard("b", ("a",))]
    run(loop)
    wait_for("both are known", lambda: known(engine) == {"a", "b"})
    assert engine.checkpoint_state.pipeline is not None
    assert engine.checkpoint_state.tables[TABLE].state == "streaming"


def test_a_parent_that_the_listing_misses_is_asked_about_before_its_child_is_published(
    engine: Engine, source: Source, loop: EnumeratorLoop
) -> None:
    source.shards_listed = [ListedShard("child", ("gone",))]
    run(loop)
    wait_for("the child is known", lambda: known(engine) == {"child"})
    assert "exists" in source.asked
    assert engine.checkpoint_state.shards[ShardRef(STREAM, "child")].parents == ()


def test_the_children_of_a_shard_that_ended_are_found_although_they_show_late(
    engine: Engine, source: Source, loop: EnumeratorLoop
) -> None:
    source.shards_listed = [ListedShard("a")]
    run(loop)
    wait_for("the shard is known", lambda: known(engine) == {"a"})
    engine.end(ShardRef(STREAM, "a"))
    loop.shard_ended(ShardRef(STREAM, "a"))
    wait_for("they are asked for in vain", lambda: source.asked.count("children") >= 2)
    source.hidden = [ListedShard("b", ("a",)), ListedShard("c", ("a",))]
    wait_for("they are known", lambda: known(engine) == {"a", "b", "c"})


def complete(engine: Engine) -> set[str]:
    """The shards of which it is confirmed that all that was made with them is known."""
    return engine.ask(
        lambda state: {shard.shard_id for shard, record in state.shards.items() if record.complete_ms is not None}
    ).result()


def test_children_are_looked_for_until_it_is_confirmed_that_all_are_known(engine: Engine, source: Source) -> None:
    loop = make_loop(engine, source, second_child_ms=100)
    source.shards_listed = [ListedShard("a")]
    run(loop)
    wait_for("it is alone", lambda: complete(engine) == {"a"})
    source.hidden = [ListedShard("b", ("a",))]
    source.fails_after_children = 1
    engine.end(ShardRef(STREAM, "a"))
    loop.shard_ended(ShardRef(STREAM, "a"))
    wait_for("the second look fails", lambda: source.asked.count("children") >= 2)
    assert complete(engine) == {"a"}
    source.hidden.append(ListedShard("c", ("a",)))
    source.fails_after_children = None
    wait_for("the second child is known", lambda: known(engine) == {"a", "b", "c"})
    wait_for("there is no third", lambda: "b" in complete(engine))
    loop.stop()


def test_a_stream_is_listed_until_it_is_confirmed_that_its_first_shards_are_known(
    engine: Engine, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = source.shards

    def shards(stream: str) -> StreamListing:
        answer = listing(stream)
        source.shards_listed = [ListedShard("a"), ListedShard("b")]
        return answer

    monkeypatch.setattr(source, "shards", shards)
    source.shards_listed = [ListedShard("a")]
    loop = make_loop(engine, source, second_child_ms=100)
    run(loop)
    wait_for("the second is found and confirmed", lambda: complete(engine) == {"a", "b"})
    loop.stop()


def test_a_new_enumerator_looks_for_more_children_where_that_was_not_confirmed(
    engine: Engine, source: Source, loop: EnumeratorLoop
) -> None:
    source.shards_listed = [ListedShard("a"), ListedShard("b", ("a",))]
    run(loop)
    wait_for("both are known", lambda: known(engine) == {"a", "b"})
    loop.stop()
    engine.end(ShardRef(STREAM, "a"))
    source.hidden = [ListedShard("c", ("a",))]
    after = make_loop(engine, source, second_child_ms=100)
    run(after)
    wait_for("the second child is known", lambda: known(engine) == {"a", "b", "c"})
    wait_for("there is no third", lambda: complete(engine) >= {"a", "b"})
    after.stop()


def test_when_many_shards_end_at_once_the_stream_is_listed_instead_of_each_ones_children(
    engine: Engine, source: Source, loop: EnumeratorLoop
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
    assert source.asked.count("children") <= 1
    assert source.asked.count("shards") <= 3


@pytest.mark.parametrize("what", ["children", "exists"])
def test_looking_for_children_goes_on_after_the_source_failed(
    engine: Engine, source: Source, loop: EnumeratorLoop, what: str
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


def test_a_defect_does_not_end_the_listing(
    engine: Engine, source: Source, monkeypatch: pytest.MonkeyPatch, loop: EnumeratorLoop
) -> None:
    source.shards_listed = [ListedShard("a")]
    loop._interval_s = 0.05
    run(loop)
    wait_for("the shard is known", lambda: known(engine) == {"a"})
    monkeypatch.setattr(source, "children", lambda _shard: 1 / 0)
    source.shards_listed.append(ListedShard("b"))
    loop.shard_ended(ShardRef(STREAM, "a"))
    wait_for("another round lists", lambda: known(engine) == {"a", "b"})
    assert loop._searches, "the defect was met"


def test_a_new_enumerator_looks_for_the_children_that_the_one_before_did_not_find(
    engine: Engine, source: Source, loop: EnumeratorLoop
) -> None:
    source.shards_listed = [ListedShard("a")]
    run(loop)
    wait_for("the shard is known", lambda: known(engine) == {"a"})
    loop.stop()
    engine.end(ShardRef(STREAM, "a"))
    source.hidden = [ListedShard("b", ("a",))]
    after = make_loop(engine, source)
    run(after)
    wait_for("the child is known", lambda: known(engine) == {"a", "b"})
    after.stop()


def test_a_new_stream_of_a_table_is_listed_only_after_the_earlier_one(
    engine: Engine, source: Source, loop: EnumeratorLoop
) -> None:
    source.shards_listed = [ListedShard("a")]
    loop._interval_s = 0.05
    run(loop)
    wait_for("the shard is known", lambda: known(engine) == {"a"})
    source.fails = {"shards"}
    after = STREAM.replace("2024", "2025")
    source.streams_asked = []
    source.stream = after
    accepted = GapAccepted(shards=(), stream_arn=after, at_ms=NOW_MS)
    engine.publish(7, (Write(0, AcceptKey(TABLE), accepted),))
    wait_for("listing the earlier stream failed", lambda: len(source.streams_asked) > 3)
    assert after not in source.streams_asked, "it might have unfinished shards that are not known yet"
    source.fails = set()
    wait_for("both are listed", lambda: after in source.streams_asked)
    first = source.streams_asked.index(after)
    assert source.streams_asked[first - 1] == STREAM


def test_streams_are_listed_in_turn(engine: Engine, source: Source) -> None:
    tables = [f"table{number}" for number in range(5)]
    loop = make_loop(engine, source, interval_s=0.05, tables=tables)
    source.table_stream = lambda table: TableStream(table, f"{STREAM}/{table}", None)  # type: ignore[method-assign]
    source.shards_listed = [ListedShard("a")]
    run(loop)
    wait_for("each is listed twelve times", lambda: len(source.streams_asked) > 60)
    loop.stop()
    counts = Counter(source.streams_asked)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_table_is_not_called_failed_because_kafka_did_not_answer(engine: Engine, source: Source) -> None:
    answers: list[Exception] = [UnreachableError("Kafka is away"), WorldError("its view type is not served")]

    def prepare(_stream: TableStream) -> None:
        raise answers[0]

    loop = make_loop(engine, source, interval_s=0.05, prepare_table=prepare)
    run(loop)
    wait_for("it is tried again", lambda: source.asked.count("table_stream") >= 2)
    assert engine.checkpoint_state.tables == {}
    del answers[0]
    wait_for("it fails for good", lambda: TABLE in engine.checkpoint_state.tables)
    loop.stop()
    assert engine.checkpoint_state.tables[TABLE].state == "failed"


def test_a_stream_that_is_off_is_switched_on_and_read_once_it_is_active(
    engine: Engine, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enumerator, "STREAM_STARTS_POLL_MS", 10)
    found = TableStream(TABLE, None, None, is_active=False)
    source.table_stream = lambda table: found  # type: ignore[method-assign]
    source.shards_listed = [ListedShard("a")]
    enabled: list[str] = []

    def enable(table: str) -> None:
        enabled.append(table)
        if len(enabled) == 1:
            raise ReadError("UpdateTable was refused", ReadFailure.DENIED)

    def detail() -> str:
        record = engine.checkpoint_state.tables.get(TABLE)
        return record.detail or "" if record is not None and record.state == "off" else ""

    loop = make_loop(engine, source, interval_s=0.05, enable_stream=enable)
    run(loop)
    wait_for("the table is waited for", lambda: "once the table is active" in detail())
    assert not enabled
    found = replace(found, is_active=True)
    wait_for("it is refused", lambda: "switching it on failed; it is tried again: UpdateTable was refused" in detail())
    wait_for("it is tried again", lambda: enabled == [TABLE, TABLE])
    found = TableStream(TABLE, STREAM, "NEW_IMAGE", is_active=False)
    loop._interval_s = 3600
    wait_for("it starts", lambda: detail() == "its stream is being switched on")
    assert not source.streams_asked
    found = replace(found, is_active=True)
    wait_for("it is listed", lambda: known(engine) == {"a"})
    assert engine.checkpoint_state.tables[TABLE].state == "streaming"
    loop.stop()
    assert len(enabled) == 2


def test_a_stream_that_was_switched_on_is_not_waited_for_forever(
    engine: Engine, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table is not active for hours while an index is built."""
    monkeypatch.setattr(enumerator, "STREAM_STARTS_POLL_MS", 10)
    monkeypatch.setattr(enumerator, "STREAM_STARTS_MS", 50)
    streams: dict[str, str | None] = {TABLE: None}
    source.table_stream = lambda table: TableStream(  # type: ignore[method-assign]
        table, streams[table], None, is_active=streams[table] is None
    )
    source.shards_listed = [ListedShard("a")]
    loop = make_loop(engine, source, enable_stream=lambda table: streams.update({table: STREAM}))
    run(loop)
    wait_for("it is listed", lambda: known(engine) == {"a"})
    loop.stop()


class Tags:
    """Which tables have the tags, and which do not: by the listing, and by themselves."""

    def __init__(self) -> None:
        self.listed: list[str] = []
        self.own: dict[str, bool] = {}
        self.fails: ReadError | None = None
        self.asked: list[str] = []

    def names(self) -> list[str]:
        if self.fails is not None:
            raise self.fails
        return self.listed

    def other_tags(self, table: str) -> dict[str, str] | None:
        if table in self.listed:
            return None
        self.asked.append(table)
        if self.fails is not None:
            raise self.fails
        return None if self.own[table] else {"team": "x"}


@pytest.fixture
def tags() -> Tags:
    return Tags()


@pytest.fixture
def tagged(engine: Engine, source: Source, tags: Tags, monkeypatch: pytest.MonkeyPatch) -> Iterator[EnumeratorLoop]:
    """Its rounds follow each other at once."""
    monkeypatch.setattr(enumerator, "WAIT_S", 0.02)
    source.shards_listed = [ListedShard("a")]
    source.table_stream = lambda table: TableStream(table, STREAM.replace(TABLE, table), None)  # type: ignore[method-assign]
    loop = make_loop(engine, source, interval_s=0.02, table_names=tags.names, other_tags=tags.other_tags)
    yield loop
    loop.stop()


def state_of(engine: Engine, table: str) -> str | None:
    record = engine.checkpoint_state.tables.get(table)
    return record.state if record is not None else None


def test_tables_start_with_their_tags_rest_without_them_and_resume(
    engine: Engine, tags: Tags, tagged: EnumeratorLoop, source: Source
) -> None:
    tags.listed = [TABLE]
    run(tagged)
    wait_for("one runs", lambda: state_of(engine, TABLE) == "streaming")
    tags.listed = [TABLE, "users"]
    wait_for("the other has gained them", lambda: state_of(engine, "users") == "streaming")
    tags.own["users"] = False
    tags.listed = [TABLE]
    wait_for("it has lost them", lambda: state_of(engine, "users") == "left out")
    assert engine.checkpoint_state.tables["users"].detail == "it does not have the tags that the file asks for"
    assert engine.checkpoint_state.is_stopped("users")
    assert len(tags.asked) >= 2, "it was asked itself in two rounds"
    source.streams_asked.clear()
    wait_for("more rounds", lambda: len(source.streams_asked) > 5)
    assert set(source.streams_asked) == {STREAM}, "what rests is not listed"
    tags.listed = [TABLE, "users"]
    wait_for("it has them again", lambda: state_of(engine, "users") == "streaming")
    assert state_of(engine, TABLE) == "streaming"


def test_a_listing_that_lags_behind_stops_nothing(engine: Engine, tags: Tags, tagged: EnumeratorLoop) -> None:
    tags.listed, tags.own[TABLE] = [TABLE], True
    run(tagged)
    wait_for("it runs", lambda: state_of(engine, TABLE) == "streaming")
    tags.listed = []
    wait_for("it is asked itself", lambda: len(tags.asked) > 5)
    assert state_of(engine, TABLE) == "streaming"


def test_an_answer_that_passes_stops_nothing(engine: Engine, tags: Tags, tagged: EnumeratorLoop) -> None:
    """Right after a change of its tags, DynamoDB may say that a table has none."""
    tags.listed = [TABLE]
    run(tagged)
    wait_for("it runs", lambda: state_of(engine, TABLE) == "streaming")
    answered = Counter[str]()

    def other_tags(table: str) -> dict[str, str] | None:
        answered[table] += 1
        return None if answered[table] % 2 else {}

    tagged._other_tags = other_tags
    tags.listed = []
    wait_for("it has answered", lambda: answered[TABLE] > 8)
    assert state_of(engine, TABLE) == "streaming"


@pytest.mark.parametrize("failure", [ReadFailure.DENIED, ReadFailure.UNAVAILABLE, ReadFailure.GONE])
def test_tags_that_cannot_be_read_stop_nothing_and_start_nothing(
    engine: Engine, tags: Tags, tagged: EnumeratorLoop, source: Source, failure: ReadFailure
) -> None:
    rests = TableRecord(stream_arn=None, view_type=None, state="left out", at_ms=NOW_MS)
    engine.publish(7, (Write(0, TableKey("rests"), rests),))
    tags.listed = [TABLE]
    run(tagged)
    wait_for("it runs", lambda: state_of(engine, TABLE) == "streaming")
    tags.fails = ReadError("GetResources was refused", failure)
    source.streams_asked.clear()
    wait_for("more rounds", lambda: len(source.streams_asked) > 5)
    tagged._table_names = lambda: ["new"]
    tags.listed = []
    wait_for("tables are asked", lambda: tags.asked.count(TABLE) > 5)
    assert (state_of(engine, TABLE), state_of(engine, "rests")) == ("streaming", "left out")
    assert state_of(engine, "new") is None
