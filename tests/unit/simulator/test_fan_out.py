"""Enhanced fan-out over the simulator's socket, read with boto3: what is pushed, when it ends, who takes over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from urllib3.exceptions import HTTPError

from tailrace_simulator import SimulatedDynamoDB

STREAM = "shop-cdc"
FIRST = "shardId-000000000000"
Subscribe = Callable[..., Iterator[Any]]
TRIM_HORIZON = {"Type": "TRIM_HORIZON"}


@pytest.fixture
def simulated() -> Iterator[SimulatedDynamoDB]:
    with SimulatedDynamoDB(seed=1) as simulated:
        yield simulated


@pytest.fixture
def kinesis(simulated: SimulatedDynamoDB) -> Iterator[Any]:
    client = boto3.client(
        "kinesis",
        endpoint_url=simulated.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"total_max_attempts": 1}),
    )
    client.create_stream(StreamName=STREAM, ShardCount=1)
    yield client
    client.close()


@pytest.fixture
def consumer(kinesis: Any) -> str:
    arn = kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]["StreamARN"]
    return str(kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="shop")["Consumer"]["ConsumerARN"])


@pytest.fixture
def subscribe(kinesis: Any, consumer: str) -> Iterator[Subscribe]:
    """Subscribe the consumer to the first shard; the connections are closed at the end."""
    with ExitStack() as opened:

        def subscribe(position: dict[str, str] = TRIM_HORIZON) -> Iterator[Any]:
            answer = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId=FIRST, StartingPosition=position)
            opened.callback(answer["EventStream"].close)
            return (event["SubscribeToShardEvent"] for event in answer["EventStream"])

        yield subscribe


def put(kinesis: Any, text: str) -> str:
    return str(kinesis.put_record(StreamName=STREAM, Data=text.encode(), PartitionKey="k")["SequenceNumber"])


def next_records(events: Iterator[Any]) -> list[str]:
    return next([record["Data"].decode() for record in event["Records"]] for event in events if event["Records"])


def test_records_are_pushed_as_they_come_and_the_shards_end_names_its_children(
    simulated: SimulatedDynamoDB, kinesis: Any, subscribe: Subscribe
) -> None:
    put(kinesis, "a")
    events = subscribe()
    assert next_records(events) == ["a"]
    number = put(kinesis, "b")
    assert next_records(events) == ["b"]
    put(kinesis, "c")
    simulated.act("split", stream=STREAM)
    *_, end = events
    assert len(end["ChildShards"]) == 2
    assert "ContinuationSequenceNumber" not in end
    simulated.act("advance", seconds=5)
    after = subscribe({"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": number})
    assert next_records(after) == ["c"]


def test_a_quiet_shard_pushes_where_to_continue(
    simulated: SimulatedDynamoDB, kinesis: Any, subscribe: Subscribe
) -> None:
    simulated.act("settings", settings={"push_interval_s": 0.1})
    events = subscribe({"Type": "LATEST"})
    event = next(events)
    assert (event["Records"], event["MillisBehindLatest"]) == ([], 0)
    put(kinesis, "a")
    assert next_records(events) == ["a"]
    simulated.act("advance", seconds=5)
    position = {"Type": "AT_SEQUENCE_NUMBER", "SequenceNumber": event["ContinuationSequenceNumber"]}
    assert next_records(subscribe(position)) == ["a"]


def test_a_subscription_ends_after_its_time(simulated: SimulatedDynamoDB, kinesis: Any, subscribe: Subscribe) -> None:
    put(kinesis, "a")
    events = subscribe()
    assert next_records(events) == ["a"]
    simulated.act("advance", seconds=300)
    assert all(event["Records"] == [] for event in events)
    assert next_records(subscribe()) == ["a"]


def test_a_second_subscription_is_refused_for_five_seconds_and_then_takes_over(
    simulated: SimulatedDynamoDB, kinesis: Any, subscribe: Subscribe
) -> None:
    events = subscribe()
    next(events)
    with pytest.raises(ClientError, match="ResourceInUseException"):
        subscribe()
    simulated.act("advance", seconds=5)
    second = subscribe()
    with pytest.raises(EventStreamError, match="ResourceInUseException"):
        list(events)
    put(kinesis, "a")
    assert next_records(second) == ["a"]


def test_the_subscriptions_of_a_consumer_that_is_forgotten_fail(
    kinesis: Any, consumer: str, subscribe: Subscribe
) -> None:
    events = subscribe()
    next(events)
    kinesis.deregister_stream_consumer(ConsumerARN=consumer)
    with pytest.raises(EventStreamError, match="ResourceNotFoundException"):
        list(events)


def test_a_subscription_breaks_as_told(simulated: SimulatedDynamoDB, subscribe: Subscribe) -> None:
    simulated.act("fail", operation="kinesis:SubscribeToShard", fault="cut_short")
    events = subscribe()
    with pytest.raises(HTTPError):
        list(events)
    simulated.act("fail", operation="kinesis:SubscribeToShard", fault="throttle")
    with pytest.raises(ClientError, match=r"LimitExceededException|ThrottlingException"):
        subscribe()
