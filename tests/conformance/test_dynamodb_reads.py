"""Reading whole tables and many items: what holds for the simulator holds for DynamoDB Local."""

from __future__ import annotations

from typing import Any

import pytest

from support.aws_service import Service, refused

INVALID = ("ValidationException", 400)


# Scans


def test_a_scan_pages_through_every_item_once(service: Service) -> None:
    table = service.create(view_type=None)
    for number in range(10):
        service.put(table, f"{number}", n={"N": f"{number}"})
    found: list[str] = []
    start: dict[str, Any] = {}
    while True:
        page = service.tables.scan(TableName=table, Limit=3, **start)
        assert page["Count"] == page["ScannedCount"] <= 3
        found += [item["id"]["S"] for item in page["Items"]]
        if "LastEvaluatedKey" not in page:
            break
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    assert sorted(found) == [str(number) for number in range(10)]
    filtered = service.tables.scan(
        TableName=table,
        FilterExpression="n < :n",
        ExpressionAttributeValues={":n": {"N": "4"}},
        ProjectionExpression="n",
    )
    assert (filtered["Count"], filtered["ScannedCount"]) == (4, 10)
    assert sorted(item["n"]["N"] for item in filtered["Items"]) == ["0", "1", "2", "3"]
    assert all(item.keys() == {"n"} for item in filtered["Items"])


def test_the_segments_of_a_scan_make_the_whole(service: Service) -> None:
    table = service.create(view_type=None)
    for number in range(40):
        service.put(table, f"{number}")
    parts = [service.tables.scan(TableName=table, Segment=segment, TotalSegments=4)["Items"] for segment in range(4)]
    assert sorted(int(item["id"]["S"]) for part in parts for item in part) == list(range(40))
    assert sum(map(bool, parts)) > 1
    assert service.tables.scan(TableName=table, Select="COUNT").get("Items", []) == []


def test_a_scan_page_ends_at_a_megabyte(service: Service) -> None:
    table = service.create(view_type=None)
    for number in range(4):
        service.put(table, f"{number}", v={"S": "x" * 390_000})
    page = service.tables.scan(TableName=table)
    assert page["Count"] == 3
    assert page["LastEvaluatedKey"] == {"id": page["Items"][-1]["id"]}


@pytest.mark.parametrize(
    "more",
    [{"Limit": 0}, {"Segment": 0}, {"Segment": 2, "TotalSegments": 2}, {"ExclusiveStartKey": {"x": {"S": "1"}}}],
    ids=str,
)
def test_an_impossible_scan_is_refused(service: Service, more: dict[str, Any]) -> None:
    table = service.create(view_type=None)
    assert refused(service.tables.scan, TableName=table, **more) == INVALID


def test_a_scan_goes_on_in_its_own_segment_alone(service: Service) -> None:
    table = service.create(view_type=None)
    for number in range(40):
        service.put(table, f"{number}")
    of_four = {"TableName": table, "TotalSegments": 4, "Limit": 1}
    first = {segment: service.tables.scan(Segment=segment, **of_four) for segment in range(4)}
    lasts = {segment: page["LastEvaluatedKey"] for segment, page in first.items() if "LastEvaluatedKey" in page}
    start, other, *_ = lasts
    assert service.tables.scan(Segment=start, ExclusiveStartKey=lasts[start], **of_four)["ScannedCount"] <= 1
    assert refused(service.tables.scan, Segment=start, ExclusiveStartKey=lasts[other], **of_four) == INVALID


# What reading costs


def units(answer: Any) -> float:
    consumed = answer["ConsumedCapacity"]
    (of_table,) = consumed if isinstance(consumed, list) else [consumed]
    return float(of_table["CapacityUnits"])


@pytest.mark.parametrize(("consistent", "share"), [(True, 1.0), (False, 0.5)])
def test_a_read_costs_a_unit_for_each_four_kilobytes_and_half_of_it_when_it_may_be_old(
    service: Service, *, consistent: bool, share: float
) -> None:
    table = service.create(view_type=None)
    options: dict[str, Any] = {"ConsistentRead": consistent, "ReturnConsumedCapacity": "TOTAL"}
    assert units(service.tables.scan(TableName=table, **options)) in {0, share}  # AWS counts one
    for name, size in (("a", 100), ("b", 100), ("c", 4093), ("d", 9000)):  # with its names, c has 4098 bytes
        service.put(table, name, v={"S": "x" * size})
    total = 103 + 1 + 103 + 1 + 4096 + 1 + 9003 + 1
    assert units(service.tables.scan(TableName=table, **options)) == -(-total // 4096) * share
    batch = {"Keys": [{"id": {"S": name}} for name in "abcd"], "ConsistentRead": consistent}
    got = service.tables.batch_get_item(RequestItems={table: batch}, ReturnConsumedCapacity="TOTAL")
    assert units(got) == (1 + 1 + 2 + 3) * share
    one = service.tables.get_item(TableName=table, Key={"id": {"S": "d"}}, **options)
    assert units(one) == 3 * share


# Reading by keys


def test_a_batch_of_keys_gives_the_items_that_are_there(service: Service) -> None:
    table, other = service.create(view_type=None, sort="N"), service.create(view_type=None)
    for at in ("1", "2"):
        service.put(table, "a", at={"N": at}, note={"S": "x"}, more={"BOOL": True})
    service.put(other, "b")
    keys = [{"id": {"S": "a"}, "at": {"N": at}} for at in ("2.0", "1", "3")]
    answer = service.tables.batch_get_item(
        RequestItems={
            table: {
                "Keys": keys,
                "ProjectionExpression": "#n, id",
                "ExpressionAttributeNames": {"#n": "note"},
                "ConsistentRead": True,
            },
            other: {"Keys": [{"id": {"S": "none"}}]},
        }
    )
    assert answer["UnprocessedKeys"] == {}
    assert answer["Responses"] == {table: [{"id": {"S": "a"}, "note": {"S": "x"}}] * 2, other: []}


@pytest.mark.parametrize(
    "ids", [[], [str(number) for number in range(101)], ["a", "a"], [""]], ids=lambda ids: f"{len(ids)}{ids[-1:]}"
)
def test_an_impossible_batch_of_keys_is_refused(service: Service, ids: list[str]) -> None:
    table = service.create(view_type=None)
    keys = [{"id": {"S": each}} for each in ids]
    assert refused(service.tables.batch_get_item, RequestItems={table: {"Keys": keys}}) == INVALID
    assert refused(service.tables.batch_get_item, RequestItems={}) == INVALID


def test_what_does_not_fit_into_sixteen_megabytes_is_asked_for_again(service: Service) -> None:
    table = service.create(view_type=None)
    names = [f"{number:02}" for number in range(45)]
    for name in names:
        service.put(table, name, v={"S": "x" * 400_000})
    wanted: Any = {table: {"Keys": [{"id": {"S": name}} for name in names], "ConsistentRead": True}}
    found: list[str] = []
    calls = 0
    while wanted:
        calls += 1
        answer = service.tables.batch_get_item(RequestItems=wanted)
        found += [item["id"]["S"] for item in answer["Responses"][table]]
        wanted = answer["UnprocessedKeys"]
        assert not wanted or wanted[table]["ConsistentRead"] is True
    assert (sorted(found), calls) == (names, 2)
