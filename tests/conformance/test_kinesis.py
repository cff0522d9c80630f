"""One suite over the simulator's Kinesis and over kinesis-local: what holds for one holds for the other.

SubscribeToShard is not here: kinesis-local answers it without the initial-response that boto3 waits for.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.aws_service import refused
from support.kinesis_service import HALF, KinesisService, are_whole, owned, texts_of
from support.names import unique
from support.waiting import wait_for

FIRST, SECOND = (f"shardId-{number:012}" for number in range(2))
UNKNOWN = "shardId-000000000099"
NOT_FOUND = ("ResourceNotFoundException", 400)
IN_USE = ("ResourceInUseException", 400)


def is_invalid(action: Callable[..., object], *arguments: Any, **options: Any) -> bool:
    """Whether an action is refused as impossible.

    AWS says ValidationException where a parameter breaks its constraint; kinesis-local has one name for everything.
    """
    code, status = refused(action, *arguments, **options)
    return status == 400 and code in {"InvalidArgumentException", "ValidationException", "SerializationException"}


# Streams


def test_a_stream_is_described_as_it_was_made(kinesis: KinesisService) -> None:
    name = kinesis.create(shards=2)
    summary = kinesis.summary(name)
    assert re.fullmatch(rf"arn:aws:kinesis:us-east-1:\d{{12}}:stream/{name}", summary["StreamARN"])
    assert (summary["StreamName"], summary["StreamStatus"], summary["RetentionPeriodHours"]) == (name, "ACTIVE", 24)
    assert (summary["OpenShardCount"], summary["ConsumerCount"], summary["EncryptionType"]) == (2, 0, "NONE")
    assert summary["StreamModeDetails"] == {"StreamMode": "PROVISIONED"}
    assert abs(summary["StreamCreationTimestamp"].timestamp() - time.time()) < 60
    described = kinesis.client.describe_stream(StreamARN=summary["StreamARN"])["StreamDescription"]
    assert described["HasMoreShards"] is False
    assert described["Shards"] == kinesis.shards(name)
    for shard in described["Shards"]:
        assert shard.keys() == {"ShardId", "HashKeyRange", "SequenceNumberRange"}
        assert shard["SequenceNumberRange"].keys() == {"StartingSequenceNumber"}
    assert are_whole(described["Shards"])


def test_an_on_demand_stream_begins_with_four_shards(kinesis: KinesisService) -> None:
    name = kinesis.create(shards=None)
    assert kinesis.summary(name)["StreamModeDetails"] == {"StreamMode": "ON_DEMAND"}
    assert len(kinesis.shards(name)) == 4
    assert are_whole(kinesis.shards(name))


def test_a_stream_that_is_there_cannot_be_made_again(kinesis: KinesisService) -> None:
    name = kinesis.create()
    assert refused(kinesis.client.create_stream, StreamName=name, ShardCount=1) == IN_USE
    assert is_invalid(kinesis.client.create_stream, StreamName="a b", ShardCount=1)


def test_streams_are_listed_in_pages_by_name(kinesis: KinesisService) -> None:
    names = [kinesis.create(name=f"zz-listed-{number}") for number in range(4)]
    first = kinesis.client.list_streams(ExclusiveStartStreamName=names[0], Limit=2)
    assert (first["StreamNames"], first["HasMoreStreams"]) == (names[1:3], True)
    rest = kinesis.client.list_streams(ExclusiveStartStreamName=names[2])
    assert (rest["StreamNames"], rest["HasMoreStreams"]) == (names[3:], False)
    assert is_invalid(kinesis.client.list_streams, Limit=0)


def test_what_is_not_there_is_not_found(kinesis: KinesisService) -> None:
    client, name = kinesis.client, kinesis.create()
    actions: list[Callable[[], object]] = [
        lambda: client.describe_stream(StreamName="none"),
        lambda: client.describe_stream_summary(StreamName="none"),
        lambda: client.list_shards(StreamName="none"),
        lambda: client.put_record(StreamName="none", Data=b"", PartitionKey="k"),
        lambda: client.delete_stream(StreamName="none"),
        lambda: client.split_shard(StreamName="none", ShardToSplit=FIRST, NewStartingHashKey=HALF),
        lambda: client.split_shard(StreamName=name, ShardToSplit=UNKNOWN, NewStartingHashKey=HALF),
        lambda: kinesis.iterator("none", FIRST),
        lambda: kinesis.iterator(name, UNKNOWN),
        lambda: client.describe_stream_consumer(StreamARN=kinesis.arn(name), ConsumerName="none"),
    ]
    assert [refused(action) for action in actions] == [NOT_FOUND] * len(actions)
    assert is_invalid(client.list_shards)


def test_a_stream_that_is_made_again_is_empty(kinesis: KinesisService) -> None:
    name = kinesis.create()
    kinesis.put(name, "a")
    iterator = kinesis.iterator(name, FIRST)
    kinesis.client.delete_stream(StreamName=name)
    wait_for("the stream's end", lambda: is_gone(kinesis, name))
    assert refused(kinesis.client.get_records, ShardIterator=iterator) == NOT_FOUND
    kinesis.client.create_stream(StreamName=name, ShardCount=1)
    kinesis.settle(name)
    assert kinesis.texts(name, FIRST) == []


def is_gone(kinesis: KinesisService, name: str) -> bool:
    try:
        kinesis.summary(name)
    except ClientError as error:
        return bool(error.response["Error"]["Code"] == "ResourceNotFoundException")
    return False


def test_the_retention_is_changed_within_bounds(kinesis: KinesisService) -> None:
    name = kinesis.create()
    longer, shorter = kinesis.client.increase_stream_retention_period, kinesis.client.decrease_stream_retention_period
    longer(StreamName=name, RetentionPeriodHours=48)
    kinesis.settle(name)
    assert kinesis.summary(name)["RetentionPeriodHours"] == 48
    for change, hours in ((longer, 24), (longer, 8761), (shorter, 72), (shorter, 23)):
        assert is_invalid(change, StreamName=name, RetentionPeriodHours=hours)
    shorter(StreamName=name, RetentionPeriodHours=24)
    assert kinesis.summary(name)["RetentionPeriodHours"] == 24


def test_the_mode_of_a_stream_is_changed(kinesis: KinesisService) -> None:
    name = kinesis.create(shards=2)
    kinesis.client.update_stream_mode(StreamARN=kinesis.arn(name), StreamModeDetails={"StreamMode": "ON_DEMAND"})
    kinesis.settle(name)
    assert kinesis.summary(name)["StreamModeDetails"] == {"StreamMode": "ON_DEMAND"}
    assert len(kinesis.shards(name)) == 2


# Records


def test_records_are_read_as_they_were_put_and_in_their_order(kinesis: KinesisService) -> None:
    name = kinesis.create()
    data = [b"a", b"\x00\xff", "🦦".encode()]
    put = [kinesis.client.put_record(StreamName=name, Data=each, PartitionKey="käse") for each in data]
    records = kinesis.page(name, FIRST)["Records"]
    assert [record["Data"] for record in records] == data
    assert {record["PartitionKey"] for record in records} == {"käse"}
    numbers = [record["SequenceNumber"] for record in records]
    assert numbers == [answer["SequenceNumber"] for answer in put]
    assert numbers == sorted(set(numbers), key=int)
    assert {len(number) for number in numbers} == {56}
    assert int(kinesis.shards(name)[0]["SequenceNumberRange"]["StartingSequenceNumber"]) < int(numbers[0])
    for record in records:
        assert abs(record["ApproximateArrivalTimestamp"].timestamp() - time.time()) < 60


def test_a_record_goes_to_the_shard_that_owns_its_hash_key(kinesis: KinesisService) -> None:
    name = kinesis.create(shards=3)
    for shard in kinesis.shards(name):
        for hash_key in owned([shard])[0]:
            (answer,) = kinesis.put(name, "x", hash_key)
            assert answer["ShardId"] == shard["ShardId"]
    # MD5 of "k" begins with 8c, in the second third.
    assert kinesis.client.put_record(StreamName=name, Data=b"", PartitionKey="k")["ShardId"] == SECOND
    wrong: list[dict[str, str]] = [{"ExplicitHashKey": str(2**128)}, {"PartitionKey": ""}]
    for fields in wrong:
        options = {"StreamName": name, "Data": b"", "PartitionKey": "k"} | fields
        assert is_invalid(kinesis.client.put_record, **options)


def test_several_records_are_put_in_one_call(kinesis: KinesisService) -> None:
    name = kinesis.create(shards=2)
    entries = [{"Data": f"{number}".encode(), "PartitionKey": f"{number}"} for number in range(20)]
    answer = kinesis.client.put_records(StreamName=name, Records=entries)
    assert answer["FailedRecordCount"] == 0
    by_shard = {shard_id: kinesis.page(name, shard_id)["Records"] for shard_id in (FIRST, SECOND)}
    found = {
        record["SequenceNumber"]: (shard_id, record["Data"], record["PartitionKey"])
        for shard_id, records in by_shard.items()
        for record in records
    }
    assert found == {
        result["SequenceNumber"]: (result["ShardId"], entry["Data"], entry["PartitionKey"])
        for result, entry in zip(answer["Records"], entries, strict=True)
    }
    assert all(by_shard.values())


# Positions


def test_reading_starts_where_the_iterator_says(kinesis: KinesisService) -> None:
    name = kinesis.create()
    numbers = [answer["SequenceNumber"] for answer in kinesis.put(name, "abc")]
    latest = kinesis.iterator(name, FIRST, "LATEST")
    kinesis.put(name, "d")
    for kind, number, found in (
        ("AT_SEQUENCE_NUMBER", numbers[1], ["b", "c", "d"]),
        ("AFTER_SEQUENCE_NUMBER", numbers[1], ["c", "d"]),
    ):
        assert kinesis.texts(name, FIRST, kind, StartingSequenceNumber=number) == found
    start = kinesis.shards(name)[0]["SequenceNumberRange"]["StartingSequenceNumber"]
    assert kinesis.texts(name, FIRST, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=start) == ["a", "b", "c", "d"]
    assert texts_of(kinesis.client.get_records(ShardIterator=latest)) == ["d"]


def test_reading_starts_at_a_time(kinesis: KinesisService) -> None:
    name = kinesis.create()
    kinesis.put(name, "a")
    time.sleep(0.05)  # so that the two arrive at different times
    kinesis.put(name, "b")
    first, second = (each["ApproximateArrivalTimestamp"] for each in kinesis.page(name, FIRST)["Records"])
    assert first < second
    assert kinesis.texts(name, FIRST, "AT_TIMESTAMP", Timestamp=second) == ["b"]
    assert kinesis.texts(name, FIRST, "AT_TIMESTAMP", Timestamp=first.timestamp() - 3600) == ["a", "b"]
    assert is_invalid(kinesis.iterator, name, FIRST, "AT_TIMESTAMP", Timestamp=time.time() + 3600)


def test_an_impossible_position_is_refused(kinesis: KinesisService) -> None:
    name = kinesis.create()
    for kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER", "AT_TIMESTAMP", "OTHER"):
        assert is_invalid(kinesis.iterator, name, FIRST, kind)
    assert is_invalid(kinesis.iterator, name, FIRST, "AT_SEQUENCE_NUMBER", StartingSequenceNumber="x")
    iterator = kinesis.iterator(name, FIRST)
    for limit in (0, 10_001):
        assert is_invalid(kinesis.client.get_records, ShardIterator=iterator, Limit=limit)


def test_a_shard_is_read_in_pages_and_an_iterator_gives_the_same_again(kinesis: KinesisService) -> None:
    name = kinesis.create()
    kinesis.put(name, "abc")
    iterator = kinesis.iterator(name, FIRST)
    for _ in range(2):
        page = kinesis.client.get_records(ShardIterator=iterator, Limit=2)
        assert texts_of(page) == ["a", "b"]
    rest = kinesis.client.get_records(ShardIterator=page["NextShardIterator"])
    assert (texts_of(rest), rest["MillisBehindLatest"]) == (["c"], 0)
    empty = kinesis.client.get_records(ShardIterator=rest["NextShardIterator"])
    assert (texts_of(empty), empty["MillisBehindLatest"]) == ([], 0)
    kinesis.put(name, "d")
    assert texts_of(kinesis.client.get_records(ShardIterator=empty["NextShardIterator"])) == ["d"]


# Shards


def test_a_shard_that_splits_is_read_to_its_end_which_names_its_children(kinesis: KinesisService) -> None:
    name = kinesis.create()
    (before,) = kinesis.put(name, "a")
    iterator = kinesis.iterator(name, FIRST)
    kinesis.client.split_shard(StreamName=name, ShardToSplit=FIRST, NewStartingHashKey=HALF)
    kinesis.settle(name)
    parent, *children = kinesis.shards(name)
    assert [child["ParentShardId"] for child in children] == [FIRST, FIRST]
    assert not any("AdjacentParentShardId" in child for child in children)
    assert are_whole(children)
    assert owned(children)[1][0] == int(HALF)
    ending = int(parent["SequenceNumberRange"]["EndingSequenceNumber"])
    if kinesis.name != "kinesis-local":  # where it is 9223372036854775807, below the shard's start
        assert ending > int(before["SequenceNumber"])
    page = kinesis.client.get_records(ShardIterator=iterator)
    if texts_of(page) and "NextShardIterator" in page:
        page = kinesis.client.get_records(ShardIterator=page["NextShardIterator"])
    assert "NextShardIterator" not in page
    assert {child["ShardId"]: child["ParentShards"] for child in page["ChildShards"]} == {
        child["ShardId"]: [FIRST] for child in children
    }
    for hash_key in (0, int(HALF)):
        (after,) = kinesis.put(name, "b", hash_key)
        assert after["ShardId"] != FIRST
        assert int(after["SequenceNumber"]) > int(before["SequenceNumber"])
    assert kinesis.texts(name, FIRST) == ["a"]
    assert kinesis.texts(name, FIRST, "LATEST") == []


def test_shards_that_merge_have_one_child(kinesis: KinesisService) -> None:
    name = kinesis.create(shards=3)
    first, second, third = (shard["ShardId"] for shard in kinesis.shards(name))
    merge = kinesis.client.merge_shards
    assert is_invalid(merge, StreamName=name, ShardToMerge=first, AdjacentShardToMerge=third)
    merge(StreamName=name, ShardToMerge=first, AdjacentShardToMerge=second)  # kinesis-local wants the lower one first
    kinesis.settle(name)
    child = kinesis.shards(name)[-1]
    assert (child["ParentShardId"], child["AdjacentParentShardId"]) == (first, second)
    assert are_whole(kinesis.shards(name, "AT_LATEST"))
    for parent in (first, second):
        (following,) = kinesis.page(name, parent)["ChildShards"]
        assert (following["ShardId"], {*following["ParentShards"]}) == (child["ShardId"], {first, second})


@pytest.mark.parametrize(("before", "after"), [(2, 4), (4, 2)])
def test_the_number_of_shards_is_changed(kinesis: KinesisService, before: int, after: int) -> None:
    name = kinesis.create(before)
    kinesis.put(name, "a")
    update = kinesis.client.update_shard_count
    answer = update(StreamName=name, TargetShardCount=after, ScalingType="UNIFORM_SCALING")
    assert (answer["CurrentShardCount"], answer["TargetShardCount"]) == (before, after)
    kinesis.settle(name)
    shards = kinesis.shards(name, "AT_LATEST")
    assert len(shards) == kinesis.summary(name)["OpenShardCount"] == after
    assert are_whole(shards)
    assert kinesis.texts(name, FIRST) == ["a"]
    code, _ = refused(update, StreamName=name, TargetShardCount=2 * after + 1, ScalingType="UNIFORM_SCALING")
    # AWS: LimitExceededException.
    assert code in {"LimitExceededException", "InvalidArgumentException"}


def test_shards_are_listed_in_pages_and_by_what_they_are(kinesis: KinesisService) -> None:
    name = kinesis.create(shards=3)
    ids = [shard["ShardId"] for shard in kinesis.shards(name)]
    page = kinesis.client.list_shards(StreamName=name, MaxResults=2)
    rest = kinesis.client.list_shards(NextToken=page["NextToken"])
    assert [shard["ShardId"] for shard in [*page["Shards"], *rest["Shards"]]] == ids
    assert "NextToken" not in rest
    kinesis.client.split_shard(StreamName=name, ShardToSplit=ids[0], NewStartingHashKey="1000")
    kinesis.settle(name)
    everything = [shard["ShardId"] for shard in kinesis.shards(name)]
    assert [shard["ShardId"] for shard in kinesis.shards(name, "AT_LATEST")] == everything[1:]
    assert [shard["ShardId"] for shard in kinesis.shards(name, "AFTER_SHARD_ID", ShardId=ids[2])] == everything[3:]
    start = kinesis.client.list_shards(StreamName=name, ExclusiveStartShardId=ids[1])["Shards"]
    assert [shard["ShardId"] for shard in start] == everything[2:]
    assert is_invalid(kinesis.shards, name, "AFTER_SHARD_ID")
    assert is_invalid(kinesis.shards, name, "OTHER")


# Consumers


def test_consumers_are_registered_by_name(kinesis: KinesisService) -> None:
    client, name, consumer = kinesis.client, kinesis.create(), unique("consumer")
    arn = kinesis.arn(name)
    registered = client.register_stream_consumer(StreamARN=arn, ConsumerName=consumer)["Consumer"]
    assert re.fullmatch(rf"{arn}/consumer/{consumer}:\d+", registered["ConsumerARN"])

    def described(**by: str) -> Any:
        return client.describe_stream_consumer(**by)["ConsumerDescription"]

    wait_for("the consumer", lambda: described(ConsumerARN=registered["ConsumerARN"])["ConsumerStatus"] == "ACTIVE")
    assert described(StreamARN=arn, ConsumerName=consumer)["StreamARN"] == arn
    (listed,) = client.list_stream_consumers(StreamARN=arn)["Consumers"]
    assert listed["ConsumerName"] == consumer
    assert kinesis.summary(name)["ConsumerCount"] == 1
    assert refused(client.register_stream_consumer, StreamARN=arn, ConsumerName=consumer) == IN_USE
    client.deregister_stream_consumer(StreamARN=arn, ConsumerName=consumer)
    wait_for("the consumer's end", lambda: not client.list_stream_consumers(StreamARN=arn)["Consumers"])
