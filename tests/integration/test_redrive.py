"""Dead letters published again on a real broker: once, converted as the file says now, however often it breaks off."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from support.checkpoints import stream
from support.kafka_clients import create_topic, set_topic
from support.lambda_batches import FIRST, FIRST_S, SHARD, of_stream, windowed
from support.names import unique
from support.pipeline_file import write_file
from support.publishing import convert, create_checkpoint_topic, publish, put, read_all
from support.stream_records import stream_record
from tailrace.config import LoadedPipeline, Pipeline, load
from tailrace.core.lane_messages import ProducerLost, Transaction
from tailrace.core.redrive import Selection
from tailrace.core.shard import ShardRef
from tailrace.errors import WorldError
from tailrace.function.function import Function
from tailrace.kafka import headers
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.local.kafka import KafkaBroker
from tailrace.operations.progress import Progress
from tailrace.operations.record_view import header_texts
from tailrace.operations.redrive import redrive
from tailrace.operations.republisher import Report

FUNCTIONS = """\
from tailrace.transform import Change

def strict(change: Change) -> Change | None:
    if "poison" in (change.after or {}):
        raise ValueError("poison")
    return change

def fixed(change: Change) -> Change | None:
    (change.after or {}).pop("poison", None)
    return change
"""
BREAKING_OFF = """\
import os, signal, sys
from pathlib import Path
from tailrace.config import load
from tailrace.core.lane_messages import Committed
from tailrace.core.redrive import Selection
from tailrace.kafka import headers
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.operations import redrive

file, moment = sys.argv[1:]
redrive.BATCH_LETTERS_MAX = 2
published = 0
commit, produce_all = LaneProducer.commit, LaneProducer._produce_all

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def committed(self, transaction):
    global published
    answer = commit(self, transaction)
    published += isinstance(answer, Committed)
    if published == 2 and moment == "after":
        die()
    return answer

def produced(self, transaction, deadline_s):
    if published == 1 and moment == "before":
        die()
    produce_all(self, transaction, deadline_s)
    if published == 1 and moment == "within":
        self._flush(deadline_s)
        die()

