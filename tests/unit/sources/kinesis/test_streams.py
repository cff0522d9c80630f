"""Streams, shards and pages of Kinesis as the API gives them; positions that were trimmed among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.fake_aws import Answer, FakeAws, failure, ok
from support.kinesis_answers import ARN, CREATED_MS, NOW_MS, SHARD, STREAM, failed, page, sequences, summary
from tailrace.aws.session import AwsSession
from tailrace.core.ports import LogPage, LogReader, ReadError, ReadFailure, TableStream
from tailrace.core.shard import ListedShard, Position, ShardRef
from tailrace.core.windowed_shard import WindowOptions
from tailrace.sources.kinesis.log_page import LogPageDecoder
from tailrace.sources.kinesis.policy import HOUR_MS, policy
from tailrace.sources.kinesis.polling import Polling
from tailrace.sources.kinesis.streams import KinesisClients, KinesisStreams
from tailrace.sources.windowed import WindowedReader


class Unread(LogReader):
    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> LogPage:
        raise AssertionError(shard)


@pytest.fixture
def clients(fake: FakeAws, session: AwsSession, slept: list[float]) -> Iterator[KinesisClients]:
    found = KinesisClients(session, readers=2, connect_timeout_s=30, read_timeout_s=30, sleep=slept.append)
    yield found
    found.close()


@pytest.fixture
def streams(clients: KinesisClients) -> KinesisStreams:
    reader = WindowedReader(
        Unread(),
        WindowOptions(window_ms=0),
        window_bytes=0,
        gone_after_ms=0,
        flagged=lambda record, _: record,
        change_of=lambda record, _: record.change,
    )
    return KinesisStreams(clients, reader, policy(0), arns={"far": ARN.replace("1234", "4321")})


@pytest.fixture
def polling(clients: KinesisClients) -> Polling:
    return Polling(clients.calls, clients.descriptions, LogPageDecoder("raw"), now_ms=lambda: NOW_MS)


def shard(number: int, *parents: int, end: str | None = None) -> dict[str, Any]:
    names = [f"shardId-{each:012}" for each in parents]
    numbers = {"StartingSequenceNumber": "1"} | ({"EndingSequenceNumber": end} if end else {})
    found: dict[str, Any] = {"ShardId": f"shardId-{number:012}", "SequenceNumberRange": numbers}
    return found | dict(zip(("ParentShardId", "AdjacentParentShardId"), names, strict=False))


# Listing


def test_streams_are_found_by_names_patterns_and_arns(fake: FakeAws, streams: KinesisStreams) -> None:
    fake.answers(
        "ListStreams",
        ok(StreamNames=["a", "web-1"], HasMoreStreams=True),
        ok(StreamNames=["web-2", "x"], HasMoreStreams=False),
    )
    assert streams.table_names(["shop-cdc", "web-*"]) == ["shop-cdc", "web-1", "web-2"]
    assert fake.asked[1].fields == {"Limit": 1000, "ExclusiveStartStreamName": "web-1"}
    fake.answers(
        "DescribeStreamSummary", summary(), summary(arn=ARN.replace("1234", "4321").replace("shop-cdc", "far"))
    )
    assert streams.table_stream("shop-cdc") == TableStream("shop-cdc", STREAM, None)
    assert fake.asked[-1].fields == {"StreamName": "shop-cdc"}


def test_a_stream_that_is_created_again_is_another(fake: FakeAws, streams: KinesisStreams) -> None:
    fake.answers("DescribeStreamSummary", summary(created_ms=CREATED_MS + 1), summary(created_ms=CREATED_MS + 1))
    assert streams.table_stream("shop-cdc").stream == f"{ARN}/{CREATED_MS + 1}"
    for action in (lambda: streams.shards(STREAM), lambda: streams.children(SHARD)):
        error = failed(action)
        assert (error.failure, error.message) == (
            ReadFailure.GONE,
            "stream shop-cdc was deleted and created again",
        )
    assert not streams.exists(SHARD)
    assert "ListShards" not in fake.operations()


@pytest.mark.parametrize(
    ("answer", "failure_of_it"),
    [
        (failure("ResourceNotFoundException"), ReadFailure.GONE),
        (summary(status="DELETING"), ReadFailure.GONE),
        (summary(status="CREATING"), ReadFailure.UNAVAILABLE),
        (summary(arn=ARN + "-x"), ReadFailure.UNAVAILABLE),
        (failure("AccessDeniedException"), ReadFailure.DENIED),
    ],
)
def test_a_stream_that_cannot_be_read_is_told(
    answer: Answer, failure_of_it: ReadFailure, fake: FakeAws, streams: KinesisStreams
) -> None:
    fake.answers("DescribeStreamSummary", answer)
    assert failed(lambda: streams.table_stream("shop-cdc")).failure is failure_of_it


def test_shards_have_up_to_two_parents_and_the_streams_retention(fake: FakeAws, streams: KinesisStreams) -> None:
    fake.answers("DescribeStreamSummary", summary(hours=48))
    fake.answers(
        "ListShards",
        ok(Shards=[shard(0, end="9"), shard(1, 0, end="8")], NextToken="token"),
        ok(Shards=[shard(2, 0), shard(3, 1, 2)]),
    )
    listing = streams.shards(STREAM)
    assert (listing.created_ms, listing.retention_ms) == (CREATED_MS, 48 * HOUR_MS)
    one, two = "shardId-000000000001", "shardId-000000000002"
    assert listing.shards == (
        ListedShard("shardId-000000000000", (), True),
        ListedShard(one, ("shardId-000000000000",), True),
        ListedShard(two, ("shardId-000000000000",), False),
        ListedShard("shardId-000000000003", (one, two), False),
    )
    assert [each.fields for each in fake.asked[1:]] == [
        {"StreamARN": ARN, "MaxResults": 1000},
        {"StreamARN": ARN, "MaxResults": 1000, "ExclusiveStartShardId": one},
    ]


def test_children_are_listed_behind_their_parent(fake: FakeAws, streams: KinesisStreams) -> None:
    fake.answers("DescribeStreamSummary", summary())
    fake.answers("ListShards", ok(Shards=[shard(2, 0), shard(3, 0, 1), shard(4, 1), shard(5, 3)]))
    assert [each.shard_id for each in streams.children(SHARD)] == ["shardId-000000000003", "shardId-000000000004"]
    assert fake.asked[-1].fields["ExclusiveStartShardId"] == SHARD.shard_id


def test_shards_that_descend_in_a_circle_are_refused(fake: FakeAws, streams: KinesisStreams) -> None:
    fake.answers("DescribeStreamSummary", summary())
    fake.answers("ListShards", ok(Shards=[shard(1, 2), shard(2, 1)]))
    assert "descend in a circle" in failed(lambda: streams.shards(STREAM)).message


# Reading


@pytest.mark.parametrize(
    ("position", "asked"),
    [
        (Position("TRIM_HORIZON"), {"ShardIteratorType": "TRIM_HORIZON"}),
        (Position("LATEST"), {"ShardIteratorType": "LATEST"}),
        (
            Position("TRIM_HORIZON", since_ms=1_700_000_000_250),
            {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1_700_000_000.25},
        ),
        (
            Position("AFTER_SEQUENCE_NUMBER", "5"),
            {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "5"},
        ),
    ],
)
def test_reading_begins_at_the_position(
    position: Position, asked: dict[str, Any], fake: FakeAws, polling: Polling
) -> None:
    fake.answers("DescribeStreamSummary", summary())
    fake.answers("GetShardIterator", ok(ShardIterator="first"))
    fake.answers("GetRecords", page(5, 6), page(7, following=None))
    found = polling.read(SHARD, position, None)
    assert fake.asked[1].fields == {"StreamARN": ARN, "ShardId": SHARD.shard_id} | asked
    assert sequences(found) == ([6] if position.sequence else [5, 6])
    last = polling.read(SHARD, position, found.next_iterator)
    assert (sequences(last), last.next_iterator) == ([7], None)
    assert [each.fields["ShardIterator"] for each in fake.asked[2:]] == ["first", "next"]


def test_a_position_is_proved_by_its_record(fake: FakeAws, polling: Polling) -> None:
    fake.answers("DescribeStreamSummary", summary())
    fake.answers("GetShardIterator", *[ok(ShardIterator="first")] * 5)
    after = Position("AFTER_SEQUENCE_NUMBER", "5")
    fake.answers("GetRecords", page(6, 7))
    assert failed(lambda: polling.read(SHARD, after, None)).failure is ReadFailure.TRIMMED
    fake.answers("GetRecords", page(), page(), page())
    found = polling.read(SHARD, after, None)
    found = polling.read(SHARD, after, found.next_iterator)
    assert found.full
    assert failed(lambda: polling.read(SHARD, after, found.next_iterator)).failure is ReadFailure.TRIMMED
    fake.answers("GetRecords", page(following=None))
    assert failed(lambda: polling.read(SHARD, after, None)).failure is ReadFailure.TRIMMED
    fake.answers("GetRecords", page(behind_ms=5), page(), page(5, 6))
    found = polling.read(SHARD, after, None)
    for _ in range(2):
        assert found.records == []
        assert found.full
        found = polling.read(SHARD, after, found.next_iterator)
    assert sequences(found) == [6]
    fake.answers("GetRecords", page(behind_ms=5), page(6))
    found = polling.read(SHARD, after, None)
    assert failed(lambda: polling.read(SHARD, after, found.next_iterator)).failure is ReadFailure.TRIMMED


def test_a_tail_begins_with_its_first_record(fake: FakeAws, polling: Polling) -> None:
    fake.answers("DescribeStreamSummary", summary())
    fake.answers("GetShardIterator", ok(ShardIterator="first"))
    fake.answers("GetRecords", page(5, 6))
    assert sequences(polling.read(SHARD, Position("AT_SEQUENCE_NUMBER", "5"), None)) == [5, 6]


def test_a_position_that_is_denied_was_not_trimmed(fake: FakeAws, polling: Polling) -> None:
    fake.answers("DescribeStreamSummary", summary())
    fake.answers("GetShardIterator", failure("ResourceNotFoundException"), ok(ShardIterator="first"))
    fake.answers("GetRecords", page(5, 6))
    after = Position("AFTER_SEQUENCE_NUMBER", "5")
    assert failed(lambda: polling.read(SHARD, after, None)).failure is ReadFailure.GONE
    assert sequences(polling.read(SHARD, after, None)) == [6]


def test_a_reader_that_is_nearly_as_late_as_the_retention_proves_that_nothing_was_trimmed(
    fake: FakeAws, polling: Polling
) -> None:
    old_ms = NOW_MS - 24 * HOUR_MS + 1000
    fake.answers("DescribeStreamSummary", *[summary()] * 3)
    fake.answers("GetShardIterator", *[ok(ShardIterator="first")] * 3)
    fake.answers("GetRecords", page(5, behind_ms=9, arrived_ms=old_ms), page(5, 6, behind_ms=9, arrived_ms=old_ms))
    found = polling.read(SHARD, Position("TRIM_HORIZON"), None)
    found = polling.read(SHARD, Position("TRIM_HORIZON"), found.next_iterator)
    assert sequences(found) == [6]
    assert fake.operations().count("GetShardIterator") == 2
    fake.answers("GetRecords", page(9, behind_ms=9, arrived_ms=old_ms))
    error = failed(lambda: polling.read(SHARD, Position("TRIM_HORIZON"), found.next_iterator))
    assert error.failure is ReadFailure.TRIMMED


def test_a_reader_that_is_not_late_asks_for_one_iterator(fake: FakeAws, polling: Polling) -> None:
    fake.answers("DescribeStreamSummary", summary())
    fake.answers("GetShardIterator", ok(ShardIterator="first"))
    fake.answers("GetRecords", page(5, behind_ms=9), page(behind_ms=5), page(6), page())
    found = polling.read(SHARD, Position("TRIM_HORIZON"), None)
    for _ in range(3):
        found = polling.read(SHARD, Position("TRIM_HORIZON"), found.next_iterator)
    assert fake.operations().count("GetShardIterator") == 1


def test_pages_keep_to_a_size_by_the_number_of_their_records(fake: FakeAws, polling: Polling) -> None:
    fake.answers("DescribeStreamSummary", summary())
    fake.answers("GetShardIterator", ok(ShardIterator="first"))
    large = Answer(b'{"Records":[],"MillisBehindLatest":7,"NextShardIterator":"i"}' + b" " * (8 << 20))
    fake.answers("GetRecords", large, *[page(5, behind_ms=9)] * 8, page())
    found = polling.read(SHARD, Position("TRIM_HORIZON"), None)
    for _ in range(9):
        found = polling.read(SHARD, Position("TRIM_HORIZON"), found.next_iterator)
    asked = [each.fields["Limit"] for each in fake.asked if each.operation == "GetRecords"]
    assert asked == [400, 49, 98, 196, 392, 784, 1568, 3136, 6272, 10_000]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ExpiredIteratorException", ReadFailure.EXPIRED),
        ("ProvisionedThroughputExceededException", ReadFailure.THROTTLED),
        ("LimitExceededException", ReadFailure.THROTTLED),
        ("KMSThrottlingException", ReadFailure.THROTTLED),
        ("KMSAccessDeniedException", ReadFailure.DENIED),
        ("KMSDisabledException", ReadFailure.DENIED),
        ("ResourceNotFoundException", ReadFailure.GONE),
        ("InternalFailure", ReadFailure.UNAVAILABLE),
    ],
)
def test_a_refused_read_is_told_by_what_it_means(
    code: str, expected: ReadFailure, fake: FakeAws, polling: Polling
) -> None:
    fake.answers("DescribeStreamSummary", summary())
    fake.answers("GetShardIterator", ok(ShardIterator="first"))
    fake.answers("GetRecords", failure(code))
    error = failed(lambda: polling.read(SHARD, Position("TRIM_HORIZON"), None))
    assert error.failure is expected
    assert "shard shardId-000000000001 of stream shop-cdc" in error.message
    if code.startswith("KMS") and expected is ReadFailure.DENIED:
        assert error.hint.startswith("allow kms:Decrypt on the stream's key")


def test_the_hash_keys_of_shards_are_listed_once_and_again_for_one_that_is_new(
    fake: FakeAws, clients: KinesisClients
) -> None:
    def listed(number: int, first: int, last: int) -> dict[str, Any]:
        keys = {"StartingHashKey": str(first), "EndingHashKey": str(last)}
        return {"ShardId": f"shardId-{number:012}", "HashKeyRange": keys}

    whole, left = ShardRef(STREAM, "shardId-000000000000"), ShardRef(STREAM, "shardId-000000000001")
    fake.answers(
        "ListShards",
        ok(Shards=[listed(0, 0, 2**128 - 1)]),
        ok(Shards=[listed(0, 0, 2**128 - 1), listed(1, 0, 99)]),
        ok(Shards=[]),
    )
    ranges = clients.hash_ranges
    assert [ranges.of(shard) for shard in (whole, whole, left)] == [range(2**128), range(2**128), range(100)]
    with pytest.raises(ReadError, match="its hash keys are not known"):
        ranges.of(ShardRef(STREAM, "shardId-000000000002"))
