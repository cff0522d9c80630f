"""One suite over the simulator and over DynamoDB Local: what holds for one holds for the other."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from support.aws_service import Service, post, refused
from support.names import unique

NOT_FOUND = ("ResourceNotFoundException", 400)
INVALID = ("ValidationException", 400)
FAILED = ("ConditionalCheckFailedException", 400)
IN_USE = ("ResourceInUseException", 400)


# The wire


def test_an_answer_carries_the_checksum_of_its_body(service: Service) -> None:
    _, headers, answer = post(service.url, "DynamoDB_20120810.ListTables", b"{}")
    assert headers["x-amz-crc32"] == str(zlib.crc32(answer))
    assert headers["content-type"] == "application/x-amz-json-1.0"
    assert headers["x-amzn-requestid"]


@pytest.mark.parametrize(
    "target", ["DynamoDB_20120810.Nothing", "DynamoDB_20120810.ListStreams", "DynamoDBStreams_20120810.ListTables"]
)
def test_an_operation_that_is_not_there_is_unknown(service: Service, target: str) -> None:
    status, _, body = post(service.url, target, b"{}")
    assert (status, json.loads(body)["__type"].split("#")[1]) == (400, "UnknownOperationException")


def test_a_request_without_a_signature_is_refused(service: Service) -> None:
    status, _, body = post(service.url, "DynamoDB_20120810.ListTables", b"{}", signed=False)
    assert status == 400
    assert "MissingAuthenticationToken" in json.loads(body)["__type"]


# Tables


def test_a_table_is_described_as_it_was_made(service: Service) -> None:
    name = service.create(sort="N", view_type="KEYS_ONLY")
    table = service.tables.describe_table(TableName=name)["Table"]
    assert (table["TableName"], table["TableStatus"], table["ItemCount"]) == (name, "ACTIVE", 0)
    assert [(key["AttributeName"], key["KeyType"]) for key in table["KeySchema"]] == [("id", "HASH"), ("at", "RANGE")]
    assert {a["AttributeName"]: a["AttributeType"] for a in table["AttributeDefinitions"]} == {"id": "S", "at": "N"}
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert table["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}
    assert table["LatestStreamArn"] == f"{table['TableArn']}/stream/{table['LatestStreamLabel']}"
    assert re.fullmatch(rf"arn:aws:dynamodb:[\w-]+:\d{{12}}:table/{name}", table["TableArn"])


def test_a_table_has_provisioned_capacity_when_it_does_not_pay_per_request(service: Service) -> None:
    name = unique("table")
    schema = {
        "TableName": name,
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "B"}],
    }
    assert refused(service.tables.create_table, **schema) == INVALID
    capacity = {"ReadCapacityUnits": 3, "WriteCapacityUnits": 2}
    table = service.tables.create_table(**schema, ProvisionedThroughput=capacity)["TableDescription"]
    assert table["ProvisionedThroughput"].items() >= capacity.items()


@pytest.mark.parametrize(
    "change",
    [
        {"TableName": "ab"},
        {"TableName": "with space"},
        {"TableName": "x" * 256},
        {"AttributeDefinitions": [{"AttributeName": "other", "AttributeType": "S"}]},
        {"AttributeDefinitions": [{"AttributeName": n, "AttributeType": "S"} for n in ("id", "unused")]},
        {"StreamSpecification": {"StreamEnabled": True}},
        {"StreamSpecification": {"StreamEnabled": False, "StreamViewType": "KEYS_ONLY"}},
    ],
    ids=str,
)
def test_an_impossible_table_is_refused(service: Service, change: dict[str, Any]) -> None:
    table = {
        "TableName": unique("table"),
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    }
    assert refused(service.tables.create_table, **(table | change)) == INVALID


def test_a_table_that_is_there_cannot_be_made_again(service: Service) -> None:
    name = service.create()
    assert refused(service.create, name) == IN_USE


def test_tables_are_listed_in_pages_by_name(service: Service) -> None:
    names = sorted(service.create(f"listed-{number:03}", view_type=None) for number in range(5))
    found, start = [], "listed-"
    while start:
        page = service.tables.list_tables(ExclusiveStartTableName=start, Limit=2)
        assert len(page["TableNames"]) <= 2
        found += page["TableNames"]
        start = page.get("LastEvaluatedTableName", "")
    assert found[:5] == names
    assert found == sorted(found)
    for limit in (0, 101):
        assert refused(service.tables.list_tables, Limit=limit) == INVALID


def test_what_is_not_there_is_not_found(service: Service) -> None:
    key = {"id": {"S": "a"}}
    actions: list[Callable[[], object]] = [
        lambda: service.tables.describe_table(TableName="none"),
        lambda: service.tables.delete_table(TableName="none"),
        lambda: service.tables.update_table(TableName="none", StreamSpecification={"StreamEnabled": False}),
        lambda: service.put("none", "a"),
        lambda: service.get("none", "a"),
        lambda: service.update("none", "a", "REMOVE b"),
        lambda: service.tables.delete_item(TableName="none", Key=key),
        lambda: service.tables.scan(TableName="none"),
        lambda: service.tables.batch_write_item(RequestItems={"none": [{"DeleteRequest": {"Key": key}}]}),
    ]
    assert [refused(action) for action in actions] == [NOT_FOUND] * len(actions)


def test_a_missing_parameter_is_refused(service: Service) -> None:
    assert refused(service.tables.describe_table) == INVALID
    assert refused(service.tables.get_item, TableName=service.create()) == INVALID


def test_a_table_that_is_made_again_is_empty_and_has_another_stream(service: Service) -> None:
    name = service.create()
    service.put(name, "a")
    arn = service.stream_arn(name)
    service.tables.delete_table(TableName=name)
    service.create(name)
    assert service.get(name, "a") is None
    assert service.stream_arn(name) != arn


def test_time_to_live_is_switched_on_once(service: Service) -> None:
    name = service.create()
    assert service.tables.describe_time_to_live(TableName=name)["TimeToLiveDescription"] == {
        "TimeToLiveStatus": "DISABLED"
    }
    on = {"Enabled": True, "AttributeName": "until"}
    assert (
        service.tables.update_time_to_live(TableName=name, TimeToLiveSpecification=on)["TimeToLiveSpecification"] == on
    )
    assert service.tables.describe_time_to_live(TableName=name)["TimeToLiveDescription"] == {
        "TimeToLiveStatus": "ENABLED",
        "AttributeName": "until",
    }
    again = refused(service.tables.update_time_to_live, TableName=name, TimeToLiveSpecification=on)
    assert again == INVALID


# Values


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("1.0", "1"),
        ("1.50", "1.5"),
        ("001", "1"),
        ("-0", "0"),
        ("0.0", "0"),
        ("+5", "5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1e2", "100"),
        ("1.23E-5", "0.0000123"),
        ("-1.10E3", "-1100"),
        ("1E21", "1" + "0" * 21),
        ("1E100", "1" + "0" * 100),
        ("1" * 38 + "0", "1" * 38 + "0"),
        ("9." + "9" * 37 + "E+125", "9" * 38 + "0" * 88),
        ("1E-130", "0." + "0" * 129 + "1"),
        ("123456789012345678901234567890.12345678", "123456789012345678901234567890.12345678"),
    ],
)
def test_numbers_come_back_in_plain_notation(service: Service, given: str, stored: str) -> None:
    table = service.create(view_type=None)
    service.put(table, "a", n={"N": given}, s={"NS": [given]})
    assert service.get(table, "a") == {"id": {"S": "a"}, "n": {"N": stored}, "s": {"NS": [stored]}}


def test_every_type_comes_back(service: Service) -> None:
    table = service.create(view_type=None)
    item: dict[str, Any] = {
        "text": {"S": "grüße \u0000 🚀"},
        "empty": {"S": ""},
        "binary": {"B": b"\x00\xff"},
        "no_binary": {"B": b""},
        "yes": {"BOOL": True},
        "no": {"BOOL": False},
        "nothing": {"NULL": True},
        "map": {"M": {"deep": {"M": {"er": {"L": [{"N": "1"}, {"L": []}]}}}, "none": {"M": {}}}},
        "strings": {"SS": ["a", "b", ""]},
        "numbers": {"NS": ["-2.5", "1", "10"]},
        "binaries": {"BS": [b"a", b"b"]},
    }
    service.put(table, "a", **item)
    found = service.get(table, "a")
    for name in ("strings", "numbers", "binaries"):
        ((kind, members),) = found.pop(name).items()
        assert sorted(members) == sorted(item.pop(name)[kind])
    assert found == item | {"id": {"S": "a"}}


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"S": "x"}
    for _ in range(levels):
        value = {"L": [value]}
    return value


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"S": "a", "N": "1"},
        {"N": ""},
        {"N": "abc"},
        {"N": "NaN"},
        {"N": "Infinity"},
        {"N": "0x1"},
        {"N": "1_0"},
        {"N": "1E"},
        {"N": "--1"},
        {"N": " 1"},
        {"N": "1E126"},
        {"N": "1E-131"},
        {"N": "1" * 39},
        {"NULL": False},
        {"SS": []},
        {"SS": ["a", "a"]},
        {"NS": ["1", "1.0"]},
        {"BS": [b"a", b"a"]},
        nested(32),
        {"M": {"": {"S": "no name"}}},
        {"S": "x" * 400 * 1024},
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_impossible_value_is_refused(service: Service, value: Any) -> None:
    table = service.create(view_type=None)
    assert refused(service.put, table, "a", v=value) == INVALID
    assert refused(service.put, table, "a", v={"M": {"in": value}}) == INVALID
    assert service.get(table, "a") is None


def test_the_largest_and_the_deepest_item_is_stored(service: Service) -> None:
    table = service.create(view_type=None)
    service.put(table, "a", v={"S": "x" * (400 * 1024 - 4)})
    assert refused(service.put, table, "a", v={"S": "x" * (400 * 1024 - 3)}) == INVALID
    service.put(table, "a", v=nested(31))
    assert service.get(table, "a")["v"] == nested(31)


@pytest.mark.parametrize(
    "keys",
    [
        {"at": {"N": "1"}},
        {"id": {"S": "a"}},
        {"id": {"N": "1"}, "at": {"N": "1"}},
        {"id": {"S": "a"}, "at": {"S": "1"}},
        {"id": {"S": ""}, "at": {"N": "1"}},
        {"id": {"S": "x" * 2049}, "at": {"N": "1"}},
    ],
    ids=lambda item: str(item)[:40],
)
def test_an_item_must_have_the_keys_of_its_table(service: Service, keys: Any) -> None:
    table = service.create(view_type=None, sort="N")
    assert refused(service.tables.put_item, TableName=table, Item=keys) == INVALID


@pytest.mark.parametrize(
    "key", [{}, {"id": {"N": "1"}}, {"other": {"S": "a"}}, {"id": {"S": "a"}, "b": {"S": "s"}}], ids=str
)
def test_a_key_must_be_that_of_its_table(service: Service, key: Any) -> None:
    table = service.create(view_type=None)
    assert refused(service.tables.get_item, TableName=table, Key=key) == INVALID
    assert refused(service.tables.delete_item, TableName=table, Key=key) == INVALID
    assert refused(service.tables.update_item, TableName=table, Key=key) == INVALID


def test_keys_are_compared_by_value(service: Service) -> None:
    table = service.create(view_type=None, sort="N")
    for at in ("10", "9", "-1", "1E2"):
        service.put(table, "a", at={"N": at})
    service.put(table, "a", at={"N": "10.0"}, again={"BOOL": True})
    assert [item["at"]["N"] for item in service.tables.scan(TableName=table)["Items"]] == ["-1", "9", "10", "100"]


# Writes


def test_a_write_gives_back_what_it_is_asked_for(service: Service) -> None:
    table = service.create(view_type=None)
    old = {"id": {"S": "a"}, "v": {"N": "1"}, "w": {"S": "x"}}
    put = {"TableName": table, "Item": old, "ReturnValues": "ALL_OLD"}
    assert "Attributes" not in service.tables.put_item(**put)
    assert service.tables.put_item(**put)["Attributes"] == old
    update = {
        "TableName": table,
        "Key": {"id": {"S": "a"}},
        "UpdateExpression": "SET v = :v",
        "ExpressionAttributeValues": {":v": {"N": "2"}},
    }
    given = {
        kind: service.tables.update_item(**update, ReturnValues=kind).get("Attributes")
        for kind in ("UPDATED_OLD", "UPDATED_NEW", "ALL_OLD", "ALL_NEW", "NONE")
    }
    new = old | {"v": {"N": "2"}}
    assert given == {
        "UPDATED_OLD": {"v": {"N": "1"}},
        "UPDATED_NEW": {"v": {"N": "2"}},
        "ALL_OLD": new,
        "ALL_NEW": new,
        "NONE": None,
    }
    delete = {"TableName": table, "Key": {"id": {"S": "a"}}, "ReturnValues": "ALL_OLD"}
    assert service.tables.delete_item(**delete)["Attributes"] == new
    assert "Attributes" not in service.tables.delete_item(**delete)
    for wrong in ("ALL_NEW", "UPDATED_NEW"):
        assert refused(service.tables.put_item, **put | {"ReturnValues": wrong}) == INVALID


CONDITIONS = [
    ("attribute_exists(id)", True),
    ("attribute_not_exists(id)", False),
    ("attribute_not_exists(gone)", True),
    ("n = :one", True),
    ("n = :text", False),
    ("n <> :text", True),
    ("n < :two AND n >= :one", True),
    ("n > :two or n <= :one", True),
    ("NOT (n = :one)", False),
    ("n BETWEEN :one AND :two", True),
    ("n IN (:two, :text)", False),
    ("gone = :one", False),
    ("gone <> :one", True),
    ("gone > :one", False),
    ("m.a[1] = :two", True),
    ("attribute_exists(m.a[2])", False),
    ("begins_with(s, :text)", True),
    ("contains(s, :text)", True),
    ("contains(m.a, :two)", True),
    ("contains(tags, :text)", True),
    ("size(s) = :two", False),
    ("size(m.a) = :two", True),
    ("attribute_type(n, :kind)", True),
    ("#n = :one", True),
]


@pytest.mark.parametrize(("condition", "holds"), CONDITIONS)
def test_a_write_is_carried_out_when_its_condition_holds(service: Service, condition: str, holds: bool) -> None:
    table = service.create(view_type=None)
    item = {
        "n": {"N": "1"},
        "s": {"S": "text and more"},
        "m": {"M": {"a": {"L": [{"N": "1"}, {"N": "2"}]}}},
        "tags": {"SS": ["a", "text"]},
    }
    service.put(table, "a", **item)
    values = {":one": {"N": "1.0"}, ":two": {"N": "2"}, ":text": {"S": "text"}, ":kind": {"S": "N"}}
    used = {name: value for name, value in values.items() if name in condition}
    delete: dict[str, Any] = {"TableName": table, "Key": {"id": {"S": "a"}}, "ConditionExpression": condition}
    if used:
        delete["ExpressionAttributeValues"] = used
    if "#n" in condition:
        delete["ExpressionAttributeNames"] = {"#n": "n"}
    if not holds:
        assert refused(service.tables.delete_item, **delete) == FAILED
    else:
        service.tables.delete_item(**delete)
    assert (service.get(table, "a") is None) is holds


def test_a_failed_condition_shows_the_item_when_asked(service: Service) -> None:
    table = service.create(view_type=None)
    service.put(table, "a", v={"N": "1"})
    with pytest.raises(service.tables.exceptions.ConditionalCheckFailedException) as caught:
        service.tables.put_item(
            TableName=table,
            Item={"id": {"S": "a"}},
            ConditionExpression="attribute_not_exists(id)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert caught.value.response["Item"] == {"id": {"S": "a"}, "v": {"N": "1"}}


@pytest.mark.parametrize(
    "more",
    [
        {"ConditionExpression": ""},
        {"ConditionExpression": "v :a"},
        {"ConditionExpression": "attribute_exists(v"},
        {"ConditionExpression": "nothing(v)"},
        {"ConditionExpression": "v = :missing"},
        {"ConditionExpression": "#missing = :a", "ExpressionAttributeValues": {":a": {"S": "x"}}},
        {"ConditionExpression": "attribute_exists(v)", "ExpressionAttributeValues": {":a": {"S": "x"}}},
        {"ConditionExpression": "attribute_exists(v)", "ExpressionAttributeNames": {"#a": "x"}},
        {"ExpressionAttributeValues": {":a": {"S": "x"}}},
    ],
    ids=str,
)
def test_an_impossible_condition_is_refused(service: Service, more: dict[str, Any]) -> None:
    table = service.create(view_type=None)
    assert refused(service.tables.put_item, TableName=table, Item={"id": {"S": "a"}}, **more) == INVALID


UPDATES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("SET n = :v, t = :t", {"v": {"N": "7"}, "t": {"S": "x"}}, {"n": {"N": "7"}, "t": {"S": "x"}}),
    ("SET n = n + :v", {"v": {"N": "1.5"}}, {"n": {"N": "2.5"}}),
    ("SET n = n - :v", {"v": {"N": "1"}}, {"n": {"N": "0"}}),
    ("SET n = if_not_exists(n, :v)", {"v": {"N": "9"}}, {}),
    ("SET x = if_not_exists(x, :v)", {"v": {"N": "9"}}, {"x": {"N": "9"}}),
    ("SET l = list_append(l, :v)", {"v": {"L": [{"S": "z"}]}}, {"l": {"L": [{"S": "a"}, {"S": "b"}, {"S": "z"}]}}),
    ("SET l[0] = :v", {"v": {"S": "z"}}, {"l": {"L": [{"S": "z"}, {"S": "b"}]}}),
    ("SET l[9] = :v", {"v": {"S": "z"}}, {"l": {"L": [{"S": "a"}, {"S": "b"}, {"S": "z"}]}}),
    ("SET m.x = :v", {"v": {"S": "z"}}, {"m": {"M": {"k": {"S": "v"}, "x": {"S": "z"}}}}),
    ("REMOVE l[0], l[1]", {}, {"l": {"L": []}}),
    ("REMOVE m.k, gone", {}, {"m": {"M": {}}}),
    ("REMOVE n", {}, {"n": None}),
    ("ADD n :v", {"v": {"N": "-3"}}, {"n": {"N": "-2"}}),
    ("ADD x :v", {"v": {"N": "3"}}, {"x": {"N": "3"}}),
    ("ADD tags :v", {"v": {"SS": ["b", "c"]}}, {"tags": {"SS": ["a", "b", "c"]}}),
    ("DELETE tags :v", {"v": {"SS": ["a", "c"]}}, {"tags": {"SS": ["b"]}}),
    ("DELETE tags :v", {"v": {"SS": ["a", "b"]}}, {"tags": None}),
    ("SET n = :v REMOVE l ADD x :v", {"v": {"N": "2"}}, {"n": {"N": "2"}, "l": None, "x": {"N": "2"}}),
]
BEFORE = {
    "n": {"N": "1"},
    "l": {"L": [{"S": "a"}, {"S": "b"}]},
    "m": {"M": {"k": {"S": "v"}}},
    "tags": {"SS": ["a", "b"]},
}


@pytest.mark.parametrize(("expression", "values", "changed"), UPDATES, ids=[expression for expression, _, _ in UPDATES])
def test_an_update_changes_what_its_expression_says(
    service: Service, expression: str, values: dict[str, Any], changed: dict[str, Any]
) -> None:
    table = service.create(view_type=None)
    service.put(table, "a", **BEFORE)
    after = service.update(table, "a", expression, **values)
    if "tags" in after:
        after["tags"]["SS"].sort()
    wanted = {"id": {"S": "a"}} | BEFORE | changed
    assert after == {name: value for name, value in wanted.items() if value is not None}
    assert service.get(table, "a").keys() == after.keys()


def test_an_update_makes_an_item_that_is_not_there(service: Service) -> None:
    table = service.create(view_type=None)
    assert service.update(table, "a", "SET v = :v", v={"N": "1"}) == {"id": {"S": "a"}, "v": {"N": "1"}}
    service.tables.update_item(TableName=table, Key={"id": {"S": "b"}})
    assert service.get(table, "b") == {"id": {"S": "b"}}


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("", {}),
        ("FOO", {}),
        ("SET id = :v", {"v": {"S": "b"}}),
        ("SET n = n + :v", {"v": {"S": "x"}}),
        ("SET n = gone + :v", {"v": {"N": "1"}}),
        ("SET n = gone", {}),
        ("SET gone.x = :v", {"v": {"N": "1"}}),
        ("SET n.x = :v", {"v": {"N": "1"}}),
        ("SET n = :v, n = :v", {"v": {"N": "1"}}),
        ("SET m = :v, m.k = :v", {"v": {"N": "1"}}),
        ("SET n = :v SET l = :v", {"v": {"N": "1"}}),
        ("SET n = :missing", {}),
        ("SET n = :v", {"v": {"N": "1"}, "unused": {"N": "1"}}),
        ("ADD n :v", {"v": {"S": "x"}}),
        ("ADD n :v", {"v": {"SS": ["x"]}}),
        ("DELETE tags :v", {"v": {"N": "1"}}),
    ],
)
def test_an_impossible_update_is_refused_and_changes_nothing(
    service: Service, expression: str, values: dict[str, Any]
) -> None:
    table = service.create(view_type=None)
    service.put(table, "a", **BEFORE)
    assert refused(service.update, table, "a", expression, **values) == INVALID
    assert service.get(table, "a")["n"] == {"N": "1"}


def test_a_batch_is_written_whole(service: Service) -> None:
    table = service.create()
    service.put(table, "old")
    puts = [{"PutRequest": {"Item": {"id": {"S": f"{number}"}}}} for number in range(24)]
    answer = service.tables.batch_write_item(
        RequestItems={table: [*puts, {"DeleteRequest": {"Key": {"id": {"S": "old"}}}}]}
    )
    assert answer["UnprocessedItems"] == {}
    assert service.tables.scan(TableName=table)["Count"] == 24
    assert len(service.records(service.shard(table))) == 26


@pytest.mark.parametrize(
    "ids",
    [[], [str(number) for number in range(26)], ["a", "a"], ["good", ""]],
    ids=lambda ids: f"{len(ids)}{ids[-1:]}",
)
def test_an_impossible_batch_is_refused_and_nothing_of_it_written(service: Service, ids: list[str]) -> None:
    table = service.create(view_type=None)
    puts = [{"PutRequest": {"Item": {"id": {"S": each}}}} for each in ids]
    assert refused(service.tables.batch_write_item, RequestItems={table: puts}) == INVALID
    assert service.tables.scan(TableName=table)["Count"] == 0
