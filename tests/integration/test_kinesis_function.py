"""The Lambda function with batches of a simulated Kinesis stream, on a real broker: repeats are left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from support.kafka_clients import read_committed
from support.kinesis_batches import event
from support.kinesis_records import change, text
from support.kinesis_service import HALF, KinesisService
from support.names import unique
from support.pipeline_file import write_file
from support.sandboxes import Sandboxes, delivering
from support.waiting import wait_for
from support.worker_process import LoggedWorker
from tailrace.config import LoadedPipeline, Pipeline, load
from tailrace.core.redrive import Selection
from tailrace.function.function import Function
from tailrace.kafka.checkpoint_topic import read_checkpoint_state
from tailrace.local.dynamodb import REGION
from tailrace.local.kafka import KafkaBroker
from tailrace.operations.redrive_batches import redrive_batches
from tailrace.operations.republisher import Report
from tailrace.operations.switch import switch
from tailrace.sources.aws_lambda.failure_messages import MessageFile
from tailrace_simulator import SimulatedDynamoDB
from tailrace_simulator.event_source import Hostility
from tailrace_simulator.event_source.destination import Discarded, failure_message, failure_object
from tailrace_simulator.event_source.records import Record

LANES = 4


def plenty() -> float:
    return 60.0


@pytest.fixture
def simulated(aws_environment: dict[str, str]) -> Iterator[SimulatedDynamoDB]:
    del aws_environment
    with SimulatedDynamoDB(seed=1) as started:
        started.act("settings", settings={"stream_change_s": 0.01})
        yield started


@pytest.fixture
def kinesis(simulated: SimulatedDynamoDB) -> Iterator[KinesisService]:
    client = boto3.client("kinesis", endpoint_url=simulated.endpoint_url, region_name=REGION)
    yield KinesisService("simulator", client)
    client.close()


class Stream:
    """A stream, a pipeline that reads it, and what its shards hold."""

    def __init__(self, kinesis: KinesisService, kafka: KafkaBroker, folder: Path, **source: Any) -> None:
        self.kinesis = kinesis
        self.name = kinesis.create()
        self.arn = kinesis.arn(self.name)
        file = folder / "pipeline.yaml"
        write_file(
            folder,
            kafka.client_properties(),
            unique("function"),
            lanes=LANES,
            topics={"partitions": 1},
            batch={"changes": 2},
        )
        written = yaml.safe_load(file.read_text())
        written["source"] = {
            "type": "kinesis",
            "region": REGION,
            "endpoint_url": kinesis.client.meta.endpoint_url,
            "streams": [self.name],
            **source,
        }
        file.write_text(json.dumps(written))
        self.pipeline: Pipeline = load(file).pipeline

    def put(self, *numbers: int, hash_key: int = 0, each_its_item: bool = False) -> None:
        """Put change `number`; one with a number that was put before repeats it."""
        items = [str(number) if each_its_item else "a" for number in numbers]
        made = [text(of_number(*each)).decode() for each in zip(numbers, items, strict=True)]
        self.kinesis.put(self.name, made, hash_key)

    def batch(self, shard_id: str, first: int, last: int, **options: Any) -> dict[str, Any]:
        records = self.kinesis.page(self.name, shard_id)["Records"]
        return event(records[first:last], self.arn, shard_id, **options)

    def given_up(self, shard_id: str, first: int, last: int, *, with_payload: bool = False) -> bytes:
        """The message about a batch that Lambda gave up."""
        records = self.kinesis.page(self.name, shard_id)["Records"][first:last]
        spans = [
            Record(each["SequenceNumber"], round(each["ApproximateArrivalTimestamp"].timestamp() * 1000), 0, b"", b"")
            for each in records
        ]
        event = json.dumps(self.batch(shard_id, first, last)).encode()
        discarded = Discarded(spans, "RetryAttemptsExhausted", 3, True, unique("request"), event)
        make = failure_object if with_payload else failure_message
        return make(discarded, shard_id, self.arn, "arn:aws:lambda:us-east-1:000000000000:function:f", 0)

    def redrive(self, folder: Path, *messages: bytes, **options: Any) -> Report:
        """Redrive the batches that messages name."""
        file = folder / "failed.jsonl"
        file.write_bytes(b"\n".join(messages))
        return redrive_batches(LoadedPipeline(self.pipeline), MessageFile(str(file)), Selection(), **options)

    def published(self) -> list[tuple[int, bool]]:
        """The numbers of the published changes, and whether they are flagged."""
        messages = read_committed(dict(self.pipeline.kafka), self.pipeline.topic_of("orders"))
        return [
            (int(_decoded(message)["after"]["n"]), ("tailrace.late", b"true") in (message.headers() or []))
            for message in messages
        ]


def of_number(number: int, item: str = "a") -> dict[str, Any]:
    keys = {"id": {"S": item}}
    made = 1_714_557_600_000_000 + number
    return change(
        ApproximateCreationDateTime=made, Keys=keys, NewImage={**keys, "n": {"N": str(number)}}, OldImage=None
    )


def _decoded(message: Any) -> Any:
    value = json.loads(message.value())
    return value.get("payload", value)


@pytest.fixture
def sandbox() -> Iterator[Callable[[Stream], Function]]:
    """Starts sandboxes."""
    with ExitStack() as opened:

        def start(stream: Stream) -> Function:
            function = Function(LoadedPipeline(stream.pipeline), unique("sandbox"))
            opened.callback(function.close)
            return function

        yield start


def test_what_another_sandbox_published_is_not_repeated_not_even_by_a_child_of_the_shard(
    kinesis: KinesisService, kafka: KafkaBroker, tmp_path: Path, sandbox: Callable[[Stream], Function]
) -> None:
    stream = Stream(kinesis, kafka, tmp_path)
    parent = kinesis.shards(stream.name)[0]["ShardId"]
    stream.put(1, 2, 4, 2, 3, 5, 1)
    whole: dict[str, Any] = {"batchItemFailures": [], "state": {}}
    first, second = sandbox(stream), sandbox(stream)
    assert first.handle(stream.batch(parent, 0, 3), plenty) == whole
    assert second.handle(stream.batch(parent, 3, 5), plenty) == whole
    again = stream.batch(parent, 0, 5)
    first.handle(again, plenty)  # it was fenced, and gives back what it does not know
    assert first.handle(again, plenty) == whole
    assert first.handle(stream.batch(parent, 5, 7), plenty) == whole
    kinesis.client.split_shard(StreamName=stream.name, ShardToSplit=parent, NewStartingHashKey=HALF)
    kinesis.settle(stream.name)
    stream.put(5, 6, 4)
    child = next(
        shard["ShardId"]
        for shard in kinesis.shards(stream.name)
        if kinesis.texts(stream.name, shard["ShardId"]) and shard["ShardId"] != parent
    )
    assert second.handle(stream.batch(child, 0, 3), plenty) == whole
    assert stream.published() == [(1, False), (2, False), (4, False), (3, True), (5, False), (6, False)]
    checkpoints = read_checkpoint_state(dict(stream.pipeline.kafka), stream.pipeline.name, LANES).checkpoints
    assert {shard.shard_id: each.table for shard, each in checkpoints.items()} == {
        parent: stream.name,
        child: stream.name,
    }
    assert all(each.window_from is not None and each.arrived_ms is not None for each in checkpoints.values())


def test_a_batch_is_put_in_order_and_holds_nothing_twice(
    kinesis: KinesisService, kafka: KafkaBroker, tmp_path: Path, sandbox: Callable[[Stream], Function]
) -> None:
    stream = Stream(kinesis, kafka, tmp_path, late="reorder")
    shard = kinesis.shards(stream.name)[0]["ShardId"]
    stream.put(3, 1, 3, 2, 4)
    answer = sandbox(stream).handle(stream.batch(shard, 0, 5), plenty)
    assert answer == {"batchItemFailures": [], "state": {}}
    assert stream.published() == [(number, False) for number in (1, 2, 3, 4)]


def outcomes(report: Report) -> list[str]:
    return [one.outcome for one in report.changes]


def test_a_batch_that_lambda_gave_up_is_published_once_and_without_what_it_repeats(
    kinesis: KinesisService, kafka: KafkaBroker, tmp_path: Path, sandbox: Callable[[Stream], Function]
) -> None:
    stream = Stream(kinesis, kafka, tmp_path)
    parent = kinesis.shards(stream.name)[0]["ShardId"]
    stream.put(1, 2, each_its_item=True)
    function = sandbox(stream)
    function.handle(stream.batch(parent, 0, 2), plenty)
    stream.put(3, 2, 4, 3, 5, each_its_item=True)
    message = stream.given_up(parent, 2, 7)
    given_up = ["published", "skipped", "published", "skipped", "published"]
    assert outcomes(stream.redrive(tmp_path, message, dry_run=True)) == given_up
    report = stream.redrive(tmp_path, message)
    assert (outcomes(report), report.is_whole) == (given_up, True)
    assert [number for number, _ in stream.published()] == [1, 2, 3, 4, 5]
    again = stream.redrive(tmp_path, message, message)
    assert outcomes(again) == ["present" if each == "published" else each for each in given_up] * 2

    stream.put(4, 6, each_its_item=True)
    function.handle(stream.batch(parent, 7, 9), plenty)  # it was fenced
    function.handle(stream.batch(parent, 7, 9), plenty)
    kinesis.client.split_shard(StreamName=stream.name, ShardToSplit=parent, NewStartingHashKey=HALF)
    kinesis.settle(stream.name)
    stream.put(5, 7, 6, each_its_item=True)
    child = kinesis.shards(stream.name)[1]["ShardId"]
    report = stream.redrive(tmp_path, stream.given_up(child, 0, 3))
    assert outcomes(report) == ["skipped", "published", "skipped"], "its parent's changes are known"
    assert [number for number, _ in stream.published()] == [1, 2, 3, 4, 5, 6, 7]


def test_what_the_stream_no_longer_has_of_a_batch_is_told_or_taken_from_the_message(
    simulated: SimulatedDynamoDB,
    kinesis: KinesisService,
    kafka: KafkaBroker,
    tmp_path: Path,
    sandbox: Callable[[Stream], Function],
) -> None:
    stream = Stream(kinesis, kafka, tmp_path)
    shard = kinesis.shards(stream.name)[0]["ShardId"]
    stream.put(1, 2, 3, 2, each_its_item=True)
    sandbox(stream).handle(stream.batch(shard, 0, 1), plenty)
    message, whole = (stream.given_up(shard, 1, 4, with_payload=each) for each in (False, True))
    simulated.act("trim", stream=stream.name)
    report = stream.redrive(tmp_path, message)
    (sentence,) = report.lost
    assert f"stream {stream.name}, shard {shard}: 3 changes from" in sentence
    assert "the stream keeps its records for 24 hours" in sentence
    assert (report.changes, report.is_whole) == ([], False)
    report = stream.redrive(tmp_path, whole)
    assert (outcomes(report), report.is_whole) == (["published", "published", "skipped"], True)
    assert [number for number, _ in stream.published()] == [1, 2, 3]


def test_batches_that_come_twice_or_again_publish_each_change_once_while_the_stream_is_split(
    kinesis: KinesisService, kafka: KafkaBroker, tmp_path: Path, sandbox: Callable[[Stream], Function]
) -> None:
    stream = Stream(kinesis, kafka, tmp_path)
    parent = kinesis.shards(stream.name)[0]["ShardId"]
    changes = list(range(1, 61))
    stream.put(*changes[:40], *changes[10:20])
    kinesis.client.split_shard(StreamName=stream.name, ShardToSplit=parent, NewStartingHashKey=HALF)
    kinesis.settle(stream.name)
    stream.put(*changes[30:])
    hostility = Hostility(duplicate=0.2, lost=0.1, throttle=0.1, short=0.2, rewind=0.2)
    sandboxes = Sandboxes([sandbox(stream) for _ in range(3)])
    endpoint_url = kinesis.client.meta.endpoint_url
    with delivering(stream.arn, sandboxes, endpoint_url, batch_size=10, hostility=hostility) as mapper:
        wait_for("all changes", lambda: {number for number, _ in stream.published()} >= set(changes))
    assert [number for number, _ in stream.published()] == changes
    assert sum(mapper.counts[fault] for fault in ("duplicate", "lost", "rewind")) > 0


def test_a_stream_moves_from_workers_to_lambda_and_back_with_both_running_by_mistake(
    kinesis: KinesisService, kafka: KafkaBroker, tmp_path: Path, sandbox: Callable[[Stream], Function]
) -> None:
    stream = Stream(kinesis, kafka, tmp_path)
    loaded, changes = LoadedPipeline(stream.pipeline), list(range(1, 61))

    def wait_published(*numbers: int) -> None:
        stream.put(*numbers)
        wait_for("all changes", lambda: {number for number, _ in stream.published()} >= set(numbers))

    with ExitStack() as opened:

        def worker() -> LoggedWorker:
            started = LoggedWorker(tmp_path / "pipeline.yaml")
            opened.callback(started.close)
            return started

        first = worker()
        wait_published(*changes[:20], *changes[5:15])
        switch(loaded, "lambda")
        assert first.wait() == 3
        sandboxes = Sandboxes([sandbox(stream) for _ in range(2)])
        endpoint_url = kinesis.client.meta.endpoint_url
        opened.enter_context(delivering(stream.arn, sandboxes, endpoint_url, batch_size=10))
        assert worker().wait() == 3, "Lambda publishes"
        wait_published(*changes[10:40])
        switch(loaded, "worker")
        worker()  # while batches are still brought to the function
        wait_published(*changes[30:])
    assert [number for number, _ in stream.published()] == changes
