"""The usual loop over a Kinesis stream that DynamoDB writes to: boto3's parser, json, TypeDeserializer, json again."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import boto3
from boto3.dynamodb.types import Binary, TypeDeserializer
from botocore.parsers import create_parser

from benchmarks.naive import OPS, plain
from benchmarks.transcoders import LOG_SHARD

_HEADERS = {"content-type": "application/x-amz-json-1.1"}


class _Deserializer(TypeDeserializer):  # type: ignore[misc]  # boto3 has no types
    """In JSON a binary is text: the usual loop decodes it on the way."""

    def _deserialize_b(self, value: str) -> Binary:
        return Binary(base64.b64decode(value))


class NaiveLog:
    """Makes of ready-made answers envelopes of the same content as Tailrace's."""

    def __init__(self, bodies: Sequence[bytes]) -> None:
        client = boto3.client(
            "kinesis", region_name="us-east-1", aws_access_key_id="bench", aws_secret_access_key="bench"
        )
        self._shape = client.meta.service_model.operation_model("GetRecords").output_shape
        self._parse = create_parser("json").parse
        self._bodies = cycle(bodies)
        self._deserializer = _Deserializer()

    def step(self) -> int:
        """Make the messages of one page, and give their number."""
        response = {"body": next(self._bodies), "headers": _HEADERS, "status_code": 200}
        page = self._parse(response, self._shape)
        messages = [self._message(record) for record in page["Records"]]
        return len(messages)

    def _message(self, record: dict[str, Any]) -> tuple[str, str]:
        change = json.loads(record["Data"])
        body = change["dynamodb"]
        created_us = body["ApproximateCreationDateTime"]
        now_ns = time.time_ns()
        envelope = {
            "before": self._item(body.get("OldImage")),
            "after": self._item(body.get("NewImage")),
            "source": {
                "version": "1",
                "connector": "dynamodb",
                "name": "bench",
                "snapshot": "false",
                "db": LOG_SHARD.stream.split(":")[4],
                "table": change["tableName"],
                "shard": LOG_SHARD.shard_id,
                "stream": LOG_SHARD.stream,
                "region": change["awsRegion"],
                "sequence": record["SequenceNumber"],
                "event_id": change["eventID"],
                "ts_ms": created_us // 1_000,
                "ts_us": created_us,
                "ts_ns": created_us * 1_000,
            },
            "op": OPS[change["eventName"]],
            "ts_ms": now_ns // 1_000_000,
            "ts_us": now_ns // 1_000,
            "ts_ns": now_ns,
            "transaction": None,
        }
        key = json.dumps(self._item(body["Keys"]), default=plain, sort_keys=True)
        return key, json.dumps(envelope, default=plain)

    def _item(self, image: dict[str, Any] | None) -> dict[str, Any] | None:
        if image is None:
            return None
        return {name: self._deserializer.deserialize(value) for name, value in image.items()}