LaneProducer.commit, LaneProducer._produce_all = committed, produced
redrive.redrive(load(Path(file)), Selection())
"""


def record(number: int, *, item: str | None = None, table: str = "orders", size: int = 0, **attributes: str) -> Any:
    """Change number `number`, of an item of its own unless one is named; `size` characters do not compress."""
    keys = {"id": {"S": item or f"item-{number}"}}
    image = {**keys, "n": {"N": str(number)}, **{name: {"S": value} for name, value in attributes.items()}}
    if size:
        image["body"] = {"S": Random(number).randbytes(size // 2).hex()}
    made = stream_record(number, sequence=str(FIRST + number), created_s=FIRST_S + number, keys=keys, image=image)
    return of_stream(made, stream(table))


def event(*records: Any) -> dict[str, Any]:
    return windowed(list(records), records[0]["eventSourceARN"])


class Shop:
    """A pipeline whose function meets poison, and its file once it is fixed."""

    def __init__(self, kafka: dict[str, str], folder: Path, **settings: Any) -> None:
        self._kafka, self._folder, self._settings = kafka, folder, settings
        self.name = unique("redrive")
        self._module = unique("functions").replace("-", "_")
        self.poisoned = load(self._file("strict"), with_functions=True).pipeline
        self.fixed_file = self._file("fixed")
        self.fixed: Pipeline = load(self.fixed_file, with_functions=True).pipeline

    def _file(self, function: str) -> Path:
        folder = self._folder / function
        folder.mkdir()
        (folder / f"{self._module}.py").write_text(FUNCTIONS)
        options = {"tables": ["orders", "users"], "lanes": 2, "topics": {"partitions": 1}, **self._settings}
        return write_file(folder, self._kafka, self.name, transform=f"{self._module}:{function}", **options)

    def publish(self, *records: Any) -> None:
        """Publish records of one table, as the poisoned file says."""
        shard = ShardRef(records[0]["eventSourceARN"], SHARD)
        publish(self.poisoned, shard, json.dumps({"Records": records}).encode())

    def replay(self, *records: Any) -> None:
        """Publish what the fixed file makes of records as a replay does."""
        shard = ShardRef(records[0]["eventSourceARN"], SHARD)
        made = convert(self.fixed, shard, json.dumps({"Records": records}).encode())
        put(self.fixed, "orders", *(headers.marked(headers.REPLAYED, shard, each) for each in made))

    def redrive(self, pipeline: Pipeline | None = None, selection: Selection | None = None, **options: Any) -> Report:
        return redrive(LoadedPipeline(pipeline or self.fixed), selection or Selection(), **options)

    def values(self, table: str = "orders") -> list[Any]:
        """What is published, in the order of the topic."""
        return [json.loads(message.value() or b"null") for message in read_all(self.fixed, f"{self.name}.{table}")]

    def numbers(self, table: str = "orders") -> list[int]:
        """The `n` of what is published, in the order of the topic."""
        return [value["after"]["n"] if "after" in value else value["n"] for value in self.values(table)]


@pytest.fixture
def shop(kafka: KafkaBroker, tmp_path: Path) -> Callable[..., Shop]:
    count = iter(range(9))

    def make(**settings: Any) -> Shop:
        folder = tmp_path / f"shop-{next(count)}"
        folder.mkdir()
        return Shop(kafka.client_properties(), folder, **settings)

    return make


def outcomes(report: Report) -> list[tuple[int, str]]:
    return [(int(one.sequence) - FIRST, one.outcome) for one in report.changes]


def test_a_dead_letter_is_published_once_when_the_file_is_fixed(shop: Callable[..., Shop]) -> None:
    pipeline = shop()
    with pytest.raises(WorldError, match="does not exist yet"):
        pipeline.redrive()
    create_checkpoint_topic(pipeline.fixed)
    assert pipeline.redrive() == Report(pipeline.name, dry_run=False), "it has no dead-letter topic yet"
    pipeline.publish(record(1), record(2, poison="yes"), record(3))
    assert pipeline.numbers() == [1, 3]

    still = pipeline.redrive(pipeline.poisoned)
    assert outcomes(still) == [(2, "failed")]
    assert still.changes[0].stage == "TRANSFORMATION"
    assert not still.is_whole
    assert len(read_all(pipeline.fixed, pipeline.fixed.dead_letters_topic)) == 1, "it is not written twice"

    assert outcomes(pipeline.redrive(dry_run=True)) == [(2, "published")]
    assert pipeline.numbers() == [1, 3]

    done = pipeline.redrive()
    assert outcomes(done) == [(2, "published")]
    assert done.is_whole
    assert pipeline.numbers() == [1, 3, 2]
    assert "poison" not in pipeline.values()[-1]["after"]
    message = read_all(pipeline.fixed, pipeline.fixed.topic_of("orders"))[-1]
    told = header_texts(message.headers())
    assert told["tailrace.redriven"] == "true"
    assert (told["tailrace.stream"], told["tailrace.shard"]) == (stream("orders"), SHARD)
    assert message.timestamp()[1] == (FIRST_S + 2) * 1000

    assert pipeline.redrive().changes == []
    assert pipeline.numbers() == [1, 3, 2]


def test_only_what_is_chosen_is_published(shop: Callable[..., Shop]) -> None:
    shared = unique("dead-letters")
    pipeline, other = shop(dead_letters=shared), shop(dead_letters=shared)
    other.publish(record(9, poison="yes"))
    broken = record(4)
    del broken["dynamodb"]["Keys"]
    pipeline.publish(record(1, poison="yes"), record(2, poison="yes"), broken)
    pipeline.publish(record(3, table="users", poison="yes"))
    assert outcomes(pipeline.redrive(selection=Selection(tables=("users",)))) == [(3, "published")]
    assert outcomes(pipeline.redrive(selection=Selection(reason="no such reason"))) == []
    until_ms = (FIRST_S + 2) * 1000
    assert outcomes(pipeline.redrive(selection=Selection(reason="valueerror", until_ms=until_ms))) == [(1, "published")]
    report = pipeline.redrive()
    assert outcomes(report) == [(2, "published"), (4, "failed")], "the other pipeline's is left alone"
    assert "cannot be understood" in report.changes[1].reason
    assert (pipeline.numbers(), pipeline.numbers("users")) == ([1, 2], [3])
    assert outcomes(other.redrive()) == [(9, "published")]


@pytest.mark.parametrize("format_name", ["debezium", "item"])
def test_a_change_is_left_out_when_a_newer_one_of_its_key_is_published(
    shop: Callable[..., Shop], format_name: str
) -> None:
    pipeline = shop(format=format_name)
    pipeline.publish(
        record(1, item="a", poison="yes"), record(2, item="b"), record(3, item="a"), record(4, item="b", poison="x")
    )
    report = pipeline.redrive()
    assert outcomes(report) == [(1, "superseded"), (4, "published")]
    assert report.is_whole
    assert outcomes(pipeline.redrive(dry_run=True)) == [(1, "superseded")]
    assert outcomes(pipeline.redrive(skip_superseded=False)) == [(1, "published")]
    assert pipeline.redrive(skip_superseded=False).changes == []
    assert pipeline.numbers() == [2, 3, 4, 1]


@pytest.mark.parametrize("format_name", ["debezium", "item"])
def test_what_a_replay_published_again_misleads_no_redrive(shop: Callable[..., Shop], format_name: str) -> None:
    pipeline = shop(format=format_name)
    first, second, third = record(1, item="a", poison="yes"), record(2, item="a"), record(3, item="b", poison="yes")
    pipeline.publish(first, second, third)
    pipeline.replay(first, second)
    pipeline.replay(first, third)  # it broke off
    assert outcomes(pipeline.redrive()) == [(1, "superseded"), (3, "published")], "2 is newer, though 1 stands last"
    assert pipeline.numbers() == [2, 1, 2, 1, 3, 3]


def test_dead_letters_of_one_item_keep_their_order_when_their_times_are_the_same_and_an_answer_is_lost(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = shop(format="item")
    records = [record(number, item="a", poison="yes") for number in range(1, 5)]
    for each in records:
        each["dynamodb"]["ApproximateCreationDateTime"] = FIRST_S
    pipeline.publish(*records)
    monkeypatch.setattr("tailrace.operations.redrive.BATCH_LETTERS_MAX", 1)
    commit, commits = LaneProducer.commit, list[object]()

    def losing(self: LaneProducer, transaction: Transaction) -> object:
        commits.append(commit(self, transaction))
        return commits[-1] if len(commits) != 2 else ProducerLost(0, fenced=False, reason="no answer")

    monkeypatch.setattr(LaneProducer, "commit", losing)
    assert outcomes(pipeline.redrive()) == [(number, "published") for number in range(1, 5)]
    assert pipeline.numbers() == [1, 2, 3, 4]


def test_a_record_that_is_still_too_large_stays_and_all_others_go(shop: Callable[..., Shop]) -> None:
    pipeline = shop()
    kafka = dict(pipeline.fixed.kafka)
    topic = create_topic(kafka, pipeline.fixed.topic_of("orders"), config={"max.message.bytes": "100000"})
    batch = event(record(1, size=150_000), record(2, size=300_000), record(3, poison="yes"), record(4))
    with closing(Function(LoadedPipeline(pipeline.poisoned), unique("sandbox"))) as function:
        assert function.handle(batch, lambda: 60.0)["batchItemFailures"] == []
    assert pipeline.numbers() == [4]

    set_topic(kafka, topic, "max.message.bytes", "200000")
    report = pipeline.redrive()
    assert sorted(outcomes(report)) == [(1, "published"), (2, "failed"), (3, "published")]
    assert [one.stage for one in report.changes if one.outcome == "failed"] == ["PRODUCE"]
    assert not report.is_whole
    assert sorted(pipeline.numbers()) == [1, 3, 4]
    set_topic(kafka, topic, "max.message.bytes", "400000")
    assert outcomes(pipeline.redrive()) == [(2, "published")]
    assert sorted(pipeline.numbers()) == [1, 2, 3, 4]


def test_a_redrive_that_is_killed_goes_on_without_a_repeat(shop: Callable[..., Shop]) -> None:
    """By twos: before the second two are produced, before they are committed, and right after."""
    pipeline = shop()
    create_topic(dict(pipeline.fixed.kafka), pipeline.fixed.dead_letters_topic, partitions=3)
    pipeline.publish(*(record(number, poison="yes") for number in range(1, 13)))
    for moment in ("before", "within", "after"):
        command = [sys.executable, "-c", BREAKING_OFF, str(pipeline.fixed_file), moment]
        killed = subprocess.run(command, timeout=120, check=False, capture_output=True, text=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert outcomes(pipeline.redrive()) == [(number, "published") for number in range(9, 13)]
    assert pipeline.numbers() == list(range(1, 13))
    assert pipeline.redrive().changes == []


def test_a_redrive_that_another_one_overtakes_ends(shop: Callable[..., Shop]) -> None:
    pipeline = shop()
    pipeline.publish(record(1, poison="yes"), record(2, poison="yes"))
    overtaking: list[Report] = []

    def overtake(event: Progress) -> None:
        is_decided = event == Progress("dead-letters", 1, 2)  # what to publish, and it has not begun to
        if is_decided and not overtaking:
            overtaking.append(pipeline.redrive())

    with pytest.raises(WorldError, match="another redrive"):
        pipeline.redrive(progress=overtake)
    assert outcomes(overtaking[0]) == [(1, "published"), (2, "published")]
    assert pipeline.numbers() == [1, 2]
    assert pipeline.redrive().changes == []
