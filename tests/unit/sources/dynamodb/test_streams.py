"""Shards, pages and listings as the API gives them, its inconsistencies and refusals among them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from support.fake_aws import Answer, FakeAws, failure, fault, ok
from tailrace.aws.session import AwsSession
from tailrace.core.ports import ReadError, ReadFailure, TableStream
from tailrace.core.shard import ListedShard, Position, ShardRef
from tailrace.sources.dynamodb.streams import DynamoDBStreams

STREAM = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2026-01-02T03:04:05.678"
SHARD = ShardRef(STREAM, "shardId-00000001")
TRIM_HORIZON = Position("TRIM_HORIZON")
PASSING = [failure("ThrottlingException"), failure("InternalServerError", status=500), fault("reset"), Answer(b"{")]


def record(sequence: int, *, created_s: float | None = 1_767_000_000, event_name: str = "INSERT") -> dict[str, Any]:
    body: dict[str, Any] = {"Keys": {"id": {"S": "a"}}, "SequenceNumber": str(sequence), "StreamViewType": "KEYS_ONLY"}
    if created_s is not None:
        body["ApproximateCreationDateTime"] = created_s
    return {"eventID": f"e{sequence}", "eventName": event_name, "dynamodb": body}


def shard(shard_id: str, parent: str | None = None, end: str | None = None) -> dict[str, Any]:
    numbers = {"StartingSequenceNumber": "1"} | ({"EndingSequenceNumber": end} if end else {})
    return {"ShardId": shard_id, "SequenceNumberRange": numbers} | ({"ParentShardId": parent} if parent else {})


def stream(*shards: dict[str, Any], last: str | None = None, **fields: Any) -> Answer:
    more = {"LastEvaluatedShardId": last} if last else {}
    return ok(StreamDescription={"Shards": shards, "StreamStatus": "ENABLED"} | more | fields)


def failed(action: Callable[[], object]) -> ReadError:
    with pytest.raises(ReadError) as caught:
        action()
    return caught.value


# Reading


def limits_asked(fake: FakeAws) -> list[int]:
    return [asked.fields["Limit"] for asked in fake.asked]


def of_mib(size_mib: int) -> Answer:
    return Answer(b'{"Records":[],"NextShardIterator":"i"}' + b" " * (size_mib << 20))


def test_a_page_that_is_too_large_is_asked_for_in_parts(
    fake: FakeAws, streams: DynamoDBStreams, caplog: pytest.LogCaptureFixture
) -> None:
    fake.answers("GetRecords", of_mib(33), of_mib(33), of_mib(31), of_mib(9), ok(Records=[], NextShardIterator="i"))
    for _ in range(3):
        streams.read(SHARD, TRIM_HORIZON, "i")
    assert limits_asked(fake) == [1000, 500, 250, 250, 250]
    assert caplog.messages[0] == (
        "the answer of GetRecords for shard shardId-00000001 of table orders is larger than 32 MiB: "
        "asking for 500 records at most"
    )


def test_the_limit_grows_back_while_pages_are_small_and_is_each_shards_own(
    fake: FakeAws, streams: DynamoDBStreams
) -> None:
    fake.answers("GetRecords", of_mib(33), of_mib(33), *[ok(Records=[], NextShardIterator="i")] * 4)
    for _ in range(3):
        streams.read(SHARD, TRIM_HORIZON, "i")
    streams.read(ShardRef(STREAM, "shardId-00000002"), TRIM_HORIZON, "i")
    assert limits_asked(fake) == [1000, 500, 250, 500, 1000, 1000]


def test_a_page_of_one_record_that_is_too_large_is_told(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers("GetRecords", *[of_mib(33)] * 10)
    error = failed(lambda: streams.read(SHARD, TRIM_HORIZON, "i"))
    assert error.failure is ReadFailure.UNAVAILABLE
    assert str(error) == (
        "the answer of GetRecords for shard shardId-00000001 of table orders is larger than 32 MiB; "
        "no answer of DynamoDB is: check what source.endpoint_url leads to"
    )
    assert limits_asked(fake)[-1] == 1


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (TRIM_HORIZON, {"ShardIteratorType": "TRIM_HORIZON"}),
        (Position("LATEST"), {"ShardIteratorType": "LATEST"}),
        (
            Position("AFTER_SEQUENCE_NUMBER", "4200000000000000000001"),
            {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": "4200000000000000000001"},
        ),
    ],
)
def test_the_first_page_is_read_from_the_position(
    fake: FakeAws, streams: DynamoDBStreams, position: Position, expected: dict[str, str]
) -> None:
    fake.answers("GetShardIterator", ok(ShardIterator="i-1"))
    fake.answers("GetRecords", ok(Records=[record(7)], NextShardIterator="i-2"))
    page = streams.read(SHARD, position, None)
    iterator, records = fake.asked
    assert iterator.fields == {"StreamArn": STREAM, "ShardId": SHARD.shard_id} | expected
    assert records.fields == {"ShardIterator": "i-1", "Limit": 1000}
    assert page.next_iterator == "i-2"
    (read,) = page.records
    assert read.change
    assert (read.change.table, read.change.region, read.origin.sequence) == ("orders", "eu-west-1", "7")


def test_the_next_page_is_read_from_its_iterator(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers("GetRecords", ok(Records=[record(8)], NextShardIterator="i-3"), ok(Records=[]))
    assert streams.read(SHARD, TRIM_HORIZON, "i-2").next_iterator == "i-3"
    assert streams.read(SHARD, TRIM_HORIZON, "i-3").next_iterator is None
    assert [asked.fields["ShardIterator"] for asked in fake.asked] == ["i-2", "i-3"]


@pytest.mark.parametrize("answer", PASSING)
def test_a_read_is_tried_once(fake: FakeAws, streams: DynamoDBStreams, slept: list[float], answer: Answer) -> None:
    fake.answers("GetRecords", answer, ok(Records=[]))
    fake.answers("GetShardIterator", answer)
    assert failed(lambda: streams.read(SHARD, TRIM_HORIZON, "i")).failure in {"throttled", "unavailable"}
    assert failed(lambda: streams.read(SHARD, TRIM_HORIZON, None)).failure in {"throttled", "unavailable"}
    assert (len(fake.asked), slept) == (2, [])


def test_a_shard_that_goes_between_its_iterator_and_its_page_is_gone(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers("GetShardIterator", ok(ShardIterator="i-1"))
    fake.answers("GetRecords", failure("ResourceNotFoundException", "Invalid ShardId in ShardIterator"))
    error = failed(lambda: streams.read(SHARD, TRIM_HORIZON, None))
    assert error.failure is ReadFailure.GONE
    assert "GetRecords of shard shardId-00000001 of table orders" in str(error)


def test_an_answer_without_an_iterator_is_broken(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers("GetShardIterator", ok(), Answer(b"<html>"))
    for _ in range(2):
        error = failed(lambda: streams.read(SHARD, TRIM_HORIZON, None))
        assert error.failure is ReadFailure.UNAVAILABLE
        assert "answer of GetShardIterator for shard shardId-00000001 of table orders is broken" in str(error)


def test_what_is_not_a_stream_is_gone(fake: FakeAws, streams: DynamoDBStreams) -> None:
    for arn in ("", "arn:aws:kinesis:eu-west-1:1:stream/x", STREAM.replace("/stream/", "/index/")):
        bad = ShardRef(arn, "shardId-1")
        error = failed(partial(streams.read, bad, TRIM_HORIZON, None))
        assert error.failure is ReadFailure.GONE
    assert fake.asked == []


def test_changes_older_than_the_start_are_dropped_from_every_page(fake: FakeAws, streams: DynamoDBStreams) -> None:
    page = ok(Records=[record(1, created_s=99), record(2, created_s=100), record(3, created_s=101)])
    fake.answers("GetRecords", page, page, page)
    kept = [
        [read.origin.sequence for read in streams.read(SHARD, Position("TRIM_HORIZON", since_ms=since_ms), "i").records]
        for since_ms in (100_000, 100_999, 101_000)
    ]
    assert kept == [["2", "3"], ["2", "3"], ["3"]]


def test_a_page_of_dropped_changes_only_does_not_look_like_the_end(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers("GetRecords", ok(Records=[record(1, created_s=99)]), ok(Records=[record(2, created_s=101)]))
    since = Position("TRIM_HORIZON", since_ms=100_000)
    pages = [streams.read(SHARD, since, "i") for _ in range(2)]
    assert [(len(page.records), page.full) for page in pages] == [(0, True), (1, False)]


def test_a_change_whose_time_is_rounded_to_the_minute_is_kept_when_in_doubt(
    fake: FakeAws, streams: DynamoDBStreams
) -> None:
    page = ok(Records=[record(1, created_s=60), record(2, created_s=120)])
    fake.answers("GetRecords", page, page, page)
    kept = [
        [read.origin.sequence for read in streams.read(SHARD, Position("TRIM_HORIZON", since_ms=since_ms), "i").records]
        for since_ms in (119_999, 120_000, 180_000)
    ]
    assert kept == [["1", "2"], ["2"], []]


def test_a_change_whose_time_is_unknown_is_never_dropped(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers("GetRecords", ok(Records=[record(1, created_s=None), record(2, created_s=1, event_name="ODD")]))
    page = streams.read(SHARD, Position("TRIM_HORIZON", since_ms=100_000), "i")
    assert [read.origin.sequence for read in page.records] == ["1"]


# Listing tables


def test_names_without_wildcards_are_given_as_they_are(fake: FakeAws, streams: DynamoDBStreams) -> None:
    assert streams.table_names(["users", "orders", "users"]) == ["orders", "users"]
    assert fake.asked == []


def test_patterns_are_matched_over_every_page_of_tables(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers(
        "ListTables",
        ok(TableNames=["Users-x", "orders", "users-a"], LastEvaluatedTableName="users-a"),
        ok(TableNames=["users-b", "users-bc", "zoo"]),
    )
    assert streams.table_names(["users-?", "z*", "later", "zoo"]) == ["later", "users-a", "users-b", "zoo"]
    first, second = fake.asked
    assert "ExclusiveStartTableName" not in first.fields
    assert second.fields["ExclusiveStartTableName"] == "users-a"


def test_a_missing_permission_to_list_is_told(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers("ListTables", failure("AccessDeniedException", "no"))
    fake.answers("DescribeTable", failure("AccessDeniedException", "no"))
    assert "allow dynamodb:ListTables on *" in failed(lambda: streams.table_names(["*"])).hint
    hint = failed(lambda: streams.table_stream("orders")).hint
    assert "allow dynamodb:DescribeTable on arn:aws:dynamodb:eu-west-1:*:table/orders" in hint


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (
            {
                "LatestStreamArn": STREAM,
                "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
            },
            TableStream("orders", STREAM, "NEW_IMAGE"),
        ),
        (
            {
                "LatestStreamArn": STREAM,
                "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
                "KeySchema": [
                    {"AttributeName": "id", "KeyType": "HASH"},
                    {"AttributeName": "at", "KeyType": "RANGE"},
                ],
            },
            TableStream("orders", STREAM, "NEW_IMAGE", ("id", "at")),
        ),
        ({"LatestStreamArn": STREAM, "TableStatus": "UPDATING"}, TableStream("orders", None, None, is_active=False)),
        (
            {"LatestStreamArn": STREAM, "StreamSpecification": {"StreamEnabled": False}},
            TableStream("orders", None, None),
        ),
        ({}, TableStream("orders", None, None)),
    ],
)
def test_a_table_tells_its_stream_while_it_is_on(
    fake: FakeAws, streams: DynamoDBStreams, table: dict[str, Any], expected: TableStream
) -> None:
    fake.answers("DescribeTable", ok(Table={"TableName": "orders"} | table))
    assert streams.table_stream("orders") == expected
    assert fake.asked[0].headers["x-amz-target"] == "DynamoDB_20120810.DescribeTable"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"TableName": "users"}, "it describes the table users"),
        ({"LatestStreamArn": None}, "None is not the ARN of a stream of this table"),
        ({"LatestStreamArn": "orders"}, "orders is not the ARN of a stream of this table"),
        ({"LatestStreamArn": STREAM.replace("orders", "users")}, "is not the ARN of a stream of this table"),
        ({"TableName": None}, "Expected `str`"),
    ],
)
def test_a_description_of_something_else_is_no_answer(
    fake: FakeAws, streams: DynamoDBStreams, wrong: dict[str, Any], told: str
) -> None:
    """It would be taken for a table without a stream, or for one whose stream was switched off and on: a gap."""
    table = {"TableName": "orders", "LatestStreamArn": STREAM, "StreamSpecification": {"StreamEnabled": True}}
    fake.answers("DescribeTable", *[ok(Table=table | wrong)] * 3)
    error = failed(lambda: streams.table_stream("orders"))
    assert error.failure is ReadFailure.UNAVAILABLE
    assert told in str(error)


def test_a_listing_in_which_a_shard_is_its_own_ancestor_is_no_answer(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers("DescribeStream", stream(shard("a", "b"), last="a"), stream(shard("b", "a"), shard("c", "b")))
    error = failed(lambda: streams.shards(STREAM))
    assert error.failure is ReadFailure.UNAVAILABLE
    assert "the answer of DescribeStream for the stream of table orders is broken: shards descend in a circle" in str(
        error
    )


@pytest.mark.parametrize("created_s", [1e308, -1, 10**11])
def test_a_stream_that_was_made_at_no_time_is_no_answer(
    fake: FakeAws, streams: DynamoDBStreams, created_s: float
) -> None:
    fake.answers("DescribeStream", *[stream(CreationRequestDateTime=created_s)] * 3)
    assert failed(lambda: streams.shards(STREAM)).failure is ReadFailure.UNAVAILABLE


def test_a_table_that_does_not_exist_is_gone(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers("DescribeTable", failure("ResourceNotFoundException", "Table: orders not found"))
    error = failed(lambda: streams.table_stream("orders"))
    assert error.failure is ReadFailure.GONE
    assert "source.tables" in error.hint


def test_switching_a_stream_on_asks_for_its_view_type(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers("UpdateTable", ok(TableDescription={"TableName": "orders", "TableStatus": "UPDATING"}))
    streams.enable_stream("orders", "NEW_IMAGE")
    assert fake.asked[0].fields == {
        "TableName": "orders",
        "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    }


def test_a_stream_that_an_unanswered_request_has_switched_on_is_on(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers("UpdateTable", fault("reset"), failure("ResourceInUseException", "Table is being updated: orders"))
    on = {"TableName": "orders", "LatestStreamArn": STREAM, "StreamSpecification": {"StreamEnabled": True}}
    fake.answers("DescribeTable", ok(Table=on))
    streams.enable_stream("orders", "NEW_IMAGE")
    assert fake.operations() == ["UpdateTable", "UpdateTable", "DescribeTable"]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("ResourceInUseException", "UpdateTable of table orders was refused: ResourceInUseException: no"),
        ("AccessDeniedException", "allow dynamodb:UpdateTable on arn:aws:dynamodb:eu-west-1:*:table/orders"),
        ("LimitExceededException", "AWS limits such calls for the whole account"),
    ],
)
def test_a_stream_that_cannot_be_switched_on_says_why(
    fake: FakeAws, streams: DynamoDBStreams, code: str, told: str
) -> None:
    fake.answers("UpdateTable", *[failure(code, "no")] * 3)
    fake.answers("DescribeTable", ok(Table={"TableName": "orders"}))
    assert told in str(failed(lambda: streams.enable_stream("orders", "NEW_IMAGE")))


# Listing shards


def test_every_page_of_shards_is_listed(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers(
        "DescribeStream",
        stream(shard("s-1", end="9"), last="s-1", CreationRequestDateTime=1_767_000_000.5),
        stream(last="s-2", CreationRequestDateTime=1_767_000_000.5),
        stream(shard("s-3", parent="s-1"), CreationRequestDateTime=1_767_000_000.5),
    )
    listing = streams.shards(STREAM)
    assert listing.stream == STREAM
    assert listing.created_ms == 1_767_000_000_500
    assert listing.shards == (ListedShard("s-1", (), True), ListedShard("s-3", ("s-1",), False))
    assert [asked.fields.get("ExclusiveStartShardId") for asked in fake.asked] == [None, "s-1", "s-2"]
    assert {asked.fields["Limit"] for asked in fake.asked} == {100}


def test_a_shard_that_two_pages_show_is_listed_once_and_stays_closed(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers(
        "DescribeStream",
        stream(shard("s-1", end="9"), shard("s-2"), last="s-2"),
        stream(shard("s-2", end="9"), shard("s-1")),
    )
    assert streams.shards(STREAM).shards == (ListedShard("s-1", (), True), ListedShard("s-2", (), True))


def test_a_stream_that_is_off_still_lists_its_shards(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers("DescribeStream", stream(shard("s-1", end="9"), StreamStatus="DISABLED"))
    assert streams.shards(STREAM).shards == (ListedShard("s-1", (), True),)


def test_a_listing_that_breaks_off_is_an_error_not_a_short_listing(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers("DescribeStream", stream(shard("s-1"), last="s-1"), *[failure("InternalServerError", status=500)] * 3)
    assert failed(lambda: streams.shards(STREAM)).failure is ReadFailure.UNAVAILABLE
    fake.answers("DescribeStream", stream(shard("s-1"), last="s-1"), failure("ResourceNotFoundException"))
    assert failed(lambda: streams.shards(STREAM)).failure is ReadFailure.GONE


def test_a_listing_that_goes_round_in_circles_is_an_error(fake: FakeAws, streams: DynamoDBStreams) -> None:
    page = stream(shard("s-1"), last="s-1")
    fake.answers("DescribeStream", page, page, page)
    assert "circles at s-1" in str(failed(lambda: streams.shards(STREAM)))
    assert len(fake.asked) == 2


@pytest.mark.parametrize("answer", PASSING)
def test_a_page_of_a_listing_is_asked_for_again_where_it_failed(
    fake: FakeAws, streams: DynamoDBStreams, slept: list[float], answer: Answer
) -> None:
    fake.answers("DescribeStream", stream(shard("s-1"), last="s-1"), answer, answer, stream(shard("s-2")))
    assert [each.shard_id for each in streams.shards(STREAM).shards] == ["s-1", "s-2"]
    assert [asked.fields.get("ExclusiveStartShardId") for asked in fake.asked] == [None, "s-1", "s-1", "s-1"]
    fake.answers("DescribeStream", answer, answer, answer, stream())
    assert failed(lambda: streams.shards(STREAM)).failure in {ReadFailure.THROTTLED, ReadFailure.UNAVAILABLE}
    assert len(fake.asked) == 7


def test_a_refusal_is_not_asked_for_again(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers("DescribeStream", failure("AccessDeniedException", "no"), stream())
    error = failed(lambda: streams.shards(STREAM))
    assert error.failure is ReadFailure.DENIED
    assert f"allow dynamodb:DescribeStream on {STREAM}" in error.hint
    assert len(fake.asked) == 1


def test_describe_stream_keeps_its_pace_over_every_stream_and_page(fake: FakeAws, session: AwsSession) -> None:
    now_s = 50.0
    called_at_s: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    streams = DynamoDBStreams(session, describe_stream_per_second=4, clock=lambda: now_s, sleep=sleep)
    fake.answers("DescribeStream", stream(last="s-1"), stream(), stream(), stream())
    streams.shards(STREAM)
    called_at_s.append(now_s)
    streams.children(SHARD)
    called_at_s.append(now_s)
    now_s += 10
    streams.children(SHARD)
    called_at_s.append(now_s)
    streams.close()
    assert called_at_s == [50.25, 50.5, 60.5]


# Children


def test_children_are_asked_for_by_their_parent(fake: FakeAws, streams: DynamoDBStreams) -> None:
    mine = SHARD.shard_id
    fake.answers("DescribeStream", stream(shard("s-2", mine), last="s-2"), stream(shard("s-3", mine, end="9")))
    assert streams.children(SHARD) == (ListedShard("s-2", (mine,), False), ListedShard("s-3", (mine,), True))
    assert {tuple(asked.fields["ShardFilter"].items()) for asked in fake.asked} == {
        (("Type", "CHILD_SHARDS"), ("ShardId", mine))
    }


def test_an_endpoint_that_ignores_the_filter_gives_the_children_all_the_same(
    fake: FakeAws, streams: DynamoDBStreams
) -> None:
    fake.answers("DescribeStream", stream(shard(SHARD.shard_id), shard("s-2", SHARD.shard_id), shard("s-3", "s-2")))
    assert [child.shard_id for child in streams.children(SHARD)] == ["s-2"]


@pytest.mark.parametrize("code", ["ValidationException", "SerializationException", "UnknownParameter"])
def test_an_endpoint_that_refuses_the_filter_is_asked_for_everything(
    fake: FakeAws, streams: DynamoDBStreams, code: str
) -> None:
    fake.answers("DescribeStream", failure(code, "ShardFilter"), stream(shard("s-2", SHARD.shard_id), shard("s-3")))
    assert [child.shard_id for child in streams.children(SHARD)] == ["s-2"]
    assert [("ShardFilter" in asked.fields) for asked in fake.asked] == [True, False]


def test_children_that_cannot_be_asked_for_are_an_error(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers("DescribeStream", *[failure("ThrottlingException")] * 3)
    assert failed(lambda: streams.children(SHARD)).failure is ReadFailure.THROTTLED


# Existence


def test_a_shard_exists_when_it_can_be_read_from_its_start(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers("GetShardIterator", ok(ShardIterator="i"))
    assert streams.exists(SHARD)
    assert fake.asked[0].fields["ShardIteratorType"] == "TRIM_HORIZON"


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "TrimmedDataAccessException"])
def test_a_shard_that_is_not_found_or_trimmed_does_not_exist(
    fake: FakeAws, streams: DynamoDBStreams, code: str
) -> None:
    fake.answers("GetShardIterator", failure(code))
    assert not streams.exists(SHARD)


def test_a_shard_of_something_that_is_no_stream_does_not_exist(fake: FakeAws, streams: DynamoDBStreams) -> None:
    assert not streams.exists(ShardRef("arn:aws:s3:::bucket", "shardId-1"))
    assert fake.asked == []


@pytest.mark.parametrize("answer", [*PASSING, failure("AccessDeniedException"), failure("Odd")])
def test_no_failure_proves_that_a_shard_does_not_exist(fake: FakeAws, streams: DynamoDBStreams, answer: Answer) -> None:
    fake.answers("GetShardIterator", answer, answer, answer)
    failed(lambda: streams.exists(SHARD))
