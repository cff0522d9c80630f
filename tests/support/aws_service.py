"""A DynamoDB to compare: its boto3 clients, and what tests do with it again and again."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.names import unique
from tailrace.local.dynamodb import REGION


@dataclass
class Service:
    """One service."""

    url: str
    tables: Any
    streams: Any

    def create(self, name: str | None = None, *, view_type: str | None = "NEW_AND_OLD_IMAGES", sort: str = "") -> str:
        """Make a table with key `id` (and sort key `at` of a type), with a stream or without; give its name."""
        name = name or unique("table")
        key = [("id", "HASH", "S"), *([("at", "RANGE", sort)] if sort else [])]
        stream = {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": view_type}} if view_type else {}
        self.tables.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": attribute, "KeyType": role} for attribute, role, _ in key],
            AttributeDefinitions=[{"AttributeName": attribute, "AttributeType": kind} for attribute, _, kind in key],
            BillingMode="PAY_PER_REQUEST",
            **stream,
        )
        return name

    def put(self, table: str, item_id: str, **attributes: Any) -> None:
        self.tables.put_item(TableName=table, Item={"id": {"S": item_id}} | attributes)

    def get(self, table: str, item_id: str) -> Any:
        return self.tables.get_item(TableName=table, Key={"id": {"S": item_id}}, ConsistentRead=True).get("Item")

    def update(self, table: str, item_id: str, expression: str, **values: Any) -> Any:
        given = {"ExpressionAttributeValues": {f":{name}": value for name, value in values.items()}} if values else {}
        answer = self.tables.update_item(
            TableName=table, Key={"id": {"S": item_id}}, UpdateExpression=expression, ReturnValues="ALL_NEW", **given
        )
        return answer["Attributes"]

    def stream_arn(self, table: str) -> str:
        return str(self.tables.describe_table(TableName=table)["Table"]["LatestStreamArn"])

    def shard(self, table: str) -> dict[str, str]:
        """The only shard of a table's stream, as GetShardIterator wants it."""
        arn = self.stream_arn(table)
        (shard,) = self.streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
        return {"StreamArn": arn, "ShardId": shard["ShardId"]}

    def iterator(self, shard: dict[str, str], kind: str = "TRIM_HORIZON", **more: str) -> str:
        return str(self.streams.get_shard_iterator(**shard, ShardIteratorType=kind, **more)["ShardIterator"])

    def records(self, shard: dict[str, str], kind: str = "TRIM_HORIZON", **more: str) -> Any:
        """The first page of a shard from a position."""
        return self.streams.get_records(ShardIterator=self.iterator(shard, kind, **more))["Records"]


def refused(action: Callable[..., object], *arguments: Any, **options: Any) -> tuple[str, int]:
    """Return the name and the HTTP status of the error that an action must meet."""
    with pytest.raises(ClientError) as caught:
        action(*arguments, **options)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def post(url: str, target: str, body: bytes, *, signed: bool = True) -> tuple[int, dict[str, str], bytes]:
    """Send a request without boto3; give status, headers and body."""
    headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.0"}
    if signed:
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential=local/20250101/{REGION}/dynamodb/aws4_request, "
            "SignedHeaders=host, Signature=unchecked"
        )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _AnyStatus())
    with opener.open(urllib.request.Request(url, body, headers), timeout=10) as answer:
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()


class _AnyStatus(urllib.request.HTTPErrorProcessor):
    def http_response(self, request: Any, response: Any) -> Any:
        return response
