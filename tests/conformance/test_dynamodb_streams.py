"""The suite's part for streams: what holds for the simulator holds for DynamoDB Local."""

from __future__ import annotations

import time
from typing import Any

import pytest

from support.aws_service import Service, refused

NOT_FOUND = ("ResourceNotFoundException", 400)
INVALID = ("ValidationException", 400)
UNKNOWN_SHARD = "shardId-00000000000000000000-00000000"


def changes(records: list[Any]) -> list[tuple[str, Any, Any]]:
    return [
        (record["eventName"], record["dynamodb"].get("OldImage"), record["dynamodb"].get("NewImage"))
        for record in records
    ]


def numbers(records: list[Any]) -> list[str]:
    return [record["dynamodb"]["SequenceNumber"] for record in records]


def ids(records: list[Any]) -> list[str]:
    return [record["dynamodb"]["Keys"]["id"]["S"] for record in records]


def switch_off(service: Service, table: str) -> None:
    service.tables.update_table(TableName=table, StreamSpecification={"StreamEnabled": False})


def switch_on(service: Service, table: str, view_type: str = "NEW_IMAGE") -> None:
    specification = {"StreamEnabled": True, "StreamViewType": view_type}
    service.tables.update_table(TableName=table, StreamSpecification=specification)


# What is in a stream


def test_every_change_is_in_the_stream_in_order(service: Service) -> None:
    table = service.create()
    service.put(table, "a", v={"N": "1.0"})
    service.update(table, "a", "SET v = :v", v={"SS": ["b", "a"]})
    service.tables.delete_item(TableName=table, Key={"id": {"S": "a"}})
    records = service.records(service.shard(table))
    first = {"id": {"S": "a"}, "v": {"N": "1"}}
    second = {"id": {"S": "a"}, "v": {"SS": ["a", "b"]}}
    assert changes(records) == [("INSERT", None, first), ("MODIFY", first, second), ("REMOVE", second, None)]
    assert ids(records) == ["a", "a", "a"]
    for each in numbers(records):
        assert each.isdecimal()
        assert 21 <= len(each) <= 40
    assert sorted(map(int, set(numbers(records)))) == list(map(int, numbers(records)))
    assert len({record["eventID"] for record in records}) == 3


def test_a_record_says_what_it_is(service: Service) -> None:
    table = service.create(sort="N")
    service.put(table, "a", at={"N": "1"})
    (record,) = service.records(service.shard(table))
    assert (record["eventSource"], record["eventVersion"]) == ("aws:dynamodb", "1.1")
    assert record["awsRegion"]
    change = record["dynamodb"]
    assert change["Keys"] == {"id": {"S": "a"}, "at": {"N": "1"}}
    assert change["StreamViewType"] == "NEW_AND_OLD_IMAGES"
    assert change["SizeBytes"] == 2 * (2 + 1 + 2 + 2)
    created_s = change["ApproximateCreationDateTime"].timestamp()
    assert created_s == int(created_s)
    assert -61 <= created_s - time.time() <= 1
    assert "userIdentity" not in record


def test_a_write_that_changes_nothing_is_not_in_the_stream(service: Service) -> None:
    table = service.create()
    service.put(table, "a", v={"N": "1"}, s={"SS": ["a", "b"]})
    service.put(table, "a", v={"N": "1.0"}, s={"SS": ["b", "a"]})
    service.update(table, "a", "SET v = :v", v={"N": "1"})
    service.tables.delete_item(TableName=table, Key={"id": {"S": "none"}})
    assert len(service.records(service.shard(table))) == 1


@pytest.mark.parametrize(
    ("view_type", "has_old", "has_new"),
    [
        ("NEW_AND_OLD_IMAGES", True, True),
        ("NEW_IMAGE", False, True),
        ("OLD_IMAGE", True, False),
        ("KEYS_ONLY", False, False),
    ],
)
def test_each_view_type_carries_its_images(service: Service, *, view_type: str, has_old: bool, has_new: bool) -> None:
    table = service.create(view_type=view_type)
    service.put(table, "a")
    service.put(table, "a", v={"BOOL": True})
    service.tables.delete_item(TableName=table, Key={"id": {"S": "a"}})
    old, new = {"id": {"S": "a"}}, {"id": {"S": "a"}, "v": {"BOOL": True}}
    assert changes(service.records(service.shard(table))) == [
        ("INSERT", None, old if has_new else None),
        ("MODIFY", old if has_old else None, new if has_new else None),
        ("REMOVE", new if has_old else None, None),
    ]


