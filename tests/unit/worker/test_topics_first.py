"""Topics of tables that are met in records are made before the page is answered, and not for what is skipped."""

from __future__ import annotations

import pytest

from tailrace.core.change import Origin, Skip
from tailrace.core.ports import ReadError, ReadFailure, ShardReader, SourcePage, SourceRecord
from tailrace.core.shard import Position, ShardRef
from tailrace.errors import WorldError
from tailrace.process.host import ThreadedHost
from tailrace.worker.topics_first import TopicsFirst

SHARD = ShardRef("stream", "shard")
HEAD = Position("TRIM_HORIZON")


def record(table: str, skipped: Skip | None = None) -> SourceRecord:
    return SourceRecord(Origin(table, "1", 0, b""), None, skipped=skipped)


class Pages(ShardReader):
    def __init__(self, *records: SourceRecord) -> None:
        self.records = list(records)

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> SourcePage:
        return SourcePage(self.records, "next", size_bytes=1, full=False)


def test_topics_are_made_once_for_what_is_published() -> None:
    made: list[str] = []
    pages = Pages(record("a"), record("b", "unwanted"), record("c"), record("a"))
    reader = TopicsFirst(pages, lambda table, _: made.append(table), ThreadedHost())
    for _ in range(2):
        assert reader.read(SHARD, HEAD, None).records == pages.records
    assert made == ["a", "c"]


def test_topics_are_looked_at_again_after_a_while() -> None:
    made: list[str] = []
    host = ThreadedHost()
    host.monotonic_s = iter([1.0, 30.0, 31.5]).__next__
    reader = TopicsFirst(Pages(record("a")), lambda table, _: made.append(table), host)
    for _ in range(3):
        reader.read(SHARD, HEAD, None)
    assert made == ["a", "a"]


def test_a_topic_that_cannot_be_made_is_tried_again_with_the_page() -> None:
    outcomes = [WorldError("Kafka refuses it", hint="ask"), None]

    def make(_table: str, _stream: str) -> None:
        if error := outcomes.pop(0):
            raise error

    reader = TopicsFirst(Pages(record("a")), make, ThreadedHost())
    with pytest.raises(ReadError, match="Kafka refuses it") as caught:
        reader.read(SHARD, HEAD, None)
    assert caught.value.failure is ReadFailure.UNAVAILABLE
    assert reader.read(SHARD, HEAD, None).records
