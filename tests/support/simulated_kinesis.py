"""A Kinesis stream of the simulator without a socket, with a clock that the test moves."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

from support.simulated import Simulated

STREAM = "shop-cdc"
ARN = f"arn:aws:kinesis:us-east-1:123456789012:stream/{STREAM}"
NO_LIMITS = {"kinesis_reads_per_second": 0, "kinesis_read_bytes_per_second": 0}


class SimulatedStream(Simulated):
    """A simulator with one stream, without limits on reading."""

    def __init__(self, shards: int = 1, *, seed: int = 1, on_demand: bool = False) -> None:
        super().__init__(seed)
        self.settings(**NO_LIMITS, on_demand_shards=shards)
        mode = {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}} if on_demand else {"ShardCount": shards}
        self.kinesis("CreateStream", **mode)

    def kinesis(self, operation: str, **fields: Any) -> Any:
        """Call an operation on the stream."""
        return self.call(f"kinesis:{operation}", **{"StreamName": STREAM} | fields)

    def listed(self, **more: Any) -> list[Any]:
        found: list[Any] = self.kinesis("ListShards", **more)["Shards"]
        return found

    def put_record(self, text: str, key: str = "k", **more: str) -> Any:
        return self.kinesis("PutRecord", Data=b64encode(text.encode()).decode(), PartitionKey=key, **more)

    def position(self, shard_id: str, kind: str = "TRIM_HORIZON", **more: Any) -> str:
        answer = self.kinesis("GetShardIterator", ShardId=shard_id, ShardIteratorType=kind, **more)
        return str(answer["ShardIterator"])

    def page(self, iterator: str, **more: Any) -> Any:
        return self.call("kinesis:GetRecords", ShardIterator=iterator, **more)

    def texts(self, shard_id: str, kind: str = "TRIM_HORIZON", **more: Any) -> list[str]:
        """What the first page from a position holds."""
        return [data_of(record) for record in self.page(self.position(shard_id, kind, **more))["Records"]]

    def changes(self) -> list[Any]:
        """Every change record of the stream, shard by shard, with the sequence number that it came with."""
        found = []
        for shard in self.listed():
            for record in self.page(self.position(shard["ShardId"]))["Records"]:
                found.append(json.loads(data_of(record)) | {"shard": shard["ShardId"], "key": record["PartitionKey"]})
        return found


def data_of(record: Any) -> str:
    return b64decode(record["Data"]).decode()
