"""DynamoDB's change records in a Kinesis stream: what is in them, repeats, delays, what is left out."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from support.simulated import START_MS, RefusedError
from support.simulated_kinesis import ARN, STREAM, SimulatedStream


def replicating(precision: str | None = None, **options: Any) -> SimulatedStream:
    """A stream that gets the changes of the table `orders`."""
    stream = SimulatedStream(**options)
    stream.create()
    enable(stream, precision)
    return stream


def enable(stream: SimulatedStream, precision: str | None = None) -> Any:
    wanted = {"ApproximateCreationDateTimePrecision": precision}
    configuration = {"EnableKinesisStreamingConfiguration": wanted} if precision else {}
    return stream.call("EnableKinesisStreamingDestination", TableName="orders", StreamArn=ARN, **configuration)


def test_a_change_record_is_as_dynamodb_writes_it() -> None:
    stream = replicating("MICROSECOND")
    stream.put("a", v={"N": "1"})
    stream.put("a", v={"N": "2"})
    stream.call("DeleteItem", TableName="orders", Key={"id": {"S": "a"}})
    insert, modify, remove = stream.changes()
    assert [*insert] == [
        *("awsRegion", "eventID", "eventName", "userIdentity", "recordFormat", "tableName", "dynamodb", "eventSource"),
        *("shard", "key"),
    ]
    assert {name: insert[name] for name in insert if name not in {"eventID", "dynamodb", "shard", "key"}} == {
        "awsRegion": "us-east-1",
        "eventName": "INSERT",
        "userIdentity": None,
        "recordFormat": "application/json",
        "tableName": "orders",
        "eventSource": "aws:dynamodb",
    }
    first, second = ({"id": {"S": "a"}, "v": {"N": number}} for number in "12")
    created = [each["dynamodb"].pop("ApproximateCreationDateTime") for each in (insert, modify, remove)]
    assert created == sorted(created)
    assert {each // 1000 for each in created} == {START_MS}
    rest = {"Keys": {"id": {"S": "a"}}, "ApproximateCreationDateTimePrecision": "MICROSECOND"}
    assert insert["dynamodb"] == rest | {"NewImage": first, "SizeBytes": 9}
    assert modify["dynamodb"] == rest | {"NewImage": second, "OldImage": first, "SizeBytes": 15}
    assert remove["dynamodb"] == rest | {"OldImage": second, "SizeBytes": 9}
    assert (modify["eventName"], remove["eventName"]) == ("MODIFY", "REMOVE")
    assert len({each["eventID"] for each in (insert, modify, remove)}) == 3
    assert len({each["key"] for each in (insert, modify, remove)}) == 1


def test_creation_times_are_milliseconds_until_microseconds_are_asked_for() -> None:
    stream = replicating()
    stream.put("a")
    wanted = {"ApproximateCreationDateTimePrecision": "MICROSECOND"}
    stream.call(
        "UpdateKinesisStreamingDestination",
        TableName="orders",
        StreamArn=ARN,
        UpdateKinesisStreamingConfiguration=wanted,
    )
    stream.put("b")
    by_id = {each["dynamodb"]["Keys"]["id"]["S"]: each["dynamodb"] for each in stream.changes()}
    assert by_id["a"]["ApproximateCreationDateTime"] == START_MS
    assert "ApproximateCreationDateTimePrecision" not in by_id["a"]
    assert by_id["b"]["ApproximateCreationDateTime"] // 1000 == START_MS
    (described,) = stream.call("DescribeKinesisStreamingDestination", TableName="orders")[
        "KinesisDataStreamDestinations"
    ]
    assert described == {"StreamArn": ARN, "DestinationStatus": "ACTIVE"} | wanted


def test_only_the_changes_between_enabling_and_disabling_are_in_the_stream() -> None:
    stream = SimulatedStream()
    stream.create()
    stream.put("before")
    assert enable(stream)["DestinationStatus"] == "ENABLING"
    stream.put("during")
    with pytest.raises(RefusedError, match="ResourceInUseException"):
        enable(stream)
    stream.call("DisableKinesisStreamingDestination", TableName="orders", StreamArn=ARN)
    stream.put("after")
    assert [each["dynamodb"]["Keys"]["id"]["S"] for each in stream.changes()] == ["during"]
    with pytest.raises(RefusedError, match="ResourceNotFoundException"):
        stream.call("DisableKinesisStreamingDestination", TableName="orders", StreamArn=ARN)


def test_items_that_expire_are_deleted_by_dynamodb() -> None:
    stream = replicating()
    stream.call(
        "UpdateTimeToLive",
        TableName="orders",
        TimeToLiveSpecification={"Enabled": True, "AttributeName": "until"},
    )
    stream.put("a", until={"N": f"{START_MS // 1000 - 10}"})
    stream.act("expire", table="orders")
    assert stream.changes()[-1]["userIdentity"] == {"type": "Service", "principalId": "dynamodb.amazonaws.com"}


def test_the_order_of_the_keys_varies() -> None:
    stream = SimulatedStream()
    stream.call(
        "CreateTable",
        TableName="orders",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("id", "at")],
        BillingMode="PAY_PER_REQUEST",
    )
    enable(stream)
    for number in range(20):
        stream.put("a", at={"S": "b"}, v={"N": f"{number}"})
    assert {tuple(each["dynamodb"]["Keys"]) for each in stream.changes()} == {("id", "at"), ("at", "id")}
    assert len({each["key"] for each in stream.changes()}) == 1


def test_repeats_come_again_with_the_same_change_and_half_of_them_with_another_event_id() -> None:
    stream = replicating("MICROSECOND")
    stream.act("rates", rates={"replication": {"repeat": 0.5}})
    for number in range(100):
        stream.put(f"{number}")
    assert len(stream.changes()) < 110
    stream.pass_s(5)
    stream.listed()
    changes = stream.changes()
    of_item = Counter(each["dynamodb"]["Keys"]["id"]["S"] for each in changes)
    assert len(of_item) == 100
    assert 30 <= sum(count == 2 for count in of_item.values()) <= 70
    assert of_item.total() == len({f"{number}" for number in range(100)}) + sum(n == 2 for n in of_item.values())
    assert len({str(each["dynamodb"]) for each in changes}) == 100
    same = of_item.total() - len({each["eventID"] for each in changes})
    assert 10 <= same <= 40


def test_delayed_changes_come_out_of_order() -> None:
    stream = replicating()
    stream.act("rates", rates={"replication": {"delay": 0.3}})
    for number in range(50):
        stream.put("a", v={"N": f"{number}"})
        stream.pass_s(0.1)
    stream.pass_s(2)
    stream.listed()
    values = [int(each["dynamodb"]["NewImage"]["v"]["N"]) for each in stream.changes()]
    assert values != sorted(values)
    assert sorted(values) == list(range(50))
    overtaken = sum(value < max(values[:place], default=0) for place, value in enumerate(values))
    assert stream.simulator.state(stream.now_ms)["overtaken"] == {"orders": overtaken}
    assert overtaken > 0


def test_a_repeat_behind_a_newer_change_is_not_overtaken() -> None:
    stream = replicating()
    stream.act("fail", operation="replication", fault="repeat")
    for number in (1, 2):
        stream.put("a", v={"N": f"{number}"})
    stream.pass_s(5)
    stream.listed()
    assert [each["dynamodb"]["NewImage"]["v"]["N"] for each in stream.changes()] == ["1", "2", "1"]
    assert stream.simulator.state(stream.now_ms)["overtaken"] == {"orders": 0}


def test_a_repeat_may_come_into_a_child_of_the_shard() -> None:
    stream = replicating(shards=1)
    stream.act("fail", operation="replication", fault="repeat")
    stream.put("a")
    stream.act("split", stream=STREAM)
    stream.pass_s(5)
    stream.listed()
    shards = [each["shard"] for each in stream.changes()]
    assert len(shards) == 2
    assert shards[0] == "shardId-000000000000"
    assert shards[1] in {"shardId-000000000001", "shardId-000000000002"}


def test_shards_split_and_merge_while_changes_go_on() -> None:
    stream = replicating(shards=2)
    stream.act("rates", rates={"replication": {"split": 0.1, "merge": 0.1}})
    for number in range(200):
        stream.put(f"{number}")
    found = [each["dynamodb"]["Keys"]["id"]["S"] for each in stream.changes()]
    assert sorted(found, key=int) == [f"{number}" for number in range(200)]
    assert len(stream.listed()) > 20


def test_what_no_stream_takes_is_counted() -> None:
    stream = replicating()
    for number in (1, 2):  # two images of 390 KB, which base64 makes larger than 1 MB
        stream.put("a", v={"B": f"{number:04}" * 131_500})
    assert len(stream.changes()) == 1
    stream.act("fail", operation="replication", fault="delay")
    stream.put("b")
    stream.kinesis("DeleteStream")
    stream.put("c")
    stream.pass_s(2)
    stream.call("ListTables")
    assert stream.simulator.state(stream.now_ms)["failed_to_replicate"] == {"orders": 3}


def test_the_same_seed_and_changes_make_the_same_records() -> None:
    def played() -> list[Any]:
        stream = replicating(seed=9, shards=2)
        stream.act("rates", rates={"replication": {"repeat": 0.2, "delay": 0.2, "split": 0.05, "merge": 0.05}})
        for number in range(50):
            stream.put(f"{number % 7}", v={"N": f"{number}"})
            stream.pass_s(0.1)
        return stream.changes()

    assert played() == played()
