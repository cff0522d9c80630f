"""Which segments a worker reads and cancels, as its lanes, the orders and the segments' records change."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, cast
from unittest.mock import Mock, patch

import msgspec
import pytest

from support.checkpoints import BORN_MS
from support.snapshot_records import control, facts, result, segment, segments, snapshot
from tailrace.core.checkpoint import SegmentKey, SegmentRecord, SegmentRef, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.page import empty_page
from tailrace.core.ports import TableFacts
from tailrace.core.read_rate import ReadRate
from tailrace.core.shard import ShardRef
from tailrace.process.host import ThreadedHost
from tailrace.snapshot.chunk import Chunk
from tailrace.snapshot.observer import SnapshotObserver
from tailrace.snapshot.parts import SnapshotParts
from tailrace.snapshot.publisher import Published
from tailrace.snapshot.segments import READS_PER_READER, Read, Segments
from tailrace.snapshot.window import Window
from tailrace.sources.dynamodb.policy import POLICY

LANES = 4
ALL = range(LANES)


@pytest.fixture(autouse=True)
def _unlimited() -> Iterator[None]:
    """Let any number of reads begin at once (`core.read_rate` has tests of its own)."""
    with patch.object(ReadRate, "wait_ms", return_value=0):
        yield


class ModelWindow(Window):
    """Follows nothing."""

    def __init__(self) -> None:
        super().__init__({})

    def follow(self, topics: Collection[str]) -> None:
        """There is no topic."""

    def mark(self, topics: object) -> int:
        return self._marked({})

    @property
    def is_caught_up(self) -> bool:
        return True


class ModelParts:
    """Parts of a worker that reads as fast as it likes."""

    name = "shop"
    lane_count = LANES
    policy = POLICY
    reader_count = 1_000_000
    filter = None
    parallel_tables: int | None = None
    buffer_bytes = 1 << 60

    def window(self, _on_replaced: Callable[[], None]) -> Window:
        return ModelWindow()

    def reader(self, *_: object) -> Any:
        return Mock()

    def facts(self, table: str) -> TableFacts:
        return facts(table)

    def ensure_topics(self, table: str) -> None:
        """There is no topic."""

    def topics_of(self, table: str) -> tuple[str, ...]:
        return (table,)

    def published_until_ms(self, _state: object, _table: str, whole_ms: int) -> int:
        return whole_ms

    def read_capacity(self, _facts: TableFacts) -> float:
        return 1e9


class Worker:
    """The segments of one worker, and the checkpoint state that it follows."""

    def __init__(self, *writes: Write, parallel_tables: int | None = None) -> None:
        self.state = CheckpointState(LANES)
        parts = ModelParts()
        parts.parallel_tables = parallel_tables
        self.segments = Segments(cast(SnapshotParts, parts), cast(SnapshotObserver, Mock()), ThreadedHost())
        self.see(*writes)

    def see(self, *writes: Write) -> None:
        for each in writes:
            self.state.apply(each.partition, each.key, each.record)
            self.segments.note(each.key)

    def publishable(self) -> set[SegmentRef]:
        """Return the segments whose chunks may be published: all changes before are."""
        return {each.segment for each in self.segments.publishable(self.state, ALL, whole_ms=1 << 60)}

    def reads(self, lanes: Collection[int] = ALL) -> set[str]:
        """Follow, and return the segments whose reads are due."""
        self.segments.follow(self.state, lanes)
        return {f"{read.segment.table} {read.segment.name}" for read in self.segments.reads_due(self.state, lanes)}

    def begin(self) -> list[Read]:
        """Follow, and begin the reads that are due."""
        self.segments.follow(self.state, ALL)
        return list(self.segments.reads_due(self.state, ALL))

    def answer(self, read: Read) -> None:
        """Answer a read with an empty chunk that ends its segment."""
        self.segments.take_in(self._chunk(read))

    def publish(self, read: Read) -> None:
        """Publish the chunk of a read, and show its segment as done."""
        chunk = self._chunk(read)
        self.segments.published(chunk, Published(chunk.next, stale=0, aborts=0), 0.0)
        self.see(Write(read.segment.lane(LANES), SegmentKey(read.segment), chunk.next))

    def _chunk(self, read: Read) -> Chunk:
        done = msgspec.structs.replace(read.record, state="done")
        return Chunk(read.segment, read.record, empty_page(ShardRef("arn", "shard")), done, read.mark)

    def cancels(self, lanes: Collection[int] = ALL) -> dict[str, SegmentRecord]:
        self.segments.follow(self.state, lanes)
        found = {}
        for lane in lanes:
            writes = self.segments.cancellations(lane)
            for write in writes:
                assert isinstance(write.key, SegmentKey)
                assert isinstance(write.record, SegmentRecord)
                assert write.partition == write.key.home_lane(LANES) == lane
                found[write.key.segment.name] = write.record
            self.segments.cancelled(lane, writes)
        return found


def test_a_worker_reads_the_segments_of_its_lanes() -> None:
    worker = Worker(snapshot(), *segments(LANES, 40))
    mine = [each for each in segments(LANES, 40) if each.partition in {1, 2}]
    assert len(worker.reads({1, 2})) == len(mine)
    assert len(worker.reads(ALL)) == 40 - len(mine)  # the others are being read
    assert all(worker.segments.are_in(lane) for lane in ALL)


def test_what_was_read_for_a_snapshot_is_not_published_once_another_has_begun() -> None:
    worker = Worker(snapshot(), segment(0, LANES))
    (read,) = worker.begin()
    worker.answer(read)
    assert worker.publishable() == {read.segment}
    worker.see(snapshot(id="s2"))
    worker.begin()
    assert worker.publishable() == set()


def test_what_comes_in_any_order_is_read() -> None:
    worker = Worker(segment(0, LANES))
    assert worker.reads() == set()
    worker.see(snapshot())
    assert worker.reads() == {"orders 0"}
    worker.see(segment(1, LANES), segment(2, LANES, snapshot_id="another"))
    assert worker.reads() == {"orders 1"}
    worker.see(segment(0, LANES, state="done"), result())
    assert worker.reads() == set()
    assert not worker.segments.any


def test_a_failed_segment_is_read_again_once_it_is_resumed() -> None:
    worker = Worker(snapshot(), segment(0, LANES, state="failed"))
    assert worker.reads() == set()
    worker.see(control("run", at_ms=BORN_MS + 1))
    assert worker.reads() == {"orders 0"}


def test_tables_are_read_one_after_the_other_if_the_file_says_so() -> None:
    first = [snapshot(), segment(0, LANES)]
    second = [snapshot("users", id="s2"), segment(0, LANES, table="users", snapshot_id="s2")]
    worker = Worker(*second, *first, parallel_tables=1)
    assert worker.reads() == {"orders 0"}
    worker.see(control("pause"))
    assert worker.reads() == {"users 0"}
    worker.see(control("run"))
    assert worker.reads() == {"orders 0"}
    worker.see(segment(0, LANES, state="done"), result())
    assert worker.reads() == {"users 0"}
    assert Worker(*second, *first).reads() == {"orders 0", "users 0"}


def test_a_worker_cancels_what_is_not_done_in_its_lanes_and_publishes_nothing_of_it() -> None:
    done, failed = segment(0, LANES, state="done"), segment(1, LANES, state="failed")
    worker = Worker(snapshot(), done, failed, segment(2, LANES, cursor="c", rows=7), segment(3, LANES))
    assert len(worker.reads()) == 2
    worker.see(control("cancel"))
    cancelled = worker.cancels()
    assert cancelled.keys() == {"1", "2", "3"}
    assert {each.state for each in cancelled.values()} == {"cancelled"}
    assert (cancelled["2"].cursor, cancelled["2"].rows) == ("c", 7)
    assert worker.reads() == set()
    assert worker.cancels() == {}
    assert not any(worker.segments.are_in(lane) for lane in ALL)


def test_a_lane_that_is_claimed_cancels_from_what_is_committed() -> None:
    worker = Worker(snapshot(), *segments(LANES, 8), control("cancel"))
    worker.segments.follow(worker.state, ALL)
    for lane in ALL:
        worker.segments.restart(lane)
    assert len(worker.cancels()) == 8


def test_nothing_is_cancelled_of_a_snapshot_that_has_ended() -> None:
    worker = Worker(snapshot(), *segments(LANES, 8), control("cancel"))
    worker.segments.follow(worker.state, ALL)
    worker.see(result(outcome="cancelled"))
    assert worker.cancels() == {}


def test_deletes_are_looked_for_in_a_few_partitions_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds a consumer, and its keys on disk, until it is done or its lane is lost."""
    monkeypatch.setattr(ModelParts, "reader_count", 2)
    names = [SegmentRef.for_deletes("orders", "s", "shop.orders", partition).name for partition in range(100)]
    worker = Worker(snapshot(), *[segment(name, LANES) for name in names])
    began = worker.begin()
    assert len(began) == 2 * READS_PER_READER
    assert worker.begin() == []
    published, lost = began[0], began[1]
    for read in began:
        worker.answer(read)
    assert worker.begin() == [], "those that have begun wait at the barrier"
    worker.publish(published)
    assert published.segment not in {read.segment for read in worker.begin()}
    in_lane = {read.segment for read in began[1:] if read.segment.lane(LANES) == lost.segment.lane(LANES)}
    worker.segments.restart(lost.segment.lane(LANES))
    left = {one.args[0] for one in lost.reader.leave.call_args_list}  # type: ignore[attr-defined]  # a mock
    assert {published.segment} | in_lane <= left
    assert worker.begin()


def test_it_looks_only_at_what_has_changed() -> None:
    count = 10_000
    worker = Worker(snapshot(segments=count), *segments(LANES, count))
    worker.segments.follow(worker.state, ALL)  # enters the table
    worker.segments.restart(0)
    began_s = time.process_time()
    worker.segments.follow(worker.state, ALL)
    whole_s = time.process_time() - began_s
    began_s = time.process_time()
    for number in range(100):
        worker.see(segment(number, LANES, cursor="c"))
        worker.segments.follow(worker.state, ALL)
        assert worker.segments.any
        assert worker.segments.publishable(worker.state, ALL, 0) == []
    assert time.process_time() - began_s < whole_s
