"""The lister's loop goes on whatever the source answers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from tailrace.core.checkpoint import ShardKey, ShardRecord, Write
from tailrace.core.ports import ReadError, ReadFailure, StreamListing, TableStream
from tailrace.core.shard import ListedShard, ShardRef, lane_of
from tailrace.core.view import View
from tailrace.runtime.lister import ListerLoop

_T = TypeVar("_T")

PARENT = ShardRef("arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/1", "shardId-1")


class StillEngine:
    """Answers at once."""

    def __init__(self) -> None:
        self.view = View(4)
        record = ShardRecord(table="orders", parents=(), start="TRIM_HORIZON", seen_ms=0, initial=True)
        self.view.apply(lane_of(PARENT, 4), ShardKey(*PARENT), record)

    def ask(self, question: Callable[[View], _T]) -> Future[_T]:
        answer: Future[_T] = Future()
        answer.set_result(question(self.view))
        return answer

    def publish(self, incarnation: int, writes: tuple[Write, ...]) -> None:
        """Nothing is ever committed."""

    def now_ms(self) -> int:
        return 0


class SilentLister:
    """Shows a child whose other parent it will not talk about."""

    def __init__(self) -> None:
        self.asked: list[ShardRef] = []

    def table_names(self, patterns: list[str]) -> list[str]:
        return patterns

    def table_stream(self, table: str) -> TableStream:
        raise ReadError("no answer", ReadFailure.UNAVAILABLE)

    def shards(self, stream_arn: str) -> StreamListing:
        raise ReadError("no answer", ReadFailure.UNAVAILABLE)

    def children(self, shard: ShardRef) -> tuple[ListedShard, ...]:
        return (ListedShard("shardId-3", ("shardId-1", "shardId-2")),)

    def exists(self, shard: ShardRef) -> bool:
        self.asked.append(shard)
        raise ReadError("no answer", ReadFailure.UNAVAILABLE)


def test_a_failure_while_looking_for_children_does_not_end_the_listing() -> None:
    lister = SilentLister()
    loop = ListerLoop(
        StillEngine(),
        lister,
        1,
        table_names=lambda: ["orders"],
        start="TRIM_HORIZON",
        interval_s=1.0,
        prepare_table=lambda _: None,
    )
    loop._find_children(PARENT)
    assert [shard.shard_id for shard in lister.asked] == ["shardId-2"]
