"""The segments of a snapshot worker's lanes: what is read next, what waits at the barrier, what may be published."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from tailrace.core.checkpoint import SegmentRecord, SegmentRef, SnapshotRecord
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.pacing import Backoff
from tailrace.core.page import Outgoing, SetAside
from tailrace.core.ports import ReadError, ReadFailure, TableFacts
from tailrace.core.read_rate import ReadRate
from tailrace.errors import WorldError
from tailrace.process.host import Host
from tailrace.snapshot.chunk import Chunk
from tailrace.snapshot.export_window import ExportWindow
from tailrace.snapshot.observer import SnapshotNotice, SnapshotNoticeKind, SnapshotObserver
from tailrace.snapshot.parts import SnapshotParts
from tailrace.snapshot.publisher import NotPublished, Published
from tailrace.snapshot.rows import RowReader
from tailrace.snapshot.window import Mark, RowKey, Window

logger = logging.getLogger("tailrace.snapshot")

READS_PER_READER = 2
"""Reads that wait for a reader, so that none is idle."""
_READ_BACKOFF = Backoff(base_ms=200, max_ms=20_000)
_REFUSED_BACKOFF = Backoff(base_ms=15_000, max_ms=300_000)
_FACTS_RETRY_MS = 5_000


class Read(msgspec.Struct, frozen=True):
    """A read to be carried out."""

    reader: RowReader
    segment: SegmentRef
    record: SegmentRecord
    mark: Mark


class Failed(msgspec.Struct, frozen=True):
    """A read that failed."""

    segment: SegmentRef
    mark: Mark
    failure: ReadFailure
    reason: str


@dataclass
class _Segment:
    """One unfinished segment."""

    record: SegmentRecord
    """As it is committed; the checkpoint state may show it later."""
    reading: Mark | None = None
    """The mark of the read that is awaited."""
    chunk: Chunk | None = None
    not_before_ms: int = 0
    failures: int = 0

    @property
    def is_idle(self) -> bool:
        return self.reading is None and self.chunk is None


@dataclass
class _Refused:
    """What the broker refused of a segment's next chunk."""

    too_large: dict[RowKey, SetAside] = field(default_factory=dict)
    times: int = 0
    """How often in a row it refused a topic."""
    not_before_ms: int = 0


@dataclass
class _Table:
    """A table whose rows are read."""

    snapshot: SnapshotRecord
    facts: TableFacts
    reader: RowReader
    rate: ReadRate
    window: Window
    segments: dict[SegmentRef, _Segment] = field(default_factory=dict)


