"""A Kinesis stream on kinesis-local that is resharded all the while, with repeats and disorder, workers killed.

`KINESIS_SHARDS=200` plays it with so many shards, over one worker and over four.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import boto3
import pytest
from botocore.config import Config

from support.change_feed import ChangeFeed
from support.kinesis_local import KinesisLocal
from support.kinesis_service import KinesisService
from support.names import unique
from support.pipeline_file import write_file
from support.waiting import wait_for
from support.worker_process import LoggedWorker
from tailrace.local.checker import Verdict, check
from tailrace.local.committed import read_committed
from tailrace.local.dynamodb import REGION
from tailrace.local.kafka import KafkaBroker

IS_WHOLE: Final = "KINESIS_SHARDS" in os.environ
SHARDS: Final = int(os.environ.get("KINESIS_SHARDS", "12"))
ROUNDS: Final = 11
CHANGES: Final = 20 * SHARDS
"""Changes of a round."""
TABLE: Final = "orders"


@pytest.fixture
def kinesis(kinesis_local: KinesisLocal, aws_environment: dict[str, str]) -> Iterator[KinesisService]:
    del aws_environment
    config = Config(read_timeout=60, retries={"mode": "standard", "total_max_attempts": 5})
    client = boto3.client("kinesis", endpoint_url=kinesis_local.endpoint_url, region_name=REGION, config=config)
    yield KinesisService("kinesis-local", client)
    client.close()


class Resharding:
    """Splits and merges shards of a stream, and sets their number."""

    def __init__(self, kinesis: KinesisService, stream: str) -> None:
        self._kinesis = kinesis
        self._stream = stream
        self._random = random.Random(1)

    def split(self) -> None:
        low, high, shard = self._random.choice([each for each in self._open() if each[0] < each[1]])
        middle = str((low + high) // 2 + 1)
        self._kinesis.client.split_shard(StreamName=self._stream, ShardToSplit=shard, NewStartingHashKey=middle)
        self._kinesis.settle(self._stream)

    def merge(self) -> None:
        shards = self._open()
        place = self._random.randrange(len(shards) - 1)
        pair = {"ShardToMerge": shards[place][2], "AdjacentShardToMerge": shards[place + 1][2]}
        self._kinesis.client.merge_shards(StreamName=self._stream, **pair)
        self._kinesis.settle(self._stream)

    def set_count(self, share: float) -> None:
        """Let AWS split and merge until there is such a share of the shards that were."""
        count = max(1, round(len(self._open()) * share))
        self._kinesis.client.update_shard_count(
            StreamName=self._stream, TargetShardCount=count, ScalingType="UNIFORM_SCALING"
        )
        self._kinesis.settle(self._stream)

    def _open(self) -> list[tuple[int, int, str]]:
        """Return the open shards in the order of their hash keys."""
        shards = self._kinesis.shards(self._stream, "AT_LATEST")
        ranges = ((each["HashKeyRange"], each["ShardId"]) for each in shards)
        return sorted((int(keys["StartingHashKey"]), int(keys["EndingHashKey"]), name) for keys, name in ranges)


@pytest.mark.timeout(120 + 6 * SHARDS)
@pytest.mark.parametrize("workers", [1, 4] if IS_WHOLE else [2])
def test_each_change_is_published_once_and_the_late_ones_are_flagged_while_shards_split_and_merge(
    workers: int, kinesis: KinesisService, kafka: KafkaBroker, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    stream = kinesis.create(SHARDS)
    properties = kafka.client_properties()
    file = write_file(
        tmp_path,
        properties | {"session.timeout.ms": 6_000},
        name := unique("resharding"),
        tables=[TABLE],
        source={"type": "kinesis", "streams": [stream], "endpoint_url": kinesis.client.meta.endpoint_url},
        lanes=8,
    )
    topic = f"{name}.{TABLE}"
    feed = ChangeFeed(kinesis.client, stream, table=TABLE, items=10 * SHARDS, seed=workers)
    resharding = Resharding(kinesis, stream)
    steps: dict[int, Callable[[], None]] = {
        2: resharding.split,
        3: resharding.merge,
        5: lambda: resharding.set_count(1.25),
        6: resharding.merge,
        8: resharding.split,
        9: lambda: resharding.set_count(0.8),
    }
    running: list[LoggedWorker] = []

    def start() -> None:
        running.append(LoggedWorker(file))

    def verdict() -> Verdict:
        return check(feed.history, read_committed(properties, [topic]))

    def has_more_than(count: int) -> bool:
        return verdict().found > count

    try:
        for _ in range(workers):
            start()
        for number in range(ROUNDS):
            feed.put(CHANGES)
            steps.get(number, lambda: None)()
            if number in {4, 7}:
                wait_for("changes are published", partial(has_more_than, verdict().found), 60 + SHARDS)
                running.pop(0).close()
                start()
        feed.finish()
        wait_for("all changes", lambda: not verdict().lost, 60 + 4 * SHARDS)
    finally:
        for worker in running:
            worker.close()

    last = verdict()
    assert last.good, last
    assert last.late > 0
    assert feed.repeated > 0
    tell(f"{SHARDS} shards, {workers} workers: {last.found:,} changes, {feed.repeated} repeated, {last.late} late")
