"""The simulator's streams: lineage, sequence numbers, listings, positions, what is trimmed."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import pytest

from support.simulated import START_MS, RefusedError, Simulated
from tailrace_simulator.aws_error import AwsError

HOUR_S = 3600


def hash_of(item_id: str) -> int:
    return int.from_bytes(hashlib.md5(f"S{item_id}".encode()).digest()[:4], "big")


def ids_of(records: list[Any]) -> list[str]:
    return [record["dynamodb"]["Keys"]["id"]["S"] for record in records]


def refusal_of(simulated: Simulated, operation: str, **fields: Any) -> str:
    with pytest.raises(RefusedError) as caught:
        simulated.call(operation, **fields)
    return caught.value.code


# Lineage


def test_a_split_shard_is_closed_and_its_children_share_its_keys() -> None:
    simulated = Simulated()
    arn = simulated.create()
    simulated.put(*map(str, range(50)))
    split = simulated.act("split", table="orders", at=0.2)
    simulated.put(*map(str, range(50)), v={"N": "1"})
    shards = {shard["ShardId"]: shard for shard in simulated.shards(arn)}
    assert set(shards) == {split["parent"], *split["children"]}
    assert "EndingSequenceNumber" in shards[split["parent"]]["SequenceNumberRange"]
    assert len(simulated.read_shard(arn, split["parent"])) == 50
    edge = round(2**32 * 0.2)
    for child, low, high in zip(split["children"], (0, edge), (edge, 2**32), strict=True):
        assert shards[child]["ParentShardId"] == split["parent"]
        assert "EndingSequenceNumber" not in shards[child]["SequenceNumberRange"]
        assert ids_of(simulated.read_shard(arn, child)) == [
            str(number) for number in range(50) if low <= hash_of(str(number)) < high
        ]


def test_a_shard_rolls_over_to_one_child() -> None:
    simulated = Simulated()
    arn = simulated.create()
    simulated.put("a")
    done = simulated.act("rollover", table="orders")
    simulated.put("b")
    (child,) = done["children"]
    assert ids_of(simulated.read_shard(arn, done["parent"])) == ["a"]
    assert ids_of(simulated.read_shard(arn, child)) == ["b"]
    assert [shard["ShardId"] for shard in simulated.shards(arn, ShardFilter=child_shards(done["parent"]))] == [child]


def child_shards(shard_id: str) -> dict[str, str]:
    return {"Type": "CHILD_SHARDS", "ShardId": shard_id}


def test_shards_roll_over_every_four_hours() -> None:
    simulated = Simulated()
    arn = simulated.create()
    simulated.pass_s(9 * HOUR_S)
    shards = simulated.shards(arn)
    assert [shard.get("ParentShardId") for shard in shards] == [None, shards[0]["ShardId"], shards[1]["ShardId"]]
    assert [int(shard["ShardId"][8:28]) for shard in shards] == [START_MS + n * 4 * HOUR_S * 1000 for n in range(3)]


def test_only_an_open_shard_of_the_table_can_be_split() -> None:
    simulated = Simulated()
    simulated.create()
    parent = simulated.act("split", table="orders")["parent"]
    for table, shard, code in (
        ("orders", parent, "InvalidAction"),
        ("orders", "nothing", "ResourceNotFoundException"),
        ("none", None, "ResourceNotFoundException"),
    ):
        with pytest.raises(AwsError) as caught:
            simulated.act("split", table=table, shard=shard)
        assert caught.value.code == code


def test_a_stream_may_begin_with_many_shards() -> None:
    simulated = Simulated()
    simulated.settings(shards=150)
    arn = simulated.create()
    simulated.put(*map(str, range(300)))
    first = simulated.call("DescribeStream", StreamArn=arn)["StreamDescription"]
    assert len(first["Shards"]) == 100
    last = first["LastEvaluatedShardId"]
    assert last == first["Shards"][-1]["ShardId"]
    rest = simulated.call("DescribeStream", StreamArn=arn, ExclusiveStartShardId=last)["StreamDescription"]
    assert "LastEvaluatedShardId" not in rest
    shards = [shard["ShardId"] for shard in (*first["Shards"], *rest["Shards"])]
    assert len(set(shards)) == 150
    assert sum(len(simulated.read_shard(arn, shard)) for shard in shards) == 300


# Sequence numbers and times


def test_sequence_numbers_grow_from_21_to_40_digits_and_never_fall_back() -> None:
    simulated = Simulated()
    simulated.settings(digit_every=10)
    arn = simulated.create()
    rng = random.Random(1)
    for number in range(400):
        simulated.put(str(number))
        if rng.random() < 0.1:
            simulated.act("rollover", table="orders")
    shards = simulated.shards(arn)
    numbers = [
        int(record["dynamodb"]["SequenceNumber"])
        for shard in shards
        for record in simulated.read_shard(arn, shard["ShardId"])
    ]
    assert sorted(set(numbers)) == sorted(numbers)
    assert {len(str(number)) for number in numbers} == set(range(21, 41))
    by_time = {
        record["dynamodb"]["Keys"]["id"]["S"]: int(record["dynamodb"]["SequenceNumber"])
        for shard in shards
        for record in simulated.read_shard(arn, shard["ShardId"])
    }
    assert [by_time[str(number)] for number in range(400)] == sorted(numbers)


def test_a_closed_shard_ends_at_or_after_its_last_record_and_before_its_children() -> None:
    simulated = Simulated()
    arn = simulated.create()
    simulated.put("a", "b")
    simulated.act("split", table="orders")
    parent, *children = simulated.shards(arn)
    last = simulated.read_shard(arn, parent["ShardId"])[-1]["dynamodb"]["SequenceNumber"]
    ending = int(parent["SequenceNumberRange"]["EndingSequenceNumber"])
    assert int(parent["SequenceNumberRange"]["StartingSequenceNumber"]) <= int(last) <= ending
    assert all(int(child["SequenceNumberRange"]["StartingSequenceNumber"]) > ending for child in children)


def test_creation_times_are_whole_seconds_off_by_the_clock_skew_of_their_shard() -> None:
    simulated = Simulated()
    arn = simulated.create()
    simulated.put("a")
    simulated.settings(skew_s=30)
    simulated.act("rollover", table="orders")
    simulated.put("b", "c")
    straight, skewed = [
        [record["dynamodb"]["ApproximateCreationDateTime"] for record in simulated.read_shard(arn, shard["ShardId"])]
        for shard in simulated.shards(arn)
    ]
    assert straight == [START_MS // 1000]
    assert skewed[0] == skewed[1] != START_MS // 1000
    assert abs(skewed[0] - START_MS // 1000) <= 31
    assert isinstance(skewed[0], int)


# Pages


def test_a_page_ends_at_a_megabyte() -> None:
    simulated = Simulated()
    arn = simulated.create(view_type="NEW_IMAGE")
    simulated.put(*"abcdefgh", v={"S": "x" * 300_000})
    (shard,) = simulated.shards(arn)
    found, after = simulated.read(simulated.iterator(arn, shard["ShardId"]))
    assert found == ["a", "b", "c"]
    assert after
    assert simulated.read(after)[0] == ["d", "e", "f"]


def test_a_record_larger_than_a_page_is_a_page_of_its_own() -> None:
    simulated = Simulated()
    arn = simulated.create()
    for value in "xy":
        simulated.put("a", v={"S": value * 390_000}, w={"L": [{"S": "\u0001" * 1000}] * 5})
    simulated.settings(page_bytes=100)
    (shard,) = simulated.shards(arn)
    found, after = simulated.read(simulated.iterator(arn, shard["ShardId"]))
    assert found == ["a"]
    assert after
    assert simulated.read(after)[0] == ["a"]


def test_an_empty_or_short_page_loses_nothing() -> None:
    simulated = Simulated()
    arn = simulated.create()
    simulated.put(*map(str, range(30)))
    simulated.act("rollover", table="orders")
    iterator: str | None = simulated.iterator(arn, simulated.shards(arn)[0]["ShardId"])
    pages = []
    for fault in ("empty", "short", "empty", "late_end"):
        assert iterator
        simulated.fail("GetRecords", fault)
        found, iterator = simulated.read(iterator)
        pages.append(found)
    assert iterator
    assert simulated.read(iterator) == ([], None)
    assert pages[0] == pages[2] == []
    assert 1 <= len(pages[1]) <= 10
    assert pages[1] + pages[3] == list(map(str, range(30)))


# Listings


def test_listings_lag_behind_for_some_calls_and_then_tell_the_truth() -> None:
    seen = set()
    for seed in range(20):
        simulated = Simulated(seed)
        arn = simulated.create()
        simulated.settings(listing_lag_calls=4, describe_stream_per_second=0)
        split = simulated.act("split", table="orders")
        for _ in range(5):
            shards = {shard["ShardId"]: shard for shard in simulated.shards(arn)}
            closed = "EndingSequenceNumber" in shards[split["parent"]]["SequenceNumberRange"]
            seen.add((closed, sum(child in shards for child in split["children"])))
        assert closed
        assert len(shards) == 3
    assert seen == {(closed, children) for closed in (False, True) for children in (0, 1, 2)}


def test_a_listing_may_miss_a_shard_for_a_while() -> None:
    simulated = Simulated()
    simulated.settings(shards=5, listing_lag_calls=2, describe_stream_per_second=0)
    arn = simulated.create()
    for _ in range(3):
        simulated.shards(arn)
    simulated.fail("DescribeStream", "hole")
    counts = [len(simulated.shards(arn)) for _ in range(4)]
    assert counts[0] == 4
    assert counts[-1] == 5
    assert counts == sorted(counts)


def test_a_shard_that_no_listing_shows_yet_can_be_read() -> None:
    simulated = Simulated(3)
    arn = simulated.create()
    simulated.settings(listing_lag_calls=9)
    children = simulated.act("split", table="orders")["children"]
    assert len(simulated.shards(arn)) < 3
    for child in children:
        assert simulated.read(simulated.iterator(arn, child))[0] == []


# Iterators and retention


def test_an_iterator_lives_for_fifteen_minutes() -> None:
    simulated = Simulated()
    arn = simulated.create()
    simulated.put("a")
    iterator = simulated.iterator(arn, simulated.shards(arn)[0]["ShardId"])
    simulated.pass_s(15 * 60)
    assert simulated.read(iterator)[0] == ["a"]
    simulated.pass_s(1)
    assert refusal_of(simulated, "GetRecords", ShardIterator=iterator) == "ExpiredIteratorException"


def test_records_are_kept_for_a_day() -> None:
    simulated = Simulated()
    simulated.settings(rollover_s=0)
    arn = simulated.create()
    simulated.put("old")
    (shard,) = simulated.shards(arn)
    (old,) = simulated.read_shard(arn, shard["ShardId"])
    simulated.pass_s(10)
    early = simulated.iterator(arn, shard["ShardId"])
    simulated.pass_s(24 * HOUR_S - 11)
    assert len(simulated.read_shard(arn, shard["ShardId"])) == 1
    simulated.put("new")
    simulated.pass_s(2)
    simulated.settings(iterator_life_s=10**6)
    assert ids_of(simulated.read_shard(arn, shard["ShardId"])) == ["new"]
    assert refusal_of(simulated, "GetRecords", ShardIterator=early) == "TrimmedDataAccessException"
    position = {
        "StreamArn": arn,
        "ShardId": shard["ShardId"],
        "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
        "SequenceNumber": old["dynamodb"]["SequenceNumber"],
    }
    assert refusal_of(simulated, "GetShardIterator", **position) == "TrimmedDataAccessException"


def test_a_reader_that_is_up_to_date_does_not_mind_trimming() -> None:
    simulated = Simulated()
    arn = simulated.create()
    simulated.put("a")
    _, after = simulated.read(simulated.iterator(arn, simulated.shards(arn)[0]["ShardId"]))
    simulated.act("trim", table="orders")
    simulated.put("b")
    assert after
    assert simulated.read(after)[0] == ["b"]


def test_a_closed_shard_goes_away_with_its_last_record() -> None:
    simulated = Simulated()
    arn = simulated.create()
    simulated.put("a")
    done = simulated.act("rollover", table="orders")
    simulated.act("trim", table="orders", shard=done["parent"])
    assert [shard["ShardId"] for shard in simulated.shards(arn)] == done["children"]
    position = {"StreamArn": arn, "ShardId": done["parent"], "ShardIteratorType": "TRIM_HORIZON"}
    assert refusal_of(simulated, "GetShardIterator", **position) == "ResourceNotFoundException"


def test_what_is_trimmed_by_age_keeps_what_is_younger() -> None:
    simulated = Simulated()
    arn = simulated.create()
    simulated.put("a")
    simulated.pass_s(10)
    simulated.put("b")
    simulated.act("trim", table="orders", older_than_s=5)
    assert ids_of(simulated.read_shard(arn, simulated.shards(arn)[0]["ShardId"])) == ["b"]


def test_a_stream_that_was_switched_off_goes_away_after_a_day() -> None:
    simulated = Simulated()
    first = simulated.create()
    simulated.act("switch", table="orders")
    second = simulated.act("switch", table="orders", view_type="KEYS_ONLY")["stream_arn"]
    assert first != second
    simulated.act("advance", seconds=23 * HOUR_S)
    assert simulated.call("DescribeStream", StreamArn=first)["StreamDescription"]["StreamStatus"] == "DISABLED"
    simulated.act("advance", seconds=2 * HOUR_S)
    assert refusal_of(simulated, "DescribeStream", StreamArn=first) == "ResourceNotFoundException"
    assert simulated.call("DescribeStream", StreamArn=second)["StreamDescription"]["StreamStatus"] == "ENABLED"


def test_a_sequence_number_of_another_shard_is_refused() -> None:
    simulated = Simulated()
    arn = simulated.create()
    simulated.put("a")
    done = simulated.act("rollover", table="orders")
    simulated.put("b")
    (record,) = simulated.read_shard(arn, done["children"][0])
    position = {
        "StreamArn": arn,
        "ShardId": done["parent"],
        "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
        "SequenceNumber": record["dynamodb"]["SequenceNumber"],
    }
    assert refusal_of(simulated, "GetShardIterator", **position) == "ValidationException"


# Time to Live


def test_an_item_whose_time_is_over_is_deleted_by_the_service() -> None:
    simulated = Simulated()
    arn = simulated.create()
    simulated.call(
        "UpdateTimeToLive", TableName="orders", TimeToLiveSpecification={"Enabled": True, "AttributeName": "until"}
    )
    now_s = START_MS // 1000
    simulated.put("over", until={"N": str(now_s - 1)})
    simulated.put("later", until={"N": str(now_s + 60)})
    simulated.put("text", until={"S": str(now_s - 1)})
    simulated.put("ancient", until={"N": "1"})
    assert simulated.act("expire", table="orders") == {"deleted": 1}
    *_, last = simulated.read_shard(arn, simulated.shards(arn)[0]["ShardId"])
    assert (last["eventName"], last["dynamodb"]["Keys"]) == ("REMOVE", {"id": {"S": "over"}})
    assert last["userIdentity"] == {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}
    simulated.act("advance", seconds=61)
    assert simulated.act("expire", table="orders") == {"deleted": 1}
