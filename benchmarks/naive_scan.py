"""The usual loop that loads a table: boto3's paginator, TypeDeserializer, json.dumps, produce."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import boto3
from boto3.dynamodb.types import TypeDeserializer
from botocore.config import Config
from confluent_kafka import Producer

from benchmarks.naive import plain
from benchmarks.page_server import STREAM_ARN, TABLE


class NaiveScan:
    """Reads a table of a page server and publishes envelopes of the same content as Tailrace's."""

    def __init__(self, endpoint_url: str, kafka: Mapping[str, str], topic: str) -> None:
        client = boto3.client(
            "dynamodb",
            endpoint_url=endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="bench",
            aws_secret_access_key="bench",
            config=Config(retries={"total_max_attempts": 1}),
        )
        self._pages = iter(client.get_paginator("scan").paginate(TableName=TABLE, ConsistentRead=True))
        self._deserializer = TypeDeserializer()
        self._topic = topic
        self._producer = Producer({**kafka, "log_level": 0})

    def step(self) -> int:
        """Carry one page, and give its number of items."""
        items = next(self._pages)["Items"]
        read_ms = time.time_ns() // 1_000_000
        for item in items:
            self._publish(item, read_ms)
        self._producer.flush()
        return len(items)

    def _publish(self, item: dict[str, Any], read_ms: int) -> None:
        row = {name: self._deserializer.deserialize(value) for name, value in item.items()}
        now_ns = time.time_ns()
        envelope = {
            "before": None,
            "after": row,
            "source": {
                "version": "1",
                "connector": "dynamodb",
                "name": "bench",
                "snapshot": "true",
                "db": STREAM_ARN.split(":")[4],
                "table": TABLE,
                "region": "us-east-1",
                "ts_ms": read_ms,
                "ts_us": read_ms * 1_000,
                "ts_ns": read_ms * 1_000_000,
            },
            "op": "r",
            "ts_ms": now_ns // 1_000_000,
            "ts_us": now_ns // 1_000,
            "ts_ns": now_ns,
            "transaction": None,
        }
        key = json.dumps({"id": row["id"], "line": row["line"]}, default=plain)
        self._producer.produce(self._topic, json.dumps(envelope, default=plain), key)
        self._producer.poll(0)