class Segments:
    """Follows the segments of the lanes of one worker. For one thread."""

    def __init__(
        self,
        parts: SnapshotParts,
        observer: SnapshotObserver,
        host: Host,
        on_replaced: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_replaced` hears of each Kafka client that had stopped and was replaced."""
        self._parts = parts
        self._on_replaced = on_replaced
        self._window = parts.window(on_replaced)
        """Of all tables whose rows are read now; those of an export have one of their own."""
        self._observer = observer
        self._host = host
        self._tables: dict[str, _Table] = {}
        self._committed: dict[SegmentRef, SegmentRecord] = {}
        """What this worker committed while it holds the lane: the checkpoint state may be behind it."""
        self._refused: dict[SegmentRef, _Refused] = {}
        self._reads = 0
        """Reads under way, also those that nobody waits for any more."""
        self._describe_ms: dict[str, int] = {}

    @property
    def any(self) -> bool:
        """Whether there is anything to read or to publish."""
        return any(table.segments for table in self._tables.values())

    def are_in(self, lane: int) -> bool:
        """Return whether a lane has unfinished segments."""
        return any(self._lane_of(segment) == lane for table in self._tables.values() for segment in table.segments)

    # What there is to do

    def follow(self, checkpoint_state: CheckpointState, lanes: Collection[int]) -> None:
        """Follow the running snapshots, their segments in `lanes`, and their topics. Raises KafkaException."""
        snapshots = checkpoint_state.snapshots
        running = {table: snapshots.snapshots[table] for table in snapshots.running}
        for name in [*self._tables]:
            if name not in running or running[name].id != self._tables[name].snapshot.id:
                self._leave(name)
        for name, snapshot in running.items():
            is_in_turn = snapshots.is_in_turn(name)
            mine = {
                segment: self._committed.get(segment, record)
                for segment, record in snapshots.segments_of(name).items()
                if self._lane_of(segment) in lanes and is_in_turn(segment)
            }
            todo = {each: record for each, record in mine.items() if snapshots.is_to_be_read(name, record)}
            table = self._tables.get(name) or (self._enter(name, snapshot) if todo else None)
            if table is not None:
                for segment, record in todo.items():
                    table.segments.setdefault(segment, _Segment(record))
                if not table.segments:
                    self._leave(name)
        followed: dict[Window, set[str]] = {self._window: set()}
        for name, table in self._tables.items():
            followed.setdefault(table.window, set()).update(self._parts.topics_of(name))
        for window, topics in followed.items():
            window.follow(topics)

    def restart(self, lane: int) -> None:
        """Begin again from what is committed: the lane was claimed, or given up."""
        for table in self._tables.values():
            for segment in [each for each in table.segments if self._lane_of(each) == lane]:
                self._drop(table, table.segments.pop(segment))
        for segment in [each for each in self._committed if self._lane_of(each) == lane]:
            del self._committed[segment]

    def _enter(self, name: str, snapshot: SnapshotRecord) -> _Table | None:
        now_ms = self._host.now_ms()
        if now_ms < self._describe_ms.get(name, 0):
            return None
        try:
            facts = self._parts.facts(name)
            self._parts.ensure_topics(name)
        except (ReadError, WorldError) as error:
            self._describe_ms[name] = now_ms + _FACTS_RETRY_MS
            logger.warning("table %s cannot be read for its snapshot, trying again: %s", name, error)
            return None
        window = self._parts.export_window(snapshot, self._on_replaced) if snapshot.exports else self._window
        reader = self._parts.reader(snapshot, facts, self._host.now_ms)
        table = _Table(snapshot, facts, reader, ReadRate(now_ms), window)
        self._tables[name] = table
        return table

    def _leave(self, name: str) -> None:
        table = self._tables.pop(name)
        for segment in table.segments.values():
            self._drop(table, segment)
        table.reader.close()
        if table.window is not self._window:
            table.window.close()

    def _drop(self, table: _Table, segment: _Segment) -> None:
        if segment.chunk is not None:
            table.window.release(segment.chunk.mark)

    def _lane_of(self, segment: SegmentRef) -> int:
        return segment.lane(self._parts.lane_count)

    # Reading

    def reads_due(self, checkpoint_state: CheckpointState, held: Collection[int]) -> Iterator[Read]:
        """Yield the reads of segments in `held` lanes that are due, as far as readers and memory allow."""
        now_ms = self._host.now_ms()
        held_bytes = sum(chunk.page.size_bytes for chunk in self._waiting())
        page_bytes, most_bytes = self._parts.policy.page_bytes, self._parts.buffer_bytes
        for table in self._tables.values():
            table.rate.allow(self._share_of(table, checkpoint_state), now_ms)
            under_way = sum(segment.reading is not None for segment in table.segments.values())
            for name, segment in table.segments.items():
                expected_bytes = held_bytes + (self._reads + 1) * page_bytes
                if self._reads >= self._parts.reader_count * READS_PER_READER:
                    return
                if (held_bytes or self._reads) and expected_bytes > most_bytes:
                    return
                if table.rate.wait_ms(now_ms, under_way=under_way):
                    break
                refused = self._refused.get(name)
                not_before_ms = max(segment.not_before_ms, refused.not_before_ms if refused else 0)
                if segment.is_idle and now_ms >= not_before_ms and self._lane_of(name) in held:
                    self._reads += 1
                    under_way += 1
                    segment.reading = self._mark(table, name)
                    yield Read(table.reader, name, segment.record, segment.reading)

    def _mark(self, table: _Table, segment: SegmentRef) -> Mark:
        topics = self._parts.topics_of(segment.table)
        if not isinstance(table.window, ExportWindow):
            return table.window.mark(topics)
        return table.window.mark_export(topics, segment.in_export[0])

    def take_in(self, answer: Chunk | Failed) -> None:
        """Take in the answer to a read."""
        self._reads -= 1
        table = self._tables.get(answer.segment.table)
        segment = table.segments.get(answer.segment) if table is not None else None
        if table is None or segment is None or segment.reading != answer.mark:
            (table.window if table is not None else self._window).release(answer.mark)
            return
        segment.reading = None
        now_ms = self._host.now_ms()
        if isinstance(answer, Failed):
            table.window.release(answer.mark)
            self._failed(table, segment, answer, now_ms)
            return
        segment.failures = 0
        refused = self._refused.get(answer.segment)
        segment.chunk = answer if refused is None else _set_aside(answer, refused.too_large)
        table.rate.used(answer.next.read_units - answer.follows.read_units, now_ms)

    def _failed(self, table: _Table, segment: _Segment, failed: Failed, now_ms: int) -> None:
        segment.failures += 1
        segment.not_before_ms = now_ms + _READ_BACKOFF.pause_ms(segment.failures, self._host.random())
        if failed.failure is ReadFailure.THROTTLED:
            table.rate.throttled(now_ms)
            return
        self._tell(SnapshotNoticeKind.READ_FAILED, failed.segment, failed.reason)

    def _share_of(self, table: _Table, checkpoint_state: CheckpointState) -> float:
        """Return this worker's part of the read capacity, by its part of the unfinished segments."""
        records = checkpoint_state.snapshots.segments_of(table.facts.table).values()
        unfinished = sum(each.state == "running" for each in records)
        return self._parts.read_capacity(table.facts) * min(1.0, len(table.segments) / max(1, unfinished))

    # Publishing

    def publishable(self, checkpoint_state: CheckpointState, held: Collection[int], whole_ms: int) -> list[Chunk]:
        """Return the chunks of `held` lanes whose barrier has passed, those first that were read first.

        The checkpoint state shows all that was committed up to `whole_ms`: the barrier must know of every shard, and of
        all that were listed together (`core.barrier`).
        """
        now_ms, settle_ms = self._host.now_ms(), self._parts.policy.settle_ms
        if now_ms - whole_ms > 2 * self._parts.policy.second_child_ms:
            return []
        until_ms: dict[str, int] = {}
        found = []
        for chunk in self._waiting():
            name = chunk.segment.table
            if name not in until_ms:
                until_ms[name] = self._parts.published_until_ms(checkpoint_state, name, now_ms)
            if not self._tables[name].window.is_caught_up:
                continue
            is_past = until_ms[name] >= chunk.read_ms + settle_ms and whole_ms >= chunk.read_ms
            if is_past and self._lane_of(chunk.segment) in held:
                found.append(chunk)
        return sorted(found, key=lambda chunk: chunk.read_ms)

    def published(self, chunk: Chunk, answer: Published, seconds: float) -> None:
        """Take in that a chunk was committed."""
        table = self._tables[chunk.segment.table]
        segment = table.segments[chunk.segment]
        self._drop(table, segment)
        segment.chunk, segment.record = None, answer.record
        self._refused.pop(chunk.segment, None)
        self._committed[chunk.segment] = answer.record
        before, after = chunk.follows, answer.record
        if answer.aborts:
            self._observer.chunk_aborted(chunk.segment.table, after.stale - before.stale)
        self._observer.chunk_published(
            chunk.segment.table,
            rows=after.rows - before.rows,
            stale=after.stale - before.stale,
            deletes=after.deletes - before.deletes,
            size_bytes=after.size_bytes - before.size_bytes,
            read_units=after.read_units - before.read_units,
            seconds=seconds,
        )
        if after.state != "running":
            del table.segments[chunk.segment]
            failed = after.state == "failed"
            kind = SnapshotNoticeKind.SEGMENT_FAILED if failed else SnapshotNoticeKind.SEGMENT_DONE
            self._tell(kind, chunk.segment, after.detail or f"{after.rows} rows")

    def refused(self, chunk: Chunk, answer: NotPublished) -> None:
        """Take in that a chunk was not committed: rows that are too large become dead letters, bare ones if need be."""
        refusals, page = answer.lost.refusals, answer.page
        if not refusals:
            return
        refused = self._refused.setdefault(chunk.segment, _Refused())
        for refusal in refusals:
            if refusal.too_large:
                record = page.records[refusal.record]
                is_letter = record.is_dead_letter or refusal.record in page.set_aside
                refused.too_large[_named(record)] = SetAside(refusal.reason, bare=is_letter)
        if not any(each.too_large for each in refusals):
            refused.times += 1
            pause_ms = _REFUSED_BACKOFF.pause_ms(refused.times, self._host.random())
            refused.not_before_ms = self._host.now_ms() + pause_ms
            self._tell(SnapshotNoticeKind.READ_FAILED, chunk.segment, refusals[0].reason)

    # The windows

    def read_windows(self) -> None:
        """Take in what has changed, without waiting. Raises KafkaException, WorldError."""
        for window in {self._window, *(table.window for table in self._tables.values())}:
            window.read_on()

    def window_of(self, chunk: Chunk) -> Window:
        """Return the window of a chunk's mark."""
        return self._tables[chunk.segment.table].window

    def close(self) -> None:
        """Close the windows, and what is read from."""
        for name in [*self._tables]:
            self._leave(name)
        self._window.close()

    def _waiting(self) -> Iterable[Chunk]:
        for table in self._tables.values():
            for segment in table.segments.values():
                if segment.chunk is not None:
                    yield segment.chunk

    def _tell(self, kind: SnapshotNoticeKind, segment: SegmentRef, detail: str) -> None:
        self._observer.notice(SnapshotNotice(kind, detail, table=segment.table, segment=segment.name))


def _named(record: Outgoing) -> RowKey:
    """Return what tells a record from the others of a chunk, in the next read too."""
    return record.topic, record.key or record.origin.raw


def _set_aside(chunk: Chunk, too_large: Mapping[RowKey, SetAside]) -> Chunk:
    """Return the chunk with the records marked that are too large for their topics."""
    marks = {
        index: too_large[_named(record)]
        for index, record in enumerate(chunk.page.records)
        if _named(record) in too_large
    }
    page = msgspec.structs.replace(chunk.page, set_aside=chunk.page.set_aside | marks)
    return msgspec.structs.replace(chunk, page=page)
