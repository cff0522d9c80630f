"""What Lambda gave up, read again from the stream and published: what is missing only, and what is lost is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any
from xml.sax.saxutils import escape

import pytest
from confluent_kafka import KafkaException, Producer

from support.fake_aws import Answer, FakeAws, ok
from support.kafka_clients import create_topic
from support.names import unique
from support.pipeline_file import write_file
from support.publishing import create_checkpoint_topic, publish, put, read_all
from tailrace.config import LoadedPipeline, Pipeline, load
from tailrace.core.change import Origin
from tailrace.core.lane_messages import ProducerLost, Transaction
from tailrace.core.redrive import Selection
from tailrace.core.shard import ShardRef
from tailrace.kafka.dead_letters import dead_letter
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.local.kafka import KafkaBroker
from tailrace.local.workload import connect
from tailrace.operations.publisher import LOSSES_MAX
from tailrace.operations.redrive import redrive
from tailrace.operations.redrive_batches import redrive_batches
from tailrace.operations.republisher import Report
from tailrace.sources.aws_lambda.failure_messages import Bucket, FailureMessage, Queue
from tailrace.wiring.pipeline import shard_suffix
from tailrace_simulator import SimulatedDynamoDB
from tailrace_simulator.actions import parse_script
from tailrace_simulator.event_source.destination import Discarded, failure_message, failure_object
from tailrace_simulator.event_source.records import Record, Span, WindowPart, make_event, parse_record
from tailrace_simulator.event_source.shard import Position
from tailrace_simulator.streams_client import StreamsClient

ONE_SHARD = {"settings": {"shards": 1, "listing_lag_calls": 0, "describe_stream_per_second": 0}}


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
    """The table `orders` on the simulator, one shard, and a pipeline over it."""

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
        (shard_id,) = (shard.shard_id for shard in self._streams.shards(self.stream))
        self.shard = ShardRef(self.stream, shard_id)
        source = {"endpoint_url": simulated.endpoint_url}
        options = {"lanes": 2, "topics": {"partitions": 1}, **settings}
        self.kafka = kafka
        self.file = write_file(folder, kafka, unique("redrive"), source=source, **options)
        self.pipeline: Pipeline = load(self.file).pipeline
        create_checkpoint_topic(self.pipeline)

    def put(self, *numbers: int, item: str | None = None, size: int = 0) -> None:
        for number in numbers:
            body = Random(number).randbytes(size // 2).hex()  # it does not compress
            image = {"id": {"S": item or f"item-{number}"}, "n": {"N": str(number)}, "body": {"S": body}}
            self._client.put_item(TableName="orders", Item=image)

    def delete(self, item: str) -> None:
        self._client.delete_item(TableName="orders", Key={"id": {"S": item}})

    def records(self) -> list[Record]:
        iterator = self._streams.iterator(*self.shard, Position("TRIM_HORIZON"))
        records, _ = self._streams.records(iterator)
        return [parse_record(record, self.stream, self.shard.shard_id, 0) for record in records]

    def event(self, records: Sequence[Record]) -> bytes:
        window = WindowPart(Span(0, 900_000), b"{}", is_final=False, is_early=False)
        return make_event(records, window, self.shard.shard_id, self.stream)

    def publish(self, records: Sequence[Record]) -> None:
        publish(self.pipeline, self.shard, self.event(records))

    def message(self, records: Sequence[Record], *, with_payload: bool = False) -> bytes:
        discarded = Discarded(records, "RetryAttemptsExhausted", 3, True, unique("request"), self.event(records))
        make = failure_object if with_payload else failure_message
        return make(discarded, self.shard.shard_id, self.stream, "arn:aws:lambda:us-east-1:000000000000:function:f", 0)

    def trim(self) -> None:
        self._simulated.act("trim", table="orders")

    def redrive(self, *messages: bytes, **options: Any) -> tuple[Report, list[int]]:
        """Redrive; gives the report, and the messages that were taken away."""
        given = Given(*messages)
        return redrive_batches(LoadedPipeline(self.pipeline), given, Selection(), **options), given.taken_away

    def published(self) -> list[Any]:
        """The numbers of what is published, in order; None for a null value."""
        found = [message.value() for message in read_all(self.pipeline, self.pipeline.topic_of("orders"))]
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


@pytest.mark.parametrize("format_name", ["debezium", "item", "cloudevents", "dynamodb-json"])
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
    all_of_it = [1, 2, 3, 4, 5, *([None] if format_name == "item" else [2, None])]
    assert orders.published() == all_of_it

    again, taken_away = orders.redrive(message)
    assert (counts(again), taken_away) == ({"present": 5}, [0])
    assert orders.published() == all_of_it

    orders.put(6, item="a")
    orders.put(7, item="b")
    orders.put(8, item="a")
    records = orders.records()[6:]
    orders.publish(records[2:])
    message = orders.message(records[:2])
    report, taken_away = orders.redrive(message)
    assert (counts(report), taken_away) == ({"superseded": 1, "published": 1}, []), "item a has a newer change"
    report, taken_away = orders.redrive(message, skip_superseded=False)
    assert (counts(report), taken_away) == ({"published": 1, "present": 1}, [0])
    assert orders.published() == [*all_of_it, 8, 7, 6]


def test_what_is_trimmed_is_told_with_its_range_and_its_message_stays(table: Callable[..., Table]) -> None:
    orders = table()
    orders.put(1, 2, 3)
    old = orders.records()
    orders.publish(old[:1])
    orders.trim()
    orders.put(4)
    young = orders.records()
    report, taken_away = orders.redrive(orders.message([*old[:2], *young]))
    assert counts(report) == {"published": 1}
    (sentence,) = report.lost
    assert "1 change from" in sentence
    assert f"from sequence number {old[0].sequence} up to, not with, {young[0].sequence}" in sentence
    assert (report.is_whole, taken_away) == (False, [])
    assert orders.published() == [1, 4]

    report, taken_away = orders.redrive(orders.message(old[:1]))
    assert (report.lost, report.is_whole, taken_away) == ([], True, [0]), "the topic has all that is trimmed"
    report, _ = orders.redrive(orders.message(old[1:], with_payload=True))
    assert (counts(report), report.is_whole) == ({"published": 2}, True), "the message has all that is trimmed"
    assert orders.published() == [1, 4, 2, 3]


def test_a_dead_letter_without_its_record_is_read_again_from_the_stream(table: Callable[..., Table]) -> None:
    orders = table()
    orders.put(1, 2)
    first, second = orders.records()
    topic = orders.pipeline.dead_letters_topic
    for each in (first, second):
        letter = dead_letter(
            topic,
            pipeline=orders.pipeline.name,
            shard=orders.shard,
            origin=Origin("orders", str(each.sequence), 1000, b""),
            key=None,
            value=None,
            intended_topic=orders.pipeline.topic_of("orders"),
            stage="PRODUCE",
            exception="RecordTooLargeException",
            message=f"too large: {each.sequence}",
        )
        put(orders.pipeline, "orders", letter)
    assert counts(redrive(LoadedPipeline(orders.pipeline), Selection(reason=str(first.sequence)))) == {"published": 1}
    orders.trim()
    report = redrive(LoadedPipeline(orders.pipeline), Selection())
    assert (counts(report), report.is_whole) == ({"lost": 1}, False)
    assert (report.changes[0].stage, "no longer has it" in report.changes[0].reason) == ("", True)
    assert orders.published() == [1]


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
    assert len(read_all(orders.pipeline, orders.pipeline.dead_letters_topic)) == 2
    assert orders.published() == [0]
    assert counts(redrive(LoadedPipeline(orders.pipeline), Selection())) == {"failed": 2}


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
    orders.put(*range(LOSSES_MAX + 2))
    monkeypatch.setattr("tailrace.operations.redrive_batches.TRANSACTION_RECORDS_MAX", 1)
    commit, used = LaneProducer.commit, set[int]()

    def slow(self: LaneProducer, transaction: Transaction) -> object:
        if id(self) in used:
            used.discard(id(self))
            return ProducerLost(0, fenced=False, reason="the last commit took 1.0 s: it may have been sent twice")
        used.add(id(self))
        return commit(self, transaction)

    monkeypatch.setattr(LaneProducer, "commit", slow)
    report, _ = orders.redrive(orders.message(orders.records()))
    assert counts(report) == {"published": LOSSES_MAX + 2}
    assert orders.published() == list(range(LOSSES_MAX + 2))


def test_a_function_that_was_frozen_before_its_commit_can_no_longer_make_it(table: Callable[..., Table]) -> None:
    orders = table()
    orders.put(1, 2)
    frozen = Producer({**orders.kafka, "transactional.id": f"{orders.pipeline.name}.{shard_suffix(orders.shard)}"})
    orders.publish([])  # so that the topic is there
    frozen.init_transactions()
    frozen.begin_transaction()
    frozen.produce(orders.pipeline.topic_of("orders"), json.dumps({"n": 1}).encode())
    frozen.flush()
    report, _ = orders.redrive(orders.message(orders.records()))
    assert [change.outcome for change in report.changes] == ["published", "published"]
    with pytest.raises(KafkaException):
        frozen.commit_transaction()
    assert orders.published() == [1, 2]


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


@pytest.fixture
def fake() -> Iterator[FakeAws]:
    with closing(FakeAws()) as server:
        yield server


def test_messages_of_a_queue_are_deleted_when_their_changes_are_published_and_others_are_left_alone(
    table: Callable[..., Table], fake: FakeAws
) -> None:
    orders = table()
    orders.put(1)
    message = orders.message(orders.records()).decode()
    bodies = {"good": message, "other": message.replace(":table/orders/", ":table/others/"), "bad": "{}"}
    received = [{"MessageId": name, "ReceiptHandle": f"r-{name}", "Body": body} for name, body in bodies.items()]
    fake.answers("ReceiveMessage", ok(Messages=received), ok(Messages=received[1:]))
    fake.answers("DeleteMessage", ok())
    url = f"{fake.url}/000000000000/failed"
    queue = Queue(url, region="us-east-1", profile=None)
    report = redrive_batches(LoadedPipeline(orders.pipeline), queue, Selection())
    assert orders.published() == [1]
    other, bad = report.refused
    assert "others" in other
    assert "DDBStreamBatchInfo" in bad
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
    report = redrive_batches(LoadedPipeline(orders.pipeline), bucket, Selection())
    assert (counts(report), report.is_whole) == ({"published": 2}, True)
    assert fake.operations() == ["GET"] * 3
