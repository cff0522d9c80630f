"""What Lambda gave up, read again from the stream and published: what is missing only, and what is lost is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import msgspec
import pytest

from support.fake_aws import Answer, FakeAws, ok
from support.kafka_clients import create_topic, read_committed
from support.names import unique
from support.pipeline_file import write_file
from tailrace.config import Pipeline, load
from tailrace.core.lane_messages import ProducerLost, Transaction
from tailrace.core.redrive import Selection
from tailrace.core.shard import Position
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.local.kafka import KafkaBroker
from tailrace.local.workload import connect
from tailrace.runtime.function import Function
from tailrace.runtime.redrive import redrive
from tailrace.runtime.redrive_batches import redrive_batches
from tailrace.runtime.republisher import Report
from tailrace.sources.failure_messages import Bucket, FailureMessage, Queue
from tailrace.testing import SimulatedDynamoDB
from tailrace.testing.actions import parse_script
from tailrace.testing.event_source.destination import Discarded, failure_message, failure_object
from tailrace.testing.event_source.records import Record, Span, WindowPart, make_event, parse_record
from tailrace.testing.streams_client import StreamsClient

ONE_SHARD = {"settings": {"shards": 1, "listing_lag_calls": 0, "describe_stream_per_second": 0}}
FORMATS = ["debezium", "item", "cloudevents", "dynamodb-json"]


class Given:
    """Messages as a test gives them, and which of them were taken away."""

    def __init__(self, *contents: bytes) -> None:
        self._contents = contents
        self.taken_away: list[int] = []

    def groups(self) -> Iterator[list[FailureMessage]]:
        yield [
            FailureMessage(f"message {index}", content, lambda index=index: self.taken_away.append(index))  # type: ignore[misc]  # mypy does not infer the default's type
            for index, content in enumerate(self._contents)
        ]


class Table:
    """The table `orders` on the stand-in, one shard, and the Lambda function of a pipeline over it."""

    def __init__(self, kafka: dict[str, str], folder: Path, simulated: SimulatedDynamoDB, **settings: Any) -> None:
        self._simulated = simulated
        self._client = connect(simulated.endpoint_url)
        self._client.create_table(
            TableName="orders",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        self._streams = StreamsClient(endpoint_url=simulated.endpoint_url)
        self.stream = self._streams.stream_arn("orders")
        (self._shard,) = (shard.shard_id for shard in self._streams.shards(self.stream))
        source = {"endpoint_url": simulated.endpoint_url}
        options = {"lanes": 2, "topics": {"partitions": 1}, **settings}
        self.kafka = kafka
        self.file = write_file(folder, kafka, unique("redrive"), source=source, **options)
        self.pipeline: Pipeline = load(self.file).pipeline

    def put(self, *numbers: int, item: str | None = None, size: int = 0) -> None:
        for number in numbers:
            image = {"id": {"S": item or f"item-{number}"}, "n": {"N": str(number)}, "body": {"S": "x" * size}}
            self._client.put_item(TableName="orders", Item=image)

    def delete(self, item: str) -> None:
        self._client.delete_item(TableName="orders", Key={"id": {"S": item}})

    def records(self) -> list[Record]:
        iterator = self._streams.iterator(self.stream, self._shard, Position("TRIM_HORIZON"))
        records, _ = self._streams.records(iterator)
        return [parse_record(record, self.stream, 0) for record in records]

    def event(self, records: Sequence[Record]) -> bytes:
        window = WindowPart(Span(0, 900_000), b"{}", is_final=False, is_early=False)
        return make_event(records, window, self._shard, self.stream)

    def publish(self, records: Sequence[Record]) -> None:
        with closing(Function(self.pipeline, unique("sandbox"))) as function:
            answer = function.handle(msgspec.json.decode(self.event(records)), lambda: 60.0)
        assert answer["batchItemFailures"] == []

    def message(self, records: Sequence[Record], *, with_payload: bool = False) -> bytes:
        discarded = Discarded(records, "RetryAttemptsExhausted", 3, True, unique("request"), self.event(records))
        make = failure_object if with_payload else failure_message
        return make(discarded, self._shard, self.stream, "arn:aws:lambda:us-east-1:000000000000:function:f", 0)

    def trim(self) -> None:
        self._simulated.act("trim", table="orders")

    def redrive(self, *messages: bytes, **options: Any) -> tuple[Report, list[int]]:
        """Redrive; gives the report, and the messages that were taken away."""
        given = Given(*messages)
        return redrive_batches(self.pipeline, given, Selection(), **options), given.taken_away

    def published(self) -> list[Any]:
        """The numbers of what is published, in order; None for a null value."""
        found = [message.value() for message in read_committed(self.kafka, self.pipeline.topic_of("orders"))]
        return [None if value is None else _number(json.loads(value)) for value in found]


def _number(value: Any) -> Any:
    """Find `n` in whatever format."""
    value = value.get("data") or value
    if "dynamodb" in value:
        return int(value["dynamodb"].get("NewImage", value["dynamodb"].get("OldImage"))["n"]["N"])
    return (value.get("after") or value.get("before") or value)["n"]


@pytest.fixture
def table(kafka: KafkaBroker, tmp_path: Path, aws_environment: dict[str, str]) -> Iterator[Callable[..., Table]]:
    del aws_environment
    with SimulatedDynamoDB(seed=1, script=parse_script(ONE_SHARD)) as simulated:
        yield lambda **settings: Table(kafka.client_properties(), tmp_path, simulated, **settings)


def counts(report: Report) -> dict[str, int]:
    outcomes = [one.outcome for one in report.changes]
    return {outcome: outcomes.count(outcome) for outcome in outcomes}


@pytest.mark.parametrize("format_name", FORMATS)
def test_what_is_missing_of_a_discarded_batch_is_published_once(table: Callable[..., Table], format_name: str) -> None:
    orders = table(format=format_name)
    orders.put(1, 2, 3, 4, 5)
    orders.delete("item-2")
    records = orders.records()
    orders.publish(records[:2])
    message = orders.message(records[1:])

    dry, taken_away = orders.redrive(message, dry_run=True)
    assert counts(dry) == {"present": 1, "published": 4}
    assert (taken_away, orders.published()) == ([], [1, 2])

    report, taken_away = orders.redrive(message)
    assert counts(report) == {"present": 1, "published": 4}
    assert (report.is_whole, taken_away) == (True, [0])
    deleted = [None] if format_name == "item" else [2, None]
    assert orders.published() == [1, 2, 3, 4, 5, *deleted]

    again, taken_away = orders.redrive(message)
    assert counts(again) == {"present": 5}
    assert taken_away == [0]
    assert orders.published() == [1, 2, 3, 4, 5, *deleted]


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_change_with_a_newer_one_of_its_key_is_left_out_and_its_message_stays(
    table: Callable[..., Table], format_name: str
) -> None:
    orders = table(format=format_name)
    orders.put(1, item="a")
    orders.put(2, item="b")
    orders.put(3, item="a")
    records = orders.records()
    orders.publish(records[2:])
    message = orders.message(records[:2])
    report, taken_away = orders.redrive(message)
    assert (counts(report), taken_away) == ({"superseded": 1, "published": 1}, [])
    report, taken_away = orders.redrive(message, skip_superseded=False)
    assert (counts(report), taken_away) == ({"published": 1, "present": 1}, [0])
    assert orders.published() == [3, 2, 1]


def test_what_is_trimmed_is_told_with_its_range_and_its_message_stays(table: Callable[..., Table]) -> None:
    orders = table()
    orders.put(1, 2)
    old = orders.records()
    orders.publish(old[:1])
    orders.trim()
    orders.put(3)
    message = orders.message([*old, *orders.records()])
    report, taken_away = orders.redrive(message)
    assert counts(report) == {"published": 1}
    (sentence,) = report.lost
    assert "1 changes" in sentence
    assert f"from sequence number {old[0].sequence} up to, not with, {orders.records()[0].sequence}" in sentence
    assert (report.is_whole, taken_away) == (False, [])
    assert orders.published() == [1, 3]


def test_nothing_is_lost_when_the_topic_has_all_that_is_trimmed(table: Callable[..., Table]) -> None:
    orders = table()
    orders.put(1, 2)
    old = orders.records()
    orders.publish(old)
    orders.trim()
    report, taken_away = orders.redrive(orders.message(old))
    assert (report.lost, report.is_whole, taken_away) == ([], True, [0])


def test_an_object_that_holds_the_event_needs_no_stream(table: Callable[..., Table]) -> None:
    orders = table()
    orders.put(1, 2)
    old = orders.records()
    orders.trim()
    report, _ = orders.redrive(orders.message(old, with_payload=True))
    assert (counts(report), report.is_whole) == ({"published": 2}, True)
    assert orders.published() == [1, 2]


def test_what_cannot_be_published_becomes_a_dead_letter_once(table: Callable[..., Table]) -> None:
    orders = table(transform=[{"route": {"by": "item.n > `1` && 'x' || 'y'", "topics": {"y": "{pipeline}.{table}"}}}])
    create_topic(orders.kafka, orders.pipeline.topic_of("orders"), config={"max.message.bytes": "50000"})
    orders.put(1, size=100_000)
    orders.put(2)
    orders.put(0)
    message = orders.message(orders.records())
    report, taken_away = orders.redrive(message)
    assert counts(report) == {"failed": 2, "published": 1}
    assert {one.stage for one in report.changes} == {"PRODUCE", "TRANSFORMATION", ""}
    assert taken_away == [0]
    again, _ = orders.redrive(message)
    assert counts(again) == {"present": 3}
    assert len(read_committed(orders.kafka, orders.pipeline.dead_letters_topic)) == 2
    assert orders.published() == [0]
    letters = redrive(orders.pipeline, Selection())
    assert counts(letters) == {"failed": 2}


def test_a_commit_whose_answer_is_lost_repeats_nothing(
    table: Callable[..., Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = table()
    orders.put(1, 2, 3)
    message = orders.message(orders.records())
    commit, commits = LaneProducer.commit, list[object]()

    def losing(self: LaneProducer, transaction: Transaction) -> object:
        commits.append(commit(self, transaction))
        return commits[-1] if len(commits) > 1 else ProducerLost(0, fenced=False, reason="no answer")

    monkeypatch.setattr(LaneProducer, "commit", losing)
    report, taken_away = orders.redrive(message)
    assert counts(report) == {"published": 3}, "it was this redrive that published them"
    assert taken_away == [0]
    assert orders.published() == [1, 2, 3]


def test_a_redrive_whose_every_commit_is_slow_ends(
    table: Callable[..., Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = table()
    orders.put(*range(6))
    monkeypatch.setattr("tailrace.runtime.redrive_batches.TRANSACTION_RECORDS_MAX", 1)
    commit, used = LaneProducer.commit, set[int]()

    def slow(self: LaneProducer, transaction: Transaction) -> object:
        if id(self) in used:
            used.discard(id(self))
            return ProducerLost(0, fenced=False, reason="the last commit took 1.0 s: it may have been sent twice")
        used.add(id(self))
        return commit(self, transaction)

    monkeypatch.setattr(LaneProducer, "commit", slow)
    report, _ = orders.redrive(orders.message(orders.records()))
    assert counts(report) == {"published": 6}
    assert orders.published() == list(range(6))


def test_a_message_that_comes_twice_and_batches_out_of_order_repeat_nothing(table: Callable[..., Table]) -> None:
    orders = table()
    for number in range(4):
        orders.put(number, item="a")
    records = orders.records()
    older, newer = orders.message(records[:2]), orders.message(records[2:])
    report, taken_away = orders.redrive(newer, older, newer)
    assert counts(report) == {"published": 4, "present": 2}
    assert sorted(taken_away) == [0, 1, 2]
    assert orders.published() == [0, 1, 2, 3]


def test_messages_that_are_none_are_left_alone_and_the_others_are_not(table: Callable[..., Table]) -> None:
    orders = table()
    orders.put(1)
    other = orders.message(orders.records()).replace(b":table/orders/", b":table/others/")
    report, taken_away = orders.redrive(b"{}", other, orders.message(orders.records()))
    assert len(report.refused) == 2
    assert "DDBStreamBatchInfo" in report.refused[0]
    assert "others" in report.refused[1]
    assert (counts(report), taken_away) == ({"published": 1}, [2])


@pytest.fixture
def fake() -> Iterator[FakeAws]:
    with closing(FakeAws()) as server:
        yield server


def test_messages_of_a_queue_are_deleted_when_their_changes_are_published(
    table: Callable[..., Table], fake: FakeAws
) -> None:
    orders = table()
    orders.put(1)
    bodies = {"good": orders.message(orders.records()).decode(), "bad": "{}"}
    received = [{"MessageId": name, "ReceiptHandle": f"r-{name}", "Body": body} for name, body in bodies.items()]
    fake.answers("ReceiveMessage", ok(Messages=received), ok(Messages=received[1:]))
    fake.answers("DeleteMessage", ok())
    url = f"{fake.url}/000000000000/failed"
    queue = Queue(url, region="us-east-1", profile=None)
    report = redrive_batches(orders.pipeline, queue, Selection())
    assert orders.published() == [1]
    assert len(report.refused) == 1
    assert fake.operations() == ["ReceiveMessage", "DeleteMessage", "ReceiveMessage"]
    assert fake.asked[1].fields == {"QueueUrl": url, "ReceiptHandle": "r-good"}


def test_objects_of_a_bucket_are_read_and_stay(
    table: Callable[..., Table], fake: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = table()
    orders.put(1, 2)
    records = orders.records()
    keys = ["aws/lambda/one", "aws/lambda/two & three"]
    contents = "".join(f"<Contents><Key>{escape(key)}</Key></Contents>" for key in keys)
    listing = f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
    fake.answers(
        "GET",
        Answer(listing.encode()),
        Answer(orders.message(records[:1], with_payload=True)),
        Answer(orders.message(records[1:], with_payload=True)),
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", fake.url)
    bucket = Bucket("failures/aws/lambda/", region="us-east-1", profile=None)
    report = redrive_batches(orders.pipeline, bucket, Selection())
    assert (counts(report), report.is_whole) == ({"published": 2}, True)
    assert fake.operations() == ["GET"] * 3
