"""The naive pipelines, the measure of all: boto3, TypeDeserializer, json.dumps, one transaction per 1,000 changes."""

from __future__ import annotations

import base64
import json
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import boto3
from boto3.dynamodb.types import Binary, TypeDeserializer
from botocore.config import Config
from confluent_kafka import Producer

from benchmarks.page_server import LOG_ARN, STREAM_ARN, TABLE, Stream

_TRANSACTION_CHANGES = 1_000
_OPS = {"INSERT": "c", "MODIFY": "u", "REMOVE": "d"}


class NaivePipeline(ABC):
    """Reads one shard of a page server and publishes envelopes of the same content as Tailrace's."""

    service: str
    """boto3's name of the service that is read."""
    stream: Mapping[str, str]
    """What names the stream in a request."""
    deserializer: Callable[[], TypeDeserializer] = TypeDeserializer

    def __init__(self, endpoint_url: str, kafka: Mapping[str, str], topic: str) -> None:
        self._client = boto3.client(
            self.service,
            endpoint_url=endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="bench",
            aws_secret_access_key="bench",
            config=Config(retries={"total_max_attempts": 1}),
        )
        self._shard = Stream().shard_ids()[0]
        self._iterator = self._client.get_shard_iterator(
            **self.stream, ShardId=self._shard, ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        self._deserializer = self.deserializer()
        self._topic = topic
        self._producer = Producer({**kafka, "transactional.id": f"naive-{uuid.uuid4().hex}", "log_level": 0})
        self._producer.init_transactions(10)
        self._open = 0

    def step(self) -> int:
        """Carry one page, and return its number of changes."""
        page = self._client.get_records(ShardIterator=self._iterator, Limit=1_000)
        self._iterator = page["NextShardIterator"]
        for record in page["Records"]:
            if not self._open:
                self._producer.begin_transaction()
            keys, envelope = self.convert(record)
            key = json.dumps(keys, default=plain, sort_keys=True)
            self._producer.produce(self._topic, json.dumps(envelope, default=plain), key)
            self._producer.poll(0)
            self._open += 1
            if self._open == _TRANSACTION_CHANGES:
                self._producer.commit_transaction()
                self._open = 0
        return len(page["Records"])

    @abstractmethod
    def convert(self, record: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Make the keys and the envelope of a record."""

    def _envelope(self, record: dict[str, Any], source: dict[str, Any], created_us: int) -> dict[str, Any]:
        """Make the envelope of a change record; `source` is what the service tells of it."""
        body = record["dynamodb"]
        now_ns = time.time_ns()
        return {
            "before": self._item(body.get("OldImage")),
            "after": self._item(body.get("NewImage")),
            "source": {
                "version": "1",
                "connector": "dynamodb",
                "name": "bench",
                "snapshot": "false",
                "shard": self._shard,
                "region": record["awsRegion"],
                "event_id": record["eventID"],
                "ts_ms": created_us // 1_000,
                "ts_us": created_us,
                "ts_ns": created_us * 1_000,
                **source,
            },
            "op": _OPS[record["eventName"]],
            "ts_ms": now_ns // 1_000_000,
            "ts_us": now_ns // 1_000,
            "ts_ns": now_ns,
            "transaction": None,
        }

    def _item(self, image: dict[str, Any] | None) -> dict[str, Any] | None:
        if image is None:
            return None
        return {name: self._deserializer.deserialize(value) for name, value in image.items()}


class NaiveStreams(NaivePipeline):
    """The usual loop over a stream of DynamoDB."""

    service = "dynamodbstreams"
    stream: Mapping[str, str] = {"StreamArn": STREAM_ARN}

    def convert(self, record: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Make the keys and the envelope of a record."""
        body = record["dynamodb"]
        source = {
            "db": STREAM_ARN.split(":")[4],
            "table": TABLE,
            "stream": STREAM_ARN,
            "view_type": body["StreamViewType"],
            "sequence": body["SequenceNumber"],
        }
        created_ms = int(body["ApproximateCreationDateTime"].timestamp() * 1000)
        return self._item(body["Keys"]) or {}, self._envelope(record, source, created_ms * 1_000)


class _JsonDeserializer(TypeDeserializer):  # type: ignore[misc]  # boto3 has no types
    """In JSON a binary is text: the usual loop decodes it on the way."""

    def _deserialize_b(self, value: str) -> Binary:
        return Binary(base64.b64decode(value))


class NaiveKinesis(NaivePipeline):
    """The usual loop over a stream of Kinesis that DynamoDB writes to: a record's data is JSON."""

    service = "kinesis"
    stream: Mapping[str, str] = {"StreamARN": LOG_ARN}
    deserializer = _JsonDeserializer

    def convert(self, record: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Make the keys and the envelope of a record."""
        change = json.loads(record["Data"])
        source = {
            "db": LOG_ARN.split(":")[4],
            "table": change["tableName"],
            "stream": LOG_ARN,
            "sequence": record["SequenceNumber"],
        }
        body = change["dynamodb"]
        return self._item(body["Keys"]) or {}, self._envelope(change, source, body["ApproximateCreationDateTime"])


def plain(value: object) -> object:
    """Return what `json.dumps` can write of a value that it cannot."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, set):
        return sorted(value)
    if isinstance(value, Binary):
        return base64.b64encode(value.value).decode()
    raise TypeError(type(value).__name__)