# Positions


def test_reading_starts_where_the_iterator_says(service: Service) -> None:
    table = service.create()
    shard = service.shard(table)
    for each in "abc":
        service.put(table, each)
    latest = service.iterator(shard, "LATEST")
    second = numbers(service.records(shard))[1]
    service.put(table, "d")
    assert ids(service.records(shard, "AT_SEQUENCE_NUMBER", SequenceNumber=second)) == ["b", "c", "d"]
    assert ids(service.records(shard, "AFTER_SEQUENCE_NUMBER", SequenceNumber=second)) == ["c", "d"]
    assert ids(service.streams.get_records(ShardIterator=latest)["Records"]) == ["d"]


def test_an_iterator_can_be_used_again_and_gives_the_same(service: Service) -> None:
    table = service.create()
    shard = service.shard(table)
    for each in "abc":
        service.put(table, each)
    iterator = service.iterator(shard)
    first = service.streams.get_records(ShardIterator=iterator, Limit=2)
    assert ids(first["Records"]) == ["a", "b"]
    assert ids(service.streams.get_records(ShardIterator=iterator, Limit=2)["Records"]) == ["a", "b"]
    rest = service.streams.get_records(ShardIterator=first["NextShardIterator"])
    assert ids(rest["Records"]) == ["c"]
    assert service.streams.get_records(ShardIterator=rest["NextShardIterator"])["Records"] == []


def test_a_page_has_at_most_a_thousand_records(service: Service) -> None:
    table = service.create(view_type="KEYS_ONLY")
    for start in range(0, 1010, 25):
        puts = [{"PutRequest": {"Item": {"id": {"S": str(start + number)}}}} for number in range(25)]
        service.tables.batch_write_item(RequestItems={table: puts})
    page = service.streams.get_records(ShardIterator=service.iterator(service.shard(table)))
    assert len(page["Records"]) == 1000
    assert len(service.streams.get_records(ShardIterator=page["NextShardIterator"])["Records"]) == 25


