"""A Kinesis to compare: its boto3 client, and what tests do with it again and again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from support.names import unique
from support.waiting import wait_for

HASH_KEYS = 2**128
HALF = str(HASH_KEYS // 2)


@dataclass
class KinesisService:
    """One service; `name` says which."""

    name: str
    client: Any

    def create(self, shards: int | None = 1, name: str | None = None) -> str:
        """Make a stream of so many shards, or on-demand; give its name when it is ACTIVE."""
        name = name or unique("stream")
        mode = {"ShardCount": shards} if shards else {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}
        self.client.create_stream(StreamName=name, **mode)
        self.settle(name)
        return name

    def settle(self, name: str) -> None:
        """Wait until a stream is not changing any more."""
        wait_for("the stream", lambda: self.summary(name)["StreamStatus"] == "ACTIVE")

    def summary(self, name: str) -> Any:
        return self.client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]

    def arn(self, name: str) -> str:
        return str(self.summary(name)["StreamARN"])

    def shards(self, name: str, kind: str = "FROM_TRIM_HORIZON", **more: Any) -> list[Any]:
        found: list[Any] = self.client.list_shards(StreamName=name, ShardFilter={"Type": kind, **more})["Shards"]
        return found

    def put(self, name: str, texts: Iterable[str], hash_key: int = 0) -> list[Any]:
        """Put records where a hash key leads to; give the answers."""
        fields = {"StreamName": name, "PartitionKey": "k", "ExplicitHashKey": str(hash_key)}
        return [self.client.put_record(Data=text.encode(), **fields) for text in texts]

    def iterator(self, name: str, shard_id: str, kind: str = "TRIM_HORIZON", **more: Any) -> str:
        answer = self.client.get_shard_iterator(StreamName=name, ShardId=shard_id, ShardIteratorType=kind, **more)
        return str(answer["ShardIterator"])

    def page(self, name: str, shard_id: str, kind: str = "TRIM_HORIZON", **more: Any) -> Any:
        """The first page of a shard from a position."""
        return self.client.get_records(ShardIterator=self.iterator(name, shard_id, kind, **more))

    def texts(self, name: str, shard_id: str, kind: str = "TRIM_HORIZON", **more: Any) -> list[str]:
        return texts_of(self.page(name, shard_id, kind, **more))


def texts_of(page: Any) -> list[str]:
    return [record["Data"].decode() for record in page["Records"]]


def owned(shards: Iterable[Any]) -> list[tuple[int, int]]:
    """The hash keys that shards own, in order."""
    ranges = (shard["HashKeyRange"] for shard in shards)
    return sorted((int(each["StartingHashKey"]), int(each["EndingHashKey"])) for each in ranges)


def are_whole(shards: Iterable[Any]) -> bool:
    """Whether shards own every hash key once."""
    ranges = owned(shards)
    starts = [0, *(high + 1 for _, high in ranges[:-1])]
    return [low for low, _ in ranges] == starts and ranges[-1][1] == HASH_KEYS - 1
