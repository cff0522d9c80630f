"""The simulator's Kinesis: shards and their descent, positions, pages, limits, faults, growth."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from support.simulated import RefusedError
from support.simulated_kinesis import ARN, STREAM, SimulatedStream, data_of

FIRST, SECOND, THIRD = (f"shardId-{number:012}" for number in range(3))
HASH_KEYS = 2**128


def refused(call: Callable[..., Any], *arguments: Any, **fields: Any) -> str:
    with pytest.raises(RefusedError) as caught:
        call(*arguments, **fields)
    return caught.value.code


def test_a_record_goes_to_the_shard_that_owns_its_hash_key() -> None:
    stream = SimulatedStream(shards=4)
    ranges = [shard["HashKeyRange"] for shard in stream.listed()]
    assert [int(each["StartingHashKey"]) for each in ranges] == [HASH_KEYS * number // 4 for number in range(4)]
    assert int(ranges[-1]["EndingHashKey"]) == HASH_KEYS - 1
    for number, each in enumerate(ranges):
        for hash_key in each.values():
            assert stream.put_record("x", ExplicitHashKey=hash_key)["ShardId"] == f"shardId-{number:012}"
    # MD5 of "k" begins with 8c, in the third quarter.
    assert stream.put_record("x", key="k")["ShardId"] == THIRD


def test_sequence_numbers_have_56_digits_and_grow_from_a_shard_to_its_children() -> None:
    stream = SimulatedStream()
    numbers = [stream.put_record("x")["SequenceNumber"] for _ in range(3)]
    for _ in range(3):  # all within one second
        stream.act("split", stream=STREAM)
        numbers.append(stream.put_record("x")["SequenceNumber"])
    stream.act("merge", stream=STREAM)
    numbers.append(stream.put_record("x")["SequenceNumber"])
    assert {len(number) for number in numbers} == {56}
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == len(numbers)


def test_the_records_of_a_closed_shard_lie_between_its_starting_and_its_ending_number() -> None:
    stream = SimulatedStream()
    number = stream.put_record("x")["SequenceNumber"]
    stream.act("split", stream=STREAM)
    numbers = stream.listed()[0]["SequenceNumberRange"]
    assert numbers["StartingSequenceNumber"] < number < numbers["EndingSequenceNumber"]
    assert stream.texts(FIRST, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers["StartingSequenceNumber"]) == ["x"]
    assert stream.texts(FIRST, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers["EndingSequenceNumber"]) == []


def test_a_merged_shard_has_two_parents_and_both_ends_name_it() -> None:
    stream = SimulatedStream(shards=2)
    stream.kinesis("MergeShards", ShardToMerge=SECOND, AdjacentShardToMerge=FIRST)
    child = stream.listed()[2]
    assert (child["ParentShardId"], child["AdjacentParentShardId"]) == (SECOND, FIRST)
    for parent in (FIRST, SECOND):
        page = stream.page(stream.position(parent))
        assert "NextShardIterator" not in page
        (following,) = page["ChildShards"]
        assert (following["ShardId"], following["ParentShards"]) == (THIRD, [SECOND, FIRST])
        assert following["HashKeyRange"] == {"StartingHashKey": "0", "EndingHashKey": f"{HASH_KEYS - 1}"}


@pytest.mark.parametrize(("before", "after"), [(1, 2), (4, 2), (4, 3), (6, 4), (5, 7), (3, 3)])
def test_an_updated_shard_count_leaves_shards_of_the_same_size_and_every_hash_key_owned(
    before: int, after: int
) -> None:
    stream = SimulatedStream(shards=before)
    stream.kinesis("UpdateShardCount", TargetShardCount=after, ScalingType="UNIFORM_SCALING")
    shards = stream.listed(ShardFilter={"Type": "AT_LATEST"})
    found = sorted(int(shard["HashKeyRange"]["StartingHashKey"]) for shard in shards)
    assert found == [HASH_KEYS * number // after for number in range(after)]


def test_an_updated_shard_count_is_at_most_twice_and_at_least_half() -> None:
    stream = SimulatedStream(shards=4)
    for target in (1, 9):
        code = refused(stream.kinesis, "UpdateShardCount", TargetShardCount=target, ScalingType="UNIFORM_SCALING")
        assert code == "LimitExceededException"


def test_shards_are_listed_by_what_they_were_at_a_time() -> None:
    stream = SimulatedStream(shards=2)
    stream.pass_s(60)
    stream.act("split", stream=STREAM, shard=FIRST)
    split_s = stream.now_ms / 1000
    stream.pass_s(60)

    def listed(kind: str, **more: Any) -> list[int]:
        shards = stream.listed(ShardFilter={"Type": kind, **more})
        return [int(shard["ShardId"].removeprefix("shardId-")) for shard in shards]

    assert listed("FROM_TRIM_HORIZON") == [0, 1, 2, 3]
    assert listed("AT_TRIM_HORIZON") == [0, 1]
    assert listed("AT_LATEST") == [1, 2, 3]
    assert listed("AFTER_SHARD_ID", ShardId=SECOND) == [2, 3]
    assert listed("AT_TIMESTAMP", Timestamp=split_s - 1) == [0, 1]
    assert listed("AT_TIMESTAMP", Timestamp=split_s + 1) == [1, 2, 3]
    assert listed("FROM_TIMESTAMP", Timestamp=split_s - 1) == [0, 1, 2, 3]
    assert listed("FROM_TIMESTAMP", Timestamp=split_s + 1) == [1, 2, 3]
    assert refused(listed, "AT_TIMESTAMP") == "InvalidArgumentException"


def test_a_token_of_a_listing_keeps_its_filter_and_expires_after_five_minutes() -> None:
    stream = SimulatedStream(shards=3)
    stream.act("split", stream=STREAM, shard=FIRST)
    page = stream.kinesis("ListShards", MaxResults=2, ShardFilter={"Type": "AT_LATEST"})
    rest = stream.call("kinesis:ListShards", NextToken=page["NextToken"])
    assert [shard["ShardId"][-1] for shard in [*page["Shards"], *rest["Shards"]]] == ["1", "2", "3", "4"]
    assert "NextToken" not in rest
    assert refused(stream.kinesis, "ListShards", NextToken=page["NextToken"]) == "InvalidArgumentException"
    stream.pass_s(301)
    code = refused(stream.call, "kinesis:ListShards", NextToken=page["NextToken"])
    assert code == "ExpiredNextTokenException"


def test_an_iterator_lives_for_five_minutes_and_each_page_gives_a_new_one() -> None:
    stream = SimulatedStream()
    stream.put_record("a")
    iterator = stream.position(FIRST)
    stream.pass_s(300)
    following = stream.page(iterator)["NextShardIterator"]
    stream.pass_s(1)
    assert refused(stream.page, iterator) == "ExpiredIteratorException"
    stream.pass_s(299)
    assert stream.page(following)["Records"] == []


def test_an_iterator_of_a_stream_that_was_made_again_is_invalid() -> None:
    stream = SimulatedStream()
    iterator = stream.position(FIRST)
    stream.kinesis("DeleteStream")
    assert refused(stream.page, iterator) == "ResourceNotFoundException"
    stream.pass_s(1)
    stream.kinesis("CreateStream", ShardCount=1)
    assert refused(stream.page, iterator) == "InvalidArgumentException"


def test_a_stream_with_consumers_is_deleted_only_when_they_may_go_with_it() -> None:
    stream = SimulatedStream()
    stream.call("kinesis:RegisterStreamConsumer", StreamARN=ARN, ConsumerName="shop")
    assert refused(stream.kinesis, "DeleteStream") == "ResourceInUseException"
    stream.put_record("x")
    stream.kinesis("DeleteStream", EnforceConsumerDeletion=True)
    assert refused(stream.call, "kinesis:ListStreamConsumers", StreamARN=ARN) == "ResourceNotFoundException"


def test_a_page_tells_how_far_behind_it_is() -> None:
    stream = SimulatedStream()
    for text in "abc":
        stream.put_record(text)
        stream.pass_s(10)
    page = stream.page(stream.position(FIRST), Limit=2)
    assert [data_of(record) for record in page["Records"]] == ["a", "b"]
    assert page["MillisBehindLatest"] == 20_000
    assert stream.page(page["NextShardIterator"])["MillisBehindLatest"] == 0


def test_reading_starts_at_a_time() -> None:
    stream = SimulatedStream()
    for text in "abc":
        stream.put_record(text)
        stream.pass_s(10)
    began_s = stream.now_ms / 1000 - 30
    assert stream.texts(FIRST, "AT_TIMESTAMP", Timestamp=began_s + 5) == ["b", "c"]
    assert stream.texts(FIRST, "AT_TIMESTAMP", Timestamp=began_s + 10) == ["b", "c"]
    assert stream.texts(FIRST, "AT_TIMESTAMP", Timestamp=1) == ["a", "b", "c"]
    code = refused(stream.position, FIRST, "AT_TIMESTAMP", Timestamp=began_s + 100)
    assert code == "InvalidArgumentException"


def test_what_is_trimmed_is_passed_over_without_a_word() -> None:
    stream = SimulatedStream()
    number = stream.put_record("a")["SequenceNumber"]
    iterator = stream.position(FIRST)
    stream.put_record("b")
    stream.act("trim", stream=STREAM)
    stream.pass_s(1)
    stream.put_record("c")
    assert stream.texts(FIRST, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=number) == ["c"]
    assert [data_of(record) for record in stream.page(iterator)["Records"]] == ["c"]


def test_records_and_closed_shards_go_when_their_retention_is_over() -> None:
    stream = SimulatedStream()
    stream.put_record("a")
    stream.kinesis("IncreaseStreamRetentionPeriod", RetentionPeriodHours=48)
    stream.pass_s(30 * 3600)
    stream.act("split", stream=STREAM)
    assert stream.texts(FIRST) == ["a"]
    stream.kinesis("DecreaseStreamRetentionPeriod", RetentionPeriodHours=24)
    assert stream.texts(FIRST) == []
    stream.pass_s(25 * 3600)
    assert [shard["ParentShardId"] for shard in stream.listed()] == [FIRST, FIRST]
    assert refused(stream.position, FIRST) == "ResourceNotFoundException"


def test_a_shard_is_read_five_times_a_second() -> None:
    stream = SimulatedStream(shards=2)
    stream.settings(kinesis_reads_per_second=5)
    first, second = stream.position(FIRST), stream.position(SECOND)
    for _ in range(5):
        stream.page(first)
    assert refused(stream.page, first) == "ProvisionedThroughputExceededException"
    assert stream.page(second)
    stream.pass_s(1)
    assert stream.page(first)


def test_a_page_of_ten_megabytes_is_paid_for_with_five_seconds() -> None:
    stream = SimulatedStream()
    stream.settings(kinesis_read_bytes_per_second=2**21)
    entry = {"Data": b64encode(bytes(2**20 - 1)).decode(), "PartitionKey": "k"}
    for _ in range(2):
        stream.kinesis("PutRecords", Records=[entry] * 6)
    page = stream.page(stream.position(FIRST))
    assert len(page["Records"]) == 10
    stream.pass_s(4.9)
    assert refused(stream.page, page["NextShardIterator"]) == "ProvisionedThroughputExceededException"
    stream.pass_s(0.2)
    assert len(stream.page(page["NextShardIterator"])["Records"]) == 2


def test_a_stream_that_is_changing_says_so_and_is_not_changed_again() -> None:
    stream = SimulatedStream(shards=2)
    stream.settings(stream_change_s=5)
    stream.kinesis("SplitShard", ShardToSplit=FIRST, NewStartingHashKey="5")
    assert stream.kinesis("DescribeStream")["StreamDescription"]["StreamStatus"] == "UPDATING"
    code = refused(stream.kinesis, "SplitShard", ShardToSplit=SECOND, NewStartingHashKey=f"{HASH_KEYS - 5}")
    assert code == "ResourceInUseException"
    stream.put_record("x")
    stream.pass_s(5)
    assert stream.kinesis("DescribeStreamSummary")["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE"


def test_an_on_demand_stream_grows_with_what_it_takes_and_its_shards_are_not_for_the_user_to_change() -> None:
    stream = SimulatedStream(shards=2, on_demand=True)
    code = refused(stream.kinesis, "SplitShard", ShardToSplit=FIRST, NewStartingHashKey="5")
    assert code == "ValidationException"
    stream.settings(on_demand_split_records=10)
    for number in range(100):
        stream.put_record(f"{number}", key=f"{number}")
    assert 6 <= len(stream.listed(ShardFilter={"Type": "AT_LATEST"})) <= 20
    texts = [text for shard in stream.listed() for text in stream.texts(shard["ShardId"])]
    assert sorted(texts, key=int) == [f"{number}" for number in range(100)]
    stream.call("kinesis:UpdateStreamMode", StreamARN=ARN, StreamModeDetails={"StreamMode": "PROVISIONED"})
    stream.kinesis("UpdateShardCount", TargetShardCount=10, ScalingType="UNIFORM_SCALING")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("throttle", "ProvisionedThroughputExceededException"),
        ("expired", "ExpiredIteratorException"),
        ("server_error", "InternalFailure"),
        ("not_found", "ResourceNotFoundException"),
        ("denied", "AccessDeniedException"),
    ],
)
def test_a_read_fails_as_told(fault: str, code: str) -> None:
    stream = SimulatedStream()
    iterator = stream.position(FIRST)
    stream.act("fail", operation="kinesis:GetRecords", fault=fault, table=STREAM)
    assert refused(stream.page, iterator) == code
    assert stream.page(iterator)["Records"] == []


def test_pages_are_empty_short_or_not_yet_the_last_as_told() -> None:
    stream = SimulatedStream()
    for number in range(20):
        stream.put_record(f"{number}")
    stream.act("split", stream=STREAM)
    for fault in ("empty", "short"):
        stream.fail("kinesis:GetRecords", fault)
    iterator = stream.position(FIRST)
    empty = stream.page(iterator)
    assert empty["Records"] == []
    assert empty["MillisBehindLatest"] > 0
    short = stream.page(empty["NextShardIterator"])
    assert 1 <= len(short["Records"]) <= 10
    stream.fail("kinesis:GetRecords", "late_end")
    late = stream.page(short["NextShardIterator"])
    assert len(short["Records"]) + len(late["Records"]) == 20
    assert "ChildShards" not in late
    end = stream.page(late["NextShardIterator"])
    assert end["Records"] == []
    assert len(end["ChildShards"]) == 2


def test_records_that_are_throttled_one_by_one_are_not_put() -> None:
    stream = SimulatedStream()
    stream.fail("kinesis:PutRecords", "unprocessed")
    entries = [{"Data": b64encode(text.encode()).decode(), "PartitionKey": "k"} for text in "abcdef"]
    answer = stream.kinesis("PutRecords", Records=entries)
    put = [text for text, result in zip("abcdef", answer["Records"], strict=True) if "SequenceNumber" in result]
    assert answer["FailedRecordCount"] == 6 - len(put) > 0
    assert stream.texts(FIRST) == put


def test_shards_split_and_merge_while_records_are_put_and_none_is_lost() -> None:
    stream = SimulatedStream(shards=4, seed=3)
    stream.act("rates", rates={"kinesis:PutRecord": {"split": 0.1, "merge": 0.1}})
    for number in range(200):
        stream.put_record(f"{number}", key=f"{number}")
    counts = stream.simulator.state(stream.now_ms)["faults"]
    assert counts["kinesis:PutRecord split"] > 5
    assert counts["kinesis:PutRecord merge"] > 5
    texts = [text for shard in stream.listed() for text in stream.texts(shard["ShardId"])]
    assert sorted(texts, key=int) == [f"{number}" for number in range(200)]
    ranges = [shard["HashKeyRange"] for shard in stream.listed(ShardFilter={"Type": "AT_LATEST"})]
    owned = sorted((int(each["StartingHashKey"]), int(each["EndingHashKey"])) for each in ranges)
    assert [low for low, _ in owned] == [0, *(high + 1 for _, high in owned[:-1])]
    assert owned[-1][1] == HASH_KEYS - 1