@pytest.mark.parametrize(
    "more",
    [
        {"ShardIteratorType": "AT_SEQUENCE_NUMBER"},
        {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER"},
        {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": "1"},
        {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": "9" * 41},
        {"ShardIteratorType": "LATEST", "SequenceNumber": "1" * 21},
    ],
    ids=str,
)
def test_an_impossible_position_is_refused(service: Service, more: dict[str, str]) -> None:
    shard = service.shard(service.create())
    assert refused(service.streams.get_shard_iterator, **shard, **more) == INVALID


def test_a_damaged_iterator_is_refused(service: Service) -> None:
    iterator = service.iterator(service.shard(service.create()))
    for damaged in ("nothing", iterator[:-8] + "AAAAAAA=", ""):
        assert refused(service.streams.get_records, ShardIterator=damaged) == INVALID
    assert refused(service.streams.get_records) == INVALID
    for limit in (0, 1001):
        assert refused(service.streams.get_records, ShardIterator=iterator, Limit=limit) == INVALID


def test_a_stream_or_shard_that_is_not_there_is_not_found(service: Service) -> None:
    shard = service.shard(service.create())
    for missing in ({"StreamArn": "nothing"}, {"StreamArn": shard["StreamArn"] + "9"}, {"ShardId": UNKNOWN_SHARD}):
        assert refused(service.iterator, shard | missing) == NOT_FOUND
    for arn in ("nothing", shard["StreamArn"] + "9"):
        assert refused(service.streams.describe_stream, StreamArn=arn) == NOT_FOUND


# Listings


def test_a_stream_is_described(service: Service) -> None:
    table = service.create(view_type="OLD_IMAGE")
    arn = service.stream_arn(table)
    stream = service.streams.describe_stream(StreamArn=arn)["StreamDescription"]
    (shard,) = stream.pop("Shards")
    assert (stream["StreamArn"], stream["TableName"], stream["StreamStatus"]) == (arn, table, "ENABLED")
    assert (stream["StreamViewType"], stream["StreamLabel"]) == ("OLD_IMAGE", arn.split("/")[-1])
    assert stream["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
    assert abs(stream["CreationRequestDateTime"].timestamp() - time.time()) < 5
    assert "LastEvaluatedShardId" not in stream
    assert shard.keys() == {"ShardId", "SequenceNumberRange"}
    assert shard["SequenceNumberRange"].keys() == {"StartingSequenceNumber"}


def test_a_listing_goes_on_after_a_shard(service: Service) -> None:
    shard = service.shard(service.create())

    def listed(**more: Any) -> list[str]:
        stream = service.streams.describe_stream(StreamArn=shard["StreamArn"], **more)["StreamDescription"]
        return [each["ShardId"] for each in stream["Shards"]]

    assert listed(ExclusiveStartShardId=shard["ShardId"]) == []
    assert listed(ExclusiveStartShardId=UNKNOWN_SHARD) == [shard["ShardId"]]
    assert listed(ShardFilter={"Type": "CHILD_SHARDS", "ShardId": shard["ShardId"]}) == []


@pytest.mark.parametrize("more", [{"Limit": 0}, {"Limit": 101}, {"ShardFilter": {"Type": "OTHER"}}], ids=str)
def test_an_impossible_listing_is_refused(service: Service, more: dict[str, Any]) -> None:
    arn = service.stream_arn(service.create())
    assert refused(service.streams.describe_stream, StreamArn=arn, **more) == INVALID


def test_streams_are_listed_by_table(service: Service) -> None:
    table = service.create()
    switch_off(service, table)
    first = service.stream_arn(table)
    switch_on(service, table)
    streams = service.streams.list_streams(TableName=table)["Streams"]
    assert {stream["StreamArn"] for stream in streams} == {first, service.stream_arn(table)}
    assert {stream["TableName"] for stream in streams} == {table}
    page = service.streams.list_streams(TableName=table, Limit=1)
    rest = service.streams.list_streams(TableName=table, ExclusiveStartStreamArn=page["LastEvaluatedStreamArn"])
    pages = [*page["Streams"], *rest["Streams"]]
    assert len(page["Streams"]) == 1
    assert sorted(stream["StreamArn"] for stream in pages) == sorted(stream["StreamArn"] for stream in streams)
    assert service.streams.list_streams(TableName="none")["Streams"] == []


# Ends


def test_a_stream_that_is_switched_off_can_be_read_to_its_end(service: Service) -> None:
    table = service.create()
    shard = service.shard(table)
    service.put(table, "a")
    latest = service.iterator(shard, "LATEST")
    service.put(table, "b")
    switch_off(service, table)
    service.put(table, "c")
    page = service.streams.get_records(ShardIterator=service.iterator(shard))
    assert ids(page["Records"]) == ["a", "b"]
    assert "NextShardIterator" not in page
    assert ids(service.streams.get_records(ShardIterator=latest)["Records"]) == ["b"]
    stream = service.streams.describe_stream(StreamArn=shard["StreamArn"])["StreamDescription"]
    assert stream["StreamStatus"] == "DISABLED"
    (listed,) = stream["Shards"]
    assert int(listed["SequenceNumberRange"]["EndingSequenceNumber"]) >= int(numbers(page["Records"])[-1])
    described = service.tables.describe_table(TableName=table)["Table"]
    assert described["LatestStreamArn"] == shard["StreamArn"]
    assert "StreamSpecification" not in described


def test_a_stream_that_is_switched_on_again_is_another(service: Service) -> None:
    table = service.create()
    shard = service.shard(table)
    service.put(table, "a")
    switch_off(service, table)
    service.put(table, "b")
    switch_on(service, table)
    service.put(table, "c")
    assert service.stream_arn(table) != shard["StreamArn"]
    assert ids(service.records(shard)) == ["a"]
    assert ids(service.records(service.shard(table))) == ["c"]


def test_a_stream_is_not_switched_on_or_off_twice(service: Service) -> None:
    table = service.create()
    assert refused(switch_on, service, table) == INVALID
    switch_off(service, table)
    assert refused(switch_off, service, table) == INVALID
    assert refused(service.tables.update_table, TableName=table) == INVALID


def test_the_stream_of_a_deleted_table_can_be_read_to_its_end(service: Service) -> None:
    table = service.create()
    shard = service.shard(table)
    service.put(table, "a")
    service.tables.delete_table(TableName=table)
    page = service.streams.get_records(ShardIterator=service.iterator(shard))
    assert ids(page["Records"])[0] == "a"
    assert "NextShardIterator" not in page
