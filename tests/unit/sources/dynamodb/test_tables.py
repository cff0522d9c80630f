"""Tables as the API gives them: described, read in segments and by keys; its refusals and partial answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.fake_aws import Answer, FakeAws, failure, fault, ok
from tailrace.aws.session import AwsSession
from tailrace.core.ports import ReadError, ReadFailure, Rows, TableFacts
from tailrace.sources.dynamodb.tables import DynamoDBTables

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders"
FACTS = TableFacts("orders", ARN, {"id": "S", "at": "N"}, item_count=3, size_bytes=120, read_capacity=None)
NOW_MS = 1_767_000_000_123
TABLE = {
    "TableName": "orders",
    "TableArn": ARN,
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
    "AttributeDefinitions": [
        {"AttributeName": "at", "AttributeType": "N"},
        {"AttributeName": "by_index", "AttributeType": "B"},
        {"AttributeName": "id", "AttributeType": "S"},
    ],
    "ItemCount": 3,
    "TableSizeBytes": 120,
}


@pytest.fixture
def tables(fake: FakeAws, session: AwsSession, slept: list[float]) -> Iterator[DynamoDBTables]:
    reader = DynamoDBTables(
        session, readers=2, connect_timeout_s=30, read_timeout_s=30, clock=lambda: NOW_MS / 1000, sleep=slept.append
    )
    yield reader
    reader.close()


def key(item_id: str, at: str = "1") -> bytes:
    return b'{"id":{"S":"%b"},"at":{"N":"%b"}}' % (item_id.encode(), at.encode())


def item(item_id: str, at: str = "1") -> dict[str, Any]:
    return {"at": {"N": at}, "note": {"S": "x"}, "id": {"S": item_id}}


def batch(*ids: str, left: tuple[str, ...] = (), units: float = 1.0) -> Answer:
    unprocessed = {"orders": {"Keys": [json.loads(key(each)) for each in left], "ConsistentRead": True}} if left else {}
    return ok(
        Responses={"orders": [item(each) for each in ids]},
        UnprocessedKeys=unprocessed,
        ConsumedCapacity=[{"TableName": "orders", "CapacityUnits": units}],
    )


def ids(rows: Rows) -> list[str]:
    return [json.loads(row.change.keys)["id"]["S"] for row in rows.records if row.change]


def failed(action: Callable[[], object]) -> ReadError:
    with pytest.raises(ReadError) as caught:
        action()
    return caught.value


# Which tables there are


def test_tables_that_write_into_a_stream_are_found(fake: FakeAws, tables: DynamoDBTables) -> None:
    """One whose destination is off counts, too: changes of then may be in the stream. One that was deleted does not."""
    stream = "arn:aws:kinesis:eu-west-1:123456789012:stream/cdc"

    def into(arn: str, status: str) -> Answer:
        return ok(KinesisDataStreamDestinations=[{"StreamArn": arn, "DestinationStatus": status}])

    fake.answers("ListTables", ok(TableNames=["orders", "users-1"], LastEvaluatedTableName="users-1"))
    fake.answers("ListTables", ok(TableNames=["users-2", "users-3", "users-4"]))
    fake.answers("DescribeKinesisStreamingDestination", into(stream, "ACTIVE"))
    fake.answers("DescribeKinesisStreamingDestination", into(stream, "DISABLED"))
    fake.answers("DescribeKinesisStreamingDestination", into(stream + "-2", "ACTIVE"))
    fake.answers("DescribeKinesisStreamingDestination", failure("ResourceNotFoundException"))
    assert tables.writing_to(stream, lambda name: name.startswith("users-")) == ["users-1", "users-2"]


def test_without_the_right_to_look_for_tables_the_error_names_it(fake: FakeAws, tables: DynamoDBTables) -> None:
    fake.answers("ListTables", failure("AccessDeniedException"))
    error = failed(lambda: tables.writing_to("arn:aws:kinesis:eu-west-1:123456789012:stream/cdc", lambda _: True))
    assert error.failure is ReadFailure.DENIED
    assert error.hint is not None
    assert "dynamodb:ListTables" in error.hint


# Describing


def test_a_table_is_described(fake: FakeAws, tables: DynamoDBTables) -> None:
    fake.answers("DescribeTable", ok(Table=TABLE | {"ProvisionedThroughput": {"ReadCapacityUnits": 25}}))
    facts = tables.facts("orders")
    assert facts == TableFacts("orders", ARN, {"id": "S", "at": "N"}, item_count=3, size_bytes=120, read_capacity=25)
    assert list(facts.key_types) == ["id", "at"]  # not the order of the definitions
    assert fake.asked[0].fields == {"TableName": "orders"}


@pytest.mark.parametrize(
    ("fields", "read_capacity", "warm"),
    [
        ({"BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"}}, None, None),
        ({"ProvisionedThroughput": {"ReadCapacityUnits": 0}}, None, None),
        (
            {
                "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
                "ProvisionedThroughput": {"ReadCapacityUnits": 0},
                "WarmThroughput": {"ReadUnitsPerSecond": 12_000, "Status": "ACTIVE"},
            },
            None,
            12_000,
        ),
        (
            {
                "BillingModeSummary": {"BillingMode": "PROVISIONED"},
                "ProvisionedThroughput": {"ReadCapacityUnits": 7},
            },
            7,
            None,
        ),
    ],
)
def test_the_capacity_of_a_table(
    fake: FakeAws, tables: DynamoDBTables, fields: dict[str, Any], read_capacity: int | None, warm: int | None
) -> None:
    fake.answers("DescribeTable", ok(Table=TABLE | fields))
    facts = tables.facts("orders")
    assert (facts.read_capacity, facts.warm_read_capacity) == (read_capacity, warm)


def test_a_description_is_asked_for_again_when_its_failure_may_pass(
    fake: FakeAws, tables: DynamoDBTables, slept: list[float]
) -> None:
    fake.answers("DescribeTable", failure("ThrottlingException"), Answer(b"{"), ok(Table=TABLE))
    assert tables.facts("orders").item_count == 3
    assert len(slept) == 2


def test_a_table_that_does_not_exist_is_gone(fake: FakeAws, tables: DynamoDBTables) -> None:
    fake.answers("DescribeTable", failure("ResourceNotFoundException", "Requested resource not found"))
    error = failed(lambda: tables.facts("orders"))
    assert error.failure is ReadFailure.GONE
    assert "create the table, or correct source.tables" in str(error)


@pytest.mark.parametrize(
    "fields",
    [
        {"KeySchema": []},
        {"AttributeDefinitions": []},
        {"AttributeDefinitions": [{"AttributeName": name, "AttributeType": "SS"} for name in ("id", "at")]},
        {"TableArn": ARN.replace("orders", "others")},
        {"TableArn": f"{ARN}/stream/1"},
        {"TableArn": ""},
        {"TableName": "others"},
    ],
)
def test_a_description_that_cannot_be_is_broken(fake: FakeAws, tables: DynamoDBTables, fields: dict[str, Any]) -> None:
    fake.answers("DescribeTable", ok(Table=TABLE | fields))
    error = failed(lambda: tables.facts("orders"))
    assert error.failure is ReadFailure.UNAVAILABLE
    assert str(error).startswith("the answer of DescribeTable for table orders is broken: ")


# Scanning


def test_a_segment_is_read_page_by_page(fake: FakeAws, tables: DynamoDBTables) -> None:
    first = Answer(
        b'{"Count":2,"Items":[{"note":{"S":"\xc3\xa9"},"at":{"N":"1.50"},"id" : {"S":"a"}},'
        b'{"id":{"S":"b"},"at":{"N":"2"}}],'
        b'"LastEvaluatedKey":{"id": {"S":"b"},"at":{"N":"2.0"}},'
        b'"ConsumedCapacity":{"TableName":"orders","CapacityUnits":12.5}}'
    )
    fake.answers("Scan", first, ok(Items=[], Count=0))
    rows = tables.scan(FACTS, 2, 8, None, mark="true", limit=None)
    assert rows.next_cursor == '{"id": {"S":"b"},"at":{"N":"2.0"}}'  # the very text
    assert (rows.read_units, rows.size_bytes) == (12.5, len(first.body))
    change = rows.records[0].change
    assert change
    assert change.keys == b'{"id":{"S":"a"},"at":{"N":"1.50"}}'
    assert change.after == b'{"note":{"S":"\xc3\xa9"},"at":{"N":"1.50"},"id" : {"S":"a"}}'
    assert (change.op, change.before, change.snapshot) == ("r", None, "true")
    assert (change.table, change.region) == ("orders", "eu-west-1")
    assert (change.sequence, change.event_id, change.shard_id, change.stream_arn) == ("", "", "", ARN)
    assert (change.created_ms, rows.records[0].origin.created_ms) == (NOW_MS, NOW_MS)
    assert rows.records[0].origin.raw == change.after

    last = tables.scan(FACTS, 2, 8, rows.next_cursor, mark="incremental", limit=50)
    assert (last.records, last.next_cursor, last.read_units) == ([], None, 0.0)
    asked = [each.fields for each in fake.asked]
    assert asked[0] == {
        "TableName": "orders",
        "ConsistentRead": True,
        "ReturnConsumedCapacity": "TOTAL",
        "Segment": 2,
        "TotalSegments": 8,
    }
    assert asked[1] == asked[0] | {"ExclusiveStartKey": {"id": {"S": "b"}, "at": {"N": "2.0"}}, "Limit": 50}
    assert b'"ExclusiveStartKey":{"id": {"S":"b"},"at":{"N":"2.0"}}' in fake.asked[1].body


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (failure("ProvisionedThroughputExceededException"), ReadFailure.THROTTLED),
        (failure("ThrottlingException"), ReadFailure.THROTTLED),
        (failure("RequestLimitExceeded"), ReadFailure.THROTTLED),
        (failure("ResourceNotFoundException"), ReadFailure.GONE),
        (failure("AccessDeniedException"), ReadFailure.DENIED),
        (failure("InternalServerError", status=500), ReadFailure.UNAVAILABLE),
        (fault("reset"), ReadFailure.UNAVAILABLE),
        (Answer(b'{"Items":[]}', headers={"x-amz-crc32": "1"}), ReadFailure.UNAVAILABLE),
    ],
)
def test_a_page_is_tried_once(
    fake: FakeAws, tables: DynamoDBTables, slept: list[float], answer: Answer, expected: ReadFailure
) -> None:
    fake.answers("Scan", answer, ok(Items=[]))
    assert failed(lambda: tables.scan(FACTS, 0, 1, None, mark="true", limit=None)).failure is expected
    assert (len(fake.asked), slept) == (1, [])


def test_a_denied_scan_names_the_right_and_the_table(fake: FakeAws, tables: DynamoDBTables) -> None:
    fake.answers("Scan", failure("AccessDeniedException", "not authorized"))
    error = failed(lambda: tables.scan(FACTS, 0, 1, None, mark="true", limit=None))
    assert "allow dynamodb:Scan on arn:aws:dynamodb:eu-west-1:*:table/orders to these credentials" in str(error)


# Reading by keys


def test_items_are_read_by_their_keys(fake: FakeAws, tables: DynamoDBTables) -> None:
    fake.answers("BatchGetItem", batch("a", "b", units=2.5))
    rows = tables.get(FACTS, [key("a"), key("gone"), key("b")], mark="incremental")
    assert ids(rows) == ["a", "b"]
    assert (rows.read_units, rows.next_cursor) == (2.5, None)
    assert rows.records[0].change
    assert rows.records[0].change.snapshot == "incremental"
    assert fake.asked[0].fields == {
        "RequestItems": {
            "orders": {"Keys": [json.loads(key(each)) for each in ("a", "gone", "b")], "ConsistentRead": True}
        },
        "ReturnConsumedCapacity": "TOTAL",
    }


def test_no_keys_are_no_call(fake: FakeAws, tables: DynamoDBTables) -> None:
    assert tables.get(FACTS, [], mark="true").records == []
    assert fake.asked == []


def keys_asked(fake: FakeAws) -> list[list[str]]:
    return [[each["id"]["S"] for each in asked.fields["RequestItems"]["orders"]["Keys"]] for asked in fake.asked]


def test_a_call_asks_for_a_hundred_keys_at_most(fake: FakeAws, tables: DynamoDBTables, slept: list[float]) -> None:
    names = [f"k{number}" for number in range(250)]
    fake.answers("BatchGetItem", batch(*names[:100]), batch(*names[100:200]), batch(*names[200:]))
    rows = tables.get(FACTS, [key(name) for name in names], mark="true")
    assert ids(rows) == names
    assert [len(asked) for asked in keys_asked(fake)] == [100, 100, 50]
    assert (rows.read_units, slept) == (3.0, [])


def test_a_key_that_is_there_twice_is_asked_for_once(fake: FakeAws, tables: DynamoDBTables) -> None:
    fake.answers("BatchGetItem", batch("a"))
    tables.get(
        FACTS, [key("a", "1"), b' {"at": {"N": "1.0"}, "id": {"S": "a"}}', key("a", "1E0"), key("a")], mark="true"
    )
    assert keys_asked(fake) == [["a"]]


def test_what_was_not_processed_is_asked_for_again_after_a_pause(
    fake: FakeAws, tables: DynamoDBTables, slept: list[float]
) -> None:
    fake.answers(
        "BatchGetItem",
        batch("a", left=("b", "c")),
        failure("ProvisionedThroughputExceededException"),
        batch(left=("b", "c")),
        batch("b", left=("c",)),
        batch("c"),
    )
    assert ids(tables.get(FACTS, [key("a"), key("b"), key("c")], mark="true")) == ["a", "b", "c"]
    assert keys_asked(fake) == [["a", "b", "c"], ["b", "c"], ["b", "c"], ["b", "c"], ["c"]]
    assert len(slept) == 4
    assert all(0 <= pause <= 0.4 for pause in slept)


def test_a_table_without_capacity_is_throttled_at_last(
    fake: FakeAws, tables: DynamoDBTables, slept: list[float]
) -> None:
    fake.answers_else(failure("ProvisionedThroughputExceededException"))
    error = failed(lambda: tables.get(FACTS, [key("a")], mark="true"))
    assert error.failure is ReadFailure.THROTTLED
    assert "BatchGetItem of table orders returned none of 1 items in 6 attempts" in str(error)
    assert len(fake.asked) == 6
    assert sum(slept) < 0.1 * (2 + 4 + 8 + 16 + 32)


def test_an_answer_that_is_too_large_is_asked_for_in_parts(fake: FakeAws, tables: DynamoDBTables) -> None:
    large = Answer(b'{"Responses":{}}' + b" " * (33 << 20))
    fake.answers("BatchGetItem", large, batch("a"), batch("b"))
    assert ids(tables.get(FACTS, [key("a"), key("b")], mark="true")) == ["a", "b"]
    assert keys_asked(fake) == [["a", "b"], ["a"], ["b"]]


def test_an_item_that_is_too_large_is_told(fake: FakeAws, tables: DynamoDBTables) -> None:
    fake.answers("BatchGetItem", Answer(b"{}" + b" " * (33 << 20)))
    assert "the answer of BatchGetItem for table orders is larger than 32 MiB" in str(
        failed(lambda: tables.get(FACTS, [key("a")], mark="true"))
    )


@pytest.mark.parametrize("wrong", [b"", b"[]", b'{"id":"a"}', b'{"id":{"N":"x"}}', b'{"id":{"N":"sNaN"}}', b"{" * 9999])
def test_what_is_no_key_is_refused_without_a_call(fake: FakeAws, tables: DynamoDBTables, wrong: bytes) -> None:
    error = failed(lambda: tables.get(FACTS, [key("a"), wrong], mark="true"))
    assert str(error).startswith("a key of table orders cannot be read: ")
    assert str(error).endswith('a key is a DynamoDB JSON object, for example {"id":{"S":"a"}}')
    assert fake.asked == []


def test_an_error_that_will_not_pass_is_raised_at_once(fake: FakeAws, tables: DynamoDBTables) -> None:
    fake.answers("BatchGetItem", failure("ValidationException", "The provided key element does not match the schema"))
    assert "does not match the schema" in str(failed(lambda: tables.get(FACTS, [key("a")], mark="true")))
