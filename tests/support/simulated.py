"""Talking to the simulator without a socket, with a clock that the test moves."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from tailrace_simulator import actions
from tailrace_simulator.actions import parse_action, parse_script
from tailrace_simulator.faults import KINESIS_OPERATIONS, target_of
from tailrace_simulator.simulator import Reply, Simulator

START_MS = 1_700_000_000_123


class RefusedError(Exception):
    """An answer that is an error; `code` is AWS's name for it."""

    def __init__(self, code: str, status: int) -> None:
        super().__init__(code)
        self.code = code
        self.status = status


class Simulated:
    """A simulator and its clock; calls raise `RefusedError`."""

    def __init__(self, seed: int = 1, script: object = None) -> None:
        self.now_ms = START_MS
        parsed = actions.Script() if script is None else parse_script(script)
        self.simulator = Simulator(seed=seed, script=parsed, now_ms=self.now_ms)

    def reply(self, operation: str, **fields: Any) -> Reply:
        return self.simulator.handle(target_of(operation), msgspec.json.encode(fields), self.now_ms)

    def call(self, operation: str, **fields: Any) -> Any:
        reply = self.reply(operation, **fields)
        assert reply.transport is None
        assert reply.checksum == (None if operation in KINESIS_OPERATIONS else zlib.crc32(reply.body))
        answer = msgspec.json.decode(reply.body)
        if reply.status != 200:
            raise RefusedError(answer["__type"].rpartition("#")[2], reply.status)
        return answer

    def act(self, action: str, **fields: Any) -> dict[str, Any]:
        return self.simulator.act(parse_action(action, fields), self.now_ms)

    def settings(self, **changes: float) -> None:
        self.act("settings", settings=changes)

    def fail(self, operation: str, fault: str, times: int = 1) -> None:
        self.act("fail", operation=operation, fault=fault, times=times)

    def pass_s(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)

    def create(self, table: str = "orders", view_type: str = "NEW_AND_OLD_IMAGES") -> str:
        """Make a table with a stream; give the stream's ARN."""
        answer = self.call(
            "CreateTable",
            TableName=table,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": view_type},
        )
        return str(answer["TableDescription"]["LatestStreamArn"])

    def put(self, *ids: str, table: str = "orders", **attributes: Any) -> None:
        for each in ids:
            self.call("PutItem", TableName=table, Item={"id": {"S": each}} | attributes)

    def shards(self, arn: str, **more: Any) -> list[Any]:
        found: list[Any] = self.call("DescribeStream", StreamArn=arn, **more)["StreamDescription"]["Shards"]
        return found

    def iterator(self, arn: str, shard_id: str, kind: str = "TRIM_HORIZON", **more: str) -> str:
        answer = self.call("GetShardIterator", StreamArn=arn, ShardId=shard_id, ShardIteratorType=kind, **more)
        return str(answer["ShardIterator"])

    def read(self, iterator: str, **more: Any) -> tuple[list[str], str | None]:
        """The ids of a page's items, and the next iterator."""
        answer = self.call("GetRecords", ShardIterator=iterator, **more)
        return [record["dynamodb"]["Keys"]["id"]["S"] for record in answer["Records"]], answer.get("NextShardIterator")

    def read_shard(self, arn: str, shard_id: str) -> list[Any]:
        """Every record of a shard, to its end or as far as there are any."""
        iterator: str | None = self.iterator(arn, shard_id)
        records: list[Any] = []
        while iterator is not None:
            answer = self.call("GetRecords", ShardIterator=iterator)
            records += answer["Records"]
            iterator = answer.get("NextShardIterator") if answer["Records"] else None
        return records
