"""Reads of tables: their capacity, and what of a batch is not processed."""

from __future__ import annotations

from typing import Any

import pytest

from support.simulated import RefusedError, Simulated

EXCEEDED = "ProvisionedThroughputExceededException"


def provisioned(read_units: int, *, burst_s: float, items: int = 4) -> Simulated:
    """Return a simulator whose table `orders` has this capacity, and items of two units each."""
    simulated = Simulated()
    simulated.settings(read_burst_s=burst_s)
    simulated.call(
        "CreateTable",
        TableName="orders",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        ProvisionedThroughput={"ReadCapacityUnits": read_units, "WriteCapacityUnits": 1},
    )
    for number in range(items):
        simulated.call("PutItem", TableName="orders", Item={"id": {"S": f"{number}"}, "v": {"S": "x" * 5000}})
    return simulated


def scan(simulated: Simulated, **options: Any) -> Any:
    return simulated.call("Scan", TableName="orders", ConsistentRead=True, ReturnConsumedCapacity="TOTAL", **options)


def get(simulated: Simulated, *ids: str, consistent: bool = True) -> Any:
    wanted = {"Keys": [{"id": {"S": each}} for each in ids], "ConsistentRead": consistent}
    return simulated.call("BatchGetItem", RequestItems={"orders": wanted}, ReturnConsumedCapacity="TOTAL")


def found(answer: Any) -> list[str]:
    return [item["id"]["S"] for item in answer["Responses"]["orders"]]


def left(answer: Any) -> list[str]:
    return [key["id"]["S"] for key in answer["UnprocessedKeys"].get("orders", {"Keys": []})["Keys"]]


def test_a_table_is_described_with_its_capacity_and_size() -> None:
    table = provisioned(7, burst_s=1).call("DescribeTable", TableName="orders")["Table"]
    assert table["ProvisionedThroughput"]["ReadCapacityUnits"] == 7
    assert (table["ItemCount"], table["TableSizeBytes"]) == (4, 4 * (2 + 1 + 5001))
    assert "BillingModeSummary" not in table


def test_reads_beyond_the_capacity_are_throttled_until_it_is_paid_back() -> None:
    simulated = provisioned(2, burst_s=1)
    assert scan(simulated)["ConsumedCapacity"]["CapacityUnits"] == 5  # 20 KB: two are there, three are owed
    for read in (scan, lambda each: get(each, "1")):
        with pytest.raises(RefusedError, match=EXCEEDED):
            read(simulated)
    with pytest.raises(RefusedError, match=EXCEEDED):
        simulated.call("GetItem", TableName="orders", Key={"id": {"S": "1"}})
    simulated.pass_s(1.5)
    with pytest.raises(RefusedError, match=EXCEEDED):
        scan(simulated)
    simulated.pass_s(0.1)
    assert scan(simulated)["Count"] == 4


def test_what_was_not_used_is_there_for_a_burst() -> None:
    simulated = provisioned(1, burst_s=20)
    assert [scan(simulated)["Count"] for _ in range(4)] == [4] * 4
    with pytest.raises(RefusedError, match=EXCEEDED):
        scan(simulated)
    simulated.pass_s(1000)
    assert [scan(simulated)["Count"] for _ in range(4)] == [4] * 4  # no more than the burst comes in


def test_a_table_that_pays_per_request_is_never_throttled() -> None:
    simulated = Simulated()
    simulated.settings(read_burst_s=0)
    simulated.create()
    assert [scan(simulated)["Count"] for _ in range(10)] == [0] * 10


def test_what_a_batch_has_no_capacity_for_is_left() -> None:
    simulated = provisioned(2, burst_s=2)  # four units: two items of two
    answer = get(simulated, "0", "1", "2")
    assert (found(answer), left(answer)) == (["0", "1"], ["2"])
    assert answer["ConsumedCapacity"] == [{"TableName": "orders", "CapacityUnits": 4}]
    assert answer["UnprocessedKeys"]["orders"]["ConsistentRead"] is True


def test_an_item_that_is_not_there_costs_a_unit() -> None:
    simulated = provisioned(100, burst_s=300)
    assert get(simulated, "0", "none")["ConsumedCapacity"][0]["CapacityUnits"] == 3
    assert get(simulated, "0", "none", consistent=False)["ConsumedCapacity"][0]["CapacityUnits"] == 1.5


def test_a_batch_may_be_left_unprocessed_by_a_fault() -> None:
    simulated = provisioned(100, burst_s=300)
    seen = set()
    for _ in range(40):
        simulated.fail("BatchGetItem", "unprocessed")
        try:
            answer = get(simulated, "0", "1", "2", "3")
        except RefusedError:
            seen.add(4)
        else:
            assert [*found(answer), *left(answer)] == ["0", "1", "2", "3"]
            seen.add(len(left(answer)))
    assert seen == {1, 2, 3, 4}
    assert left(get(simulated, "0", "1", "2", "3")) == []


def test_keys_are_compared_by_value() -> None:
    simulated = Simulated()
    simulated.call(
        "CreateTable",
        TableName="numbers",
        KeySchema=[{"AttributeName": "n", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "n", "AttributeType": "N"}],
        BillingMode="PAY_PER_REQUEST",
    )
    keys = [{"n": {"N": each}} for each in ("1", "1.0")]
    with pytest.raises(RefusedError, match="ValidationException"):
        simulated.call("BatchGetItem", RequestItems={"numbers": {"Keys": keys}})
