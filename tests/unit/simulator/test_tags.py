"""Tags of tables, and the listing of tables by their tags."""

from __future__ import annotations

from typing import Any

import pytest

from support.simulated import RefusedError, Simulated


@pytest.fixture
def simulated() -> Simulated:
    simulated = Simulated()
    for table in ("orders", "users"):
        simulated.create(table)
    return simulated


def arn(table: str) -> str:
    return f"arn:aws:dynamodb:us-east-1:123456789012:table/{table}"


def tag(simulated: Simulated, table: str, **tags: str) -> None:
    given = [{"Key": key, "Value": value} for key, value in tags.items()]
    simulated.call("TagResource", ResourceArn=arn(table), Tags=given)


def listed(simulated: Simulated, *filters: dict[str, Any]) -> dict[str, dict[str, str]]:
    answer = simulated.call("GetResources", ResourceTypeFilters=["dynamodb:table"], TagFilters=filters)
    return {
        each["ResourceARN"].rpartition("/")[2]: {tag["Key"]: tag["Value"] for tag in each["Tags"]}
        for each in answer["ResourceTagMappingList"]
    }


def test_tables_are_listed_by_all_keys_and_any_value_of_each(simulated: Simulated) -> None:
    tag(simulated, "orders", cdc="true", stage="prod")
    tag(simulated, "users", cdc="true", stage="test")
    assert listed(simulated) == {
        "orders": {"cdc": "true", "stage": "prod"},
        "users": {"cdc": "true", "stage": "test"},
    }
    assert [*listed(simulated, {"Key": "cdc", "Values": ["true", "yes"]}, {"Key": "stage", "Values": ["prod"]})] == [
        "orders"
    ]
    assert [*listed(simulated, {"Key": "stage"})] == ["orders", "users"]
    assert listed(simulated, {"Key": "CDC"}) == {}


def test_tags_are_taken_away_and_the_listing_may_lag(simulated: Simulated) -> None:
    simulated.settings(tag_lag_s=5)
    tag(simulated, "orders", cdc="true")
    assert listed(simulated) == {}
    simulated.pass_s(6)
    simulated.call("UntagResource", ResourceArn=arn("orders"), TagKeys=["cdc", "nothing"])
    assert simulated.call("ListTagsOfResource", ResourceArn=arn("orders")) == {"Tags": []}
    assert [*listed(simulated)] == ["orders"]
    simulated.pass_s(6)
    assert listed(simulated) == {}


def test_both_listings_come_in_pages(simulated: Simulated) -> None:
    tag(simulated, "orders", **{f"key{number:02}": "x" for number in range(12)})
    tag(simulated, "users", key00="x")
    first = simulated.call("ListTagsOfResource", ResourceArn=arn("orders"))
    second = simulated.call("ListTagsOfResource", ResourceArn=arn("orders"), NextToken=first["NextToken"])
    assert (len(first["Tags"]), len(second["Tags"]), "NextToken" in second) == (10, 2, False)
    one = simulated.call("GetResources", ResourcesPerPage=1)
    two = simulated.call("GetResources", ResourcesPerPage=1, PaginationToken=one["PaginationToken"])
    assert (len(one["ResourceTagMappingList"]), two["PaginationToken"]) == (1, "")


def test_an_endpoint_may_lack_the_tagging_api(simulated: Simulated) -> None:
    simulated.settings(tagging_api=0)
    assert simulated.reply("GetResources").status == 400
    with pytest.raises(RefusedError, match="UnknownOperationException"):
        simulated.call("GetResources")
    tag(simulated, "orders", cdc="true")


def test_a_table_is_made_with_tags_and_only_its_own_arn_names_it(simulated: Simulated) -> None:
    simulated.call(
        "CreateTable",
        TableName="logs",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        Tags=[{"Key": "cdc", "Value": "true"}],
    )
    assert listed(simulated) == {"logs": {"cdc": "true"}}
    with pytest.raises(RefusedError, match="ResourceNotFoundException"):
        simulated.call("ListTagsOfResource", ResourceArn=arn("logs").replace("us-east-1", "eu-west-1"))
