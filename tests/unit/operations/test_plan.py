"""When a plan lets a pipeline start, and what it says of a topic that differs from the file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.snapshot_records import DescribedTables, facts
from tailrace.config import LoadedPipeline, load
from tailrace.config.format import FormatChoice
from tailrace.core.change import ViewType
from tailrace.core.ports import ReadError, ReadFailure, Source, SourcePage, StreamListing, TableStream
from tailrace.core.shard import ListedShard, Position, ShardRef
from tailrace.core.tags import WantedTags
from tailrace.errors import WorldError
from tailrace.kafka import clients, membership, topics
from tailrace.kafka.topics import Cluster, TopicState
from tailrace.operations.plan import (
    Plan,
    RefusedError,
    TablePlan,
    TopicPlan,
    make_plan,
    refuse,
    topic_differences,
    warnings,
)
from tailrace.operations.progress import Progress
from tailrace.operations.snapshot_plan import snapshot_notes
from tailrace.sources.dynamodb.policy import POLICY
from tailrace.wiring.pipeline import dead_letters_topic, table_topics

GOOD = TablePlan("orders", is_named=True)
BAD = TablePlan("users", is_named=True, problems=("shop.yaml:7: source.tables[1]: there is no table users; create it",))
BAD_MATCH = TablePlan("logs", is_named=False, problems=("shop.yaml:7: source.tables[2]: table logs has no stream",))


def plan(**fields: Any) -> Plan:
    topic = TopicPlan("topic", True, 1, 1)
    some = Plan("shop", False, "localhost:9092", "abc", 1, (), 16, topic, topic, (GOOD,), 0, (), ())
    return msgspec.structs.replace(some, **fields)


@pytest.mark.parametrize(
    "starts",
    [
        pytest.param(plan(), id="new"),
        pytest.param(plan(tables=(GOOD, BAD_MATCH)), id="new, and a table that a wildcard matches is bad"),
        pytest.param(plan(exists=True, tables=(GOOD, BAD)), id="old, and a named table is bad"),
        pytest.param(plan(exists=True, tables=(BAD,), unfinished_shards=1), id="old, with something left to publish"),
    ],
)
def test_one_bad_table_does_not_stop_the_others(starts: Plan) -> None:
    refuse(starts)


@pytest.mark.parametrize(
    ("refused", "sentences"),
    [
        pytest.param(plan(tables=(GOOD, BAD)), BAD.problems, id="new, and a named table is bad"),
        pytest.param(plan(exists=True, tables=(BAD,)), BAD.problems, id="old, and no table is good"),
        pytest.param(plan(tables=(BAD_MATCH,)), BAD_MATCH.problems, id="new, and nothing to stream"),
        pytest.param(plan(tables=(), warnings=("a-* matches no table",)), ("a-* matches no table",), id="no table"),
        pytest.param(plan(exists=True, problems=("no lanes",)), ("no lanes",), id="the pipeline itself"),
        pytest.param(
            plan(problems=("no lanes",), tables=(BAD,)), ("no lanes", *BAD.problems), id="all reasons are told at once"
        ),
    ],
)
def test_a_plan_that_cannot_work_is_refused_with_a_sentence_for_each_reason(
    refused: Plan, sentences: tuple[str, ...]
) -> None:
    with pytest.raises(RefusedError) as error:
        refuse(refused)
    assert str(error.value).splitlines() == list(sentences)


def test_what_is_no_reason_to_refuse_is_a_warning() -> None:
    topic = TopicPlan("shop.orders", True, 1, 1, warnings=("topic shop.orders has partitions=1",))
    tables = (GOOD, BAD, TablePlan("orders", is_named=True, topic=topic))
    assert warnings(plan(exists=True, tables=tables, warnings=("a-* matches no table",))) == (
        "a-* matches no table",
        *BAD.problems,
        *topic.warnings,
    )


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedPipeline:
    file = tmp_path / "shop.yaml"
    file.write_text(
        "name: shop\n"
        "kafka: {bootstrap.servers: 'localhost:9092'}\n"
        "source: {type: dynamodb-streams, tables: [orders]}\n"
        "topics:\n"
        "  partitions: 6\n"
        "  replication: 3\n"
        "  properties: {retention.ms: 1000, cleanup.policy: compact}\n"
    )
    return load(file)


def test_a_topic_that_is_as_the_file_asks_gives_no_warning(loaded: LoadedPipeline) -> None:
    (spec,) = table_topics(loaded.pipeline, "orders")
    config = {"retention.ms": "1000", "cleanup.policy": "compact", "max.message.bytes": "9000000"}
    assert topic_differences(loaded, spec, TopicState(spec.name, 6, 3), config) == ()
    assert topic_differences(loaded, spec, TopicState(spec.name, 6, 3), {}) == ()


def test_a_topic_that_differs_is_used_with_a_warning_for_each_difference(loaded: LoadedPipeline) -> None:
    (spec,) = table_topics(loaded.pipeline, "orders")
    config = {"retention.ms": "2000", "cleanup.policy": "compact", "max.message.bytes": "1048588"}
    assert topic_differences(loaded, spec, TopicState(spec.name, 3, 1), config) == (
        "topic shop.orders has partitions=3, the file asks for 6; it is used as it is",
        "topic shop.orders has replication=1, the file asks for 3; it is used as it is",
        "topic shop.orders has max.message.bytes=1048588, less than 4194304: larger records become dead letters; "
        "it is used as it is",
        "topic shop.orders has retention.ms=2000, the file asks for 1000; it is used as it is",
    )


def test_a_topic_that_takes_less_than_a_batch_is_told_of(loaded: LoadedPipeline) -> None:
    (spec,) = table_topics(loaded.pipeline, "orders")
    batches, records = topic_differences(loaded, spec, TopicState(spec.name, 6, 3), {"max.message.bytes": "50000"})
    assert "less than the batches of 1000000 bytes" in batches
    assert "set batch.size below it in the kafka section" in batches
    assert "larger records become dead letters" in records


def test_the_dead_letters_need_no_more_partitions_than_they_have(loaded: LoadedPipeline) -> None:
    spec = dead_letters_topic(loaded.pipeline)
    assert topic_differences(loaded, spec, TopicState(spec.name, 1, 3), {}) == ()


def test_partitions_that_the_file_does_not_ask_for_are_no_difference(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(
        "name: shop\nkafka: {bootstrap.servers: 'localhost:9092'}\nsource: {type: dynamodb-streams, tables: [orders]}\n"
    )
    loaded = load(file)
    (spec,) = table_topics(loaded.pipeline, "orders")
    assert topic_differences(loaded, spec, TopicState(spec.name, 12, 2), {}) == ()


class Tables(Source):
    """Describes tables, but for those whose description fails."""

    policy = POLICY

    def __init__(self, **failures: ReadFailure) -> None:
        self._failures = failures
        self.off: set[str] = set()
        """Tables whose stream is off."""
        self.tags: dict[str, dict[str, str]] = {}

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> SourcePage:
        raise NotImplementedError

    def close(self) -> None:
        """There is nothing to close."""

    def enable_stream(self, table: str, view_type: ViewType) -> None:
        raise NotImplementedError

    def tables_with(self, tags: WantedTags) -> frozenset[str] | None:
        return None

    def tags_of(self, table: str) -> dict[str, str]:
        return self.tags.get(table, {})

    def table_names(self, patterns: list[str]) -> list[str]:
        return patterns

    def table_stream(self, table: str) -> TableStream:
        if table in self._failures:
            raise ReadError(f"DescribeTable of table {table} failed", self._failures[table])
        if table in self.off:
            return TableStream(table, None, None, ("id",))
        return TableStream(table, f"arn:aws:dynamodb:eu-west-1:123456789012:table/{table}/stream/1", "NEW_IMAGE")

    def shards(self, stream_arn: str) -> StreamListing:
        raise NotImplementedError

    def children(self, shard: ShardRef) -> tuple[ListedShard, ...]:
        raise NotImplementedError

    def exists(self, shard: ShardRef) -> bool:
        raise NotImplementedError


@pytest.fixture
def three_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedPipeline:
    """A new pipeline of three tables on a cluster without topics."""
    monkeypatch.setattr(clients, "admin", lambda _user: None)
    monkeypatch.setattr(topics, "describe", lambda _admin, _user: Cluster("abc", 1, 1, {}))
    monkeypatch.setattr(topics, "broker_config", lambda _admin, _user, _broker: {})
    file = tmp_path / "shop.yaml"
    file.write_text(
        "name: shop\n"
        "kafka: {bootstrap.servers: 'localhost:9092'}\n"
        "source: {type: dynamodb-streams, tables: [logs, orders, users]}\n"
    )
    return load(file)


@pytest.mark.parametrize(
    "failures",
    [
        pytest.param({"logs": ReadFailure.THROTTLED}, id="the first is throttled"),
        pytest.param({"users": ReadFailure.UNAVAILABLE}, id="the last has no answer"),
        pytest.param({"logs": ReadFailure.THROTTLED, "users": ReadFailure.UNAVAILABLE}, id="one answers"),
    ],
)
def test_tables_that_cannot_be_looked_at_now_do_not_stop_the_others(
    three_tables: LoadedPipeline, failures: dict[str, ReadFailure]
) -> None:
    made = make_plan(three_tables, Tables(**failures), details=False)
    refuse(made)
    told = warnings(made)
    assert [table.table for table in made.tables if table.unread] == list(failures)
    assert len(told) == len(failures)
    assert all("shop.yaml:3" in sentence and "DescribeTable" in sentence for sentence in told)


@pytest.mark.parametrize(
    "failures",
    [
        pytest.param(dict.fromkeys(["logs", "orders", "users"], ReadFailure.THROTTLED), id="all are throttled"),
        pytest.param({"logs": ReadFailure.UNAVAILABLE}, id="nobody has answered yet"),
        pytest.param(dict.fromkeys(["orders", "users"], ReadFailure.UNAVAILABLE), id="nobody answers any more"),
    ],
)
def test_a_source_that_does_not_answer_is_told_at_once(
    three_tables: LoadedPipeline, failures: dict[str, ReadFailure]
) -> None:
    with pytest.raises(WorldError, match="DescribeTable of table"):
        make_plan(three_tables, Tables(**failures), details=False)


class KeptFor(Tables):
    """Tables whose streams keep their changes for different times."""

    def __init__(self, **retention_ms: int | None) -> None:
        super().__init__()
        self._retention_ms = retention_ms

    def shards(self, stream_arn: str) -> StreamListing:
        return StreamListing(stream_arn, 0, (), self._retention_ms[stream_arn.split("/")[1]])


def test_a_topic_must_take_what_is_as_old_as_its_stream_keeps(
    three_tables: LoadedPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("shop.logs", "shop.orders", "shop.users", "shop.dead-letters")
    there = {name: TopicState(name, 6, 3) for name in names}
    monkeypatch.setattr(topics, "describe", lambda _admin, _user: Cluster("abc", 1, 1, there))
    two_days_ms = 48 * 3_600_000
    limit = {"message.timestamp.before.max.ms": str(two_days_ms)}
    monkeypatch.setattr(topics, "config", lambda _admin, _user, _topic: limit)
    monkeypatch.setattr(topics, "without_right_to_write", lambda _admin, _user, _topics: set())
    monkeypatch.setattr(membership, "describe", lambda _user, _name: membership.Group((), {}))
    plan = make_plan(three_tables, KeptFor(logs=None, orders=two_days_ms, users=two_days_ms + 1))
    warned = {topic.name: topic.warnings for table in plan.tables for topic in table.topics if topic.warnings}
    assert list(warned) == ["shop.users"]
    assert f"the source keeps them for {two_days_ms + 1} ms" in warned["shop.users"][0]
    assert "shop.dead-letters" in plan.dead_letters.warnings[0]


def test_topics_that_kafka_takes_for_the_same_are_a_problem_of_their_table(
    three_tables: LoadedPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {name: TopicState(name, 1, 1) for name in ("shop_logs", "shop_dead.letters", "shop.dead_letters")}
    monkeypatch.setattr(topics, "describe", lambda _admin, _user: Cluster("abc", 1, 1, there))
    made = make_plan(three_tables, Tables(), details=False)
    assert [table.table for table in made.tables if table.problems] == ["logs"]
    (problem,) = made.tables[0].problems
    assert "the topic shop.logs cannot be made beside shop_logs" in problem
    with pytest.raises(RefusedError, match="cannot be made beside"):
        refuse(made)


def test_a_new_pipeline_is_refused_when_kafka_cannot_make_its_own_topics(
    three_tables: LoadedPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"transaction.state.log.replication.factor": "3"}
    monkeypatch.setattr(topics, "broker_config", lambda _admin, _user, _broker: config)
    with pytest.raises(RefusedError, match=r"transaction\.state\.log\.replication\.factor=3"):
        refuse(make_plan(three_tables, Tables(), details=False))


def test_a_plan_says_how_far_it_is(three_tables: LoadedPipeline) -> None:
    told: list[Progress] = []
    make_plan(three_tables, Tables(), details=False, progress=told.append)
    assert told == [Progress("tables", done, 3) for done in range(3)]


def test_a_plan_says_which_streams_would_be_switched_on(three_tables: LoadedPipeline) -> None:
    source = Tables()
    source.off = {"orders"}
    (orders,) = (table for table in make_plan(three_tables, source, details=False).tables if table.problems)
    assert "table orders has no stream; switch it on: aws dynamodb update-table" in orders.problems[0]
    enabling = three_tables.pipeline.source.model_copy(update={"enable_streams": "NEW_IMAGE"})
    pipeline = three_tables.pipeline.model_copy(update={"source": enabling})
    plan = make_plan(dataclasses.replace(three_tables, pipeline=pipeline), source, details=False)
    (orders,) = (table for table in plan.tables if table.enables_stream)
    assert (orders.table, orders.view_type, orders.stream_arn, orders.problems) == ("orders", "NEW_IMAGE", None, ())
    assert orders.topic is not None


def with_snapshot(loaded: LoadedPipeline, **changed: Any) -> LoadedPipeline:
    """The same pipeline with initial snapshots."""
    snapshot = loaded.pipeline.snapshot.model_copy(update={"mode": "initial"})
    return dataclasses.replace(loaded, pipeline=loaded.pipeline.model_copy(update={"snapshot": snapshot, **changed}))


READER = DescribedTables(*(facts(name, item_count=9, size_bytes=4096 * 500) for name in ("logs", "orders")))


def test_a_plan_says_that_topics_will_hold_changes_only(three_tables: LoadedPipeline) -> None:
    plan = make_plan(three_tables, Tables(), reader=READER, details=False)
    assert [table.snapshot for table in plan.tables] == [None] * 3
    (note,) = plan.notes
    assert note.startswith("snapshot: never, so the topics will hold changes only")


def test_a_plan_says_what_first_snapshots_will_read(three_tables: LoadedPipeline) -> None:
    plan = make_plan(with_snapshot(three_tables), Tables(), reader=READER, details=False)
    logs, orders, users = plan.tables
    assert plan.notes == ()
    assert logs.snapshot == orders.snapshot
    assert logs.snapshot is not None
    assert (logs.snapshot.segments, logs.snapshot.estimate.read_units, logs.snapshot.estimate.seconds) == (1, 500, 10)
    assert users.problems == ("shop.yaml:3: source.tables[2]: there is no table users",) or users.unread
    assert make_plan(with_snapshot(three_tables), Tables(), details=False).tables[0].snapshot is None


def test_a_snapshot_of_tables_in_one_topic_needs_a_format_that_names_the_table(three_tables: LoadedPipeline) -> None:
    shared = with_snapshot(three_tables, topic="all", format=FormatChoice(type="item"))
    for table in make_plan(shared, Tables(), details=False).tables:
        (problem,) = table.problems
        assert f"no snapshot of table {table.table} can be taken: its topic all is one of table" in problem
        assert "records of the format item do not name their table" in problem
    named = with_snapshot(three_tables, topic="all")
    assert [table.problems for table in make_plan(named, Tables(), details=False).tables] == [()] * 3


def test_beside_lambda_snapshots_need_workers_of_their_own(three_tables: LoadedPipeline) -> None:
    (note,) = snapshot_notes(with_snapshot(three_tables).pipeline, "lambda")
    assert note.startswith("Lambda publishes changes only")
    assert list(snapshot_notes(with_snapshot(three_tables).pipeline, "worker")) == []


@pytest.mark.parametrize(
    ("tables", "words"), [(1, "one table after the other is read"), (4, "4 tables at the same time are read")]
)
def test_a_plan_says_how_many_tables_are_read_at_the_same_time(
    three_tables: LoadedPipeline, tables: int, words: str
) -> None:
    loaded = with_snapshot(three_tables)
    snapshot = loaded.pipeline.snapshot.model_copy(update={"parallel_tables": tables})
    (note,) = snapshot_notes(loaded.pipeline.model_copy(update={"snapshot": snapshot}), "worker")
    assert words in note
