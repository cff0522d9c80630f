"""Tables by their tags: listed at once where the endpoint can, and each asked for its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.fake_aws import ACCESS_KEY, SECRET_KEY, FakeAws, failure, fault, ok, signature_of
from tailrace.aws.session import AwsSession, AwsSettings
from tailrace.core.ports import ReadError, ReadFailure
from tailrace.core.tags import WantedTag
from tailrace.sources.dynamodb.streams import DynamoDBStreams

WANTED = (WantedTag("cdc", ("true",)), WantedTag("stage", ("prod", "staging")))
ORDERS = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders"


def resources(*tables: str, token: str = "") -> Any:
    arns = [f"arn:aws:dynamodb:eu-west-1:123456789012:table/{table}" for table in tables]
    return ok(PaginationToken=token, ResourceTagMappingList=[{"ResourceARN": arn, "Tags": []} for arn in arns])


def described(arn: str = ORDERS) -> Any:
    return ok(Table={"TableName": "orders", "TableArn": arn})


@pytest.fixture
def aws(fake: FakeAws, monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> Iterator[DynamoDBStreams]:
    """A source whose tagging API has an address of its own, as AWS's has."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_ENDPOINT_URL", fake.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_RESOURCE_GROUPS_TAGGING_API", fake.url.replace("127.0.0.1", "localhost"))
    source = DynamoDBStreams(AwsSession(AwsSettings(region="eu-west-1")), sleep=slept.append)
    yield source
    source.close()


def test_every_page_is_listed_and_the_request_is_signed_for_the_tagging_api(
    fake: FakeAws, aws: DynamoDBStreams
) -> None:
    fake.answers("GetResources", resources("orders", token="more"), fault("reset"), resources("users"))
    assert aws.tables_with(WANTED) == frozenset({"orders", "users"})
    first, _, last = fake.asked
    assert first.fields == {
        "ResourceTypeFilters": ["dynamodb:table"],
        "ResourcesPerPage": 100,
        "TagFilters": [{"Key": "cdc", "Values": ["true"]}, {"Key": "stage", "Values": ["prod", "staging"]}],
    }
    assert last.fields["PaginationToken"] == "more"
    assert first.headers["x-amz-target"] == "ResourceGroupsTaggingAPI_20170126.GetResources"
    assert first.headers["content-type"] == "application/x-amz-json-1.1"
    assert "/eu-west-1/tagging/aws4_request" in first.headers["authorization"]
    given, right = signature_of(first, SECRET_KEY, host=first.headers["host"])
    assert given == right


def test_a_tag_that_may_have_any_value_is_asked_for_by_its_key_alone(fake: FakeAws, aws: DynamoDBStreams) -> None:
    fake.answers("GetResources", resources("orders"))
    aws.tables_with((WantedTag("cdc"),))
    assert fake.asked[0].fields["TagFilters"] == [{"Key": "cdc"}]


@pytest.mark.parametrize("code", ["AccessDeniedException", "UnknownOperationException", "ThrottledException"])
def test_aws_own_refusal_is_an_error_never_an_empty_list(fake: FakeAws, aws: DynamoDBStreams, code: str) -> None:
    fake.answers("GetResources", *[failure(code, "no")] * 3)
    with pytest.raises(ReadError) as caught:
        aws.tables_with(WANTED)
    if code == "AccessDeniedException":
        assert "allow tag:GetResources on * to these credentials" in str(caught.value)


def test_a_resource_that_is_no_table_is_no_answer(fake: FakeAws, aws: DynamoDBStreams) -> None:
    fake.answers("GetResources", *[resources("orders/index/by-day")] * 3)
    with pytest.raises(ReadError, match="is not the ARN of a table"):
        aws.tables_with(WANTED)


@pytest.mark.parametrize("code", ["UnknownOperationException", "InvalidSignatureException", "AccessDeniedException"])
def test_another_endpoint_that_cannot_list_by_tags_is_asked_once(
    fake: FakeAws, streams: DynamoDBStreams, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    fake.answers("GetResources", failure(code, "no"))
    assert [streams.tables_with(WANTED) for _ in range(3)] == [None] * 3
    assert fake.operations() == ["GetResources"]
    assert "the endpoint does not list tables by tags, so each table is asked for its own" in caplog.text


def test_another_endpoint_that_does_not_answer_is_an_error(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers("GetResources", *[failure("InternalServerError", status=500)] * 3, resources("orders"))
    with pytest.raises(ReadError):
        streams.tables_with(WANTED)
    assert streams.tables_with(WANTED) == frozenset({"orders"})


def test_a_table_is_asked_for_its_own_tags_page_by_page_at_most_five_times_a_second(
    fake: FakeAws, streams: DynamoDBStreams, slept: list[float]
) -> None:
    fake.answers("DescribeTable", described())
    fake.answers(
        "ListTagsOfResource",
        ok(Tags=[{"Key": "cdc", "Value": "true"}], NextToken="more"),
        ok(Tags=[{"Key": "stage", "Value": "prod"}]),
        ok(),
    )
    assert streams.tags_of("orders") == {"cdc": "true", "stage": "prod"}
    assert streams.tags_of("orders") == {}
    assert fake.operations() == ["DescribeTable", *["ListTagsOfResource"] * 3]
    assert [asked.fields for asked in fake.asked[1:]] == [
        {"ResourceArn": ORDERS},
        {"ResourceArn": ORDERS, "NextToken": "more"},
        {"ResourceArn": ORDERS},
    ]
    assert sum(slept) == pytest.approx(0.2 + 0.4, abs=0.1)  # the clock stands still while it sleeps


def test_a_table_that_does_not_exist_is_gone_and_one_that_may_not_be_asked_says_so(
    fake: FakeAws, streams: DynamoDBStreams
) -> None:
    fake.answers("DescribeTable", failure("ResourceNotFoundException", "no"), described())
    fake.answers("ListTagsOfResource", failure("AccessDeniedException", "no"))
    with pytest.raises(ReadError) as gone:
        streams.tags_of("orders")
    assert gone.value.failure is ReadFailure.GONE
    with pytest.raises(ReadError, match=r"allow dynamodb:ListTagsOfResource on arn:aws:dynamodb:.*:table/orders"):
        streams.tags_of("orders")
