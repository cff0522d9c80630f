"""The naive pipeline, the measure of all: boto3, TypeDeserializer, json.dumps, one transaction per 1,000 changes."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import boto3
from boto3.dynamodb.types import Binary, TypeDeserializer
from botocore.config import Config
from confluent_kafka import Producer

from benchmarks.page_server import STREAM_ARN, TABLE, Stream

_TRANSACTION_CHANGES = 1_000
OPS = {"INSERT": "c", "MODIFY": "u", "REMOVE": "d"}


class NaivePipeline:
    """Reads one shard of a page server and publishes envelopes of the same content as Tailrace's."""

    def __init__(self, endpoint_url: str, kafka: Mapping[str, str], topic: str) -> None:
        self._client = boto3.client(
            "dynamodbstreams",
            endpoint_url=endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="bench",
            aws_secret_access_key="bench",
            config=Config(retries={"total_max_attempts": 1}),
        )
        self._shard = Stream().shard_ids()[0]
        self._iterator = self._client.get_shard_iterator(
            StreamArn=STREAM_ARN, ShardId=self._shard, ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        self._deserializer = TypeDeserializer()
        self._topic = topic
        self._producer = Producer({**kafka, "transactional.id": f"naive-{uuid.uuid4().hex}", "log_level": 0})
        self._producer.init_transactions(10)
        self._open = 0

    def step(self) -> int:
        """Carry one page, and give its number of changes."""
        page = self._client.get_records(ShardIterator=self._iterator, Limit=1_000)
        self._iterator = page["NextShardIterator"]
        for record in page["Records"]:
            if not self._open:
                self._producer.begin_transaction()
            self._publish(record)
            self._open += 1
            if self._open == _TRANSACTION_CHANGES:
                self._producer.commit_transaction()
                self._open = 0
        return len(page["Records"])

    def _publish(self, record: dict[str, Any]) -> None:
        body = record["dynamodb"]
        now_ns = time.time_ns()
        created_ms = int(body["ApproximateCreationDateTime"].timestamp() * 1000)
        envelope = {
            "before": self._item(body.get("OldImage")),
            "after": self._item(body.get("NewImage")),
            "source": {
                "version": "1",
                "connector": "dynamodb",
                "name": "bench",
                "snapshot": "false",
                "db": STREAM_ARN.split(":")[4],
                "table": TABLE,
                "shard": self._shard,
                "stream": STREAM_ARN,
                "region": record["awsRegion"],
                "view_type": body["StreamViewType"],
                "sequence": body["SequenceNumber"],
                "event_id": record["eventID"],
                "ts_ms": created_ms,
                "ts_us": created_ms * 1_000,
                "ts_ns": created_ms * 1_000_000,
            },
            "op": OPS[record["eventName"]],
            "ts_ms": now_ns // 1_000_000,
            "ts_us": now_ns // 1_000,
            "ts_ns": now_ns,
            "transaction": None,
        }
        key = json.dumps(self._item(body["Keys"]), default=plain, sort_keys=True)
        self._producer.produce(self._topic, json.dumps(envelope, default=plain), key)
        self._producer.poll(0)

    def _item(self, image: dict[str, Any] | None) -> dict[str, Any] | None:
        if image is None:
            return None
        return {name: self._deserializer.deserialize(value) for name, value in image.items()}


def plain(value: object) -> object:
    """Return what `json.dumps` can write of a value that it cannot."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, set):
        return sorted(value)
    if isinstance(value, Binary):
        return base64.b64encode(value.value).decode()
    raise TypeError(type(value).__name__)
