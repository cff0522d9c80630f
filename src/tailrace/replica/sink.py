"""The sink of copies of tables: items and positions in one DynamoDB, so that neither can be without the other.

With versions, items are written first, each unless it has a newer state already, then the position. Whoever writes
something again, or late, changes nothing. In transactions, items and position are written together, if the position is
still where it was read and its owner is this process.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
from confluent_kafka import Message

from tailrace.errors import RecordError, UnreachableError, WorldError
from tailrace.kafka.watched_consumer import Place
from tailrace.replica.answers import Answer, Verdict
from tailrace.replica.chunks import Bounds, Chunk, chunks
from tailrace.replica.control import Control, CopiedTopic, Progress
from tailrace.replica.records import STAGE, Copy, ItemWrite, Reading
from tailrace.replica.requests import TRANSACTION_BYTES, TRANSACTION_ITEMS, Request, Versioned, transaction
from tailrace.replica.writer import Writer
from tailrace.sinks.contract import FencedError, LaterError, commit_each
from tailrace.sinks.progress import Position

CHUNK: Final = Bounds(items=1_000, size_bytes=4 << 20)
BATCH: Final = Bounds(items=4_000, size_bytes=16 << 20)
"""What a partition may hold; then it is written."""
GIVEN_UP_MS: Final = 120_000
"""A partition that was given up so long ago is another process's."""
PATIENCE_MS: Final = 20_000
"""How long a chunk is tried. Then the partition is given up and claimed again, so that its group never waits long."""


class SetAside(Protocol):
    """Keeps records that cannot be written."""

    def set_aside(self, record: Message, error: RecordError) -> None:
        """Keep a record."""
        ...

    def flush(self) -> None:
        """Return when they are kept for good."""
        ...


class Counts(msgspec.Struct):
    """What a process wrote of a table."""

    written: int = 0
    """States of items."""
    deleted: int = 0
    older: int = 0
    """States that the copy had already, or newer ones."""
    refused: int = 0
    """Records that were set aside."""


class _Claimed:
    """A partition that this process writes."""

    def __init__(self, copy: Copy, topic: CopiedTopic, owner: str, progress: Progress | None) -> None:
        self.copy = copy
        self.topic = topic
        self.owner = owner
        self.progress = progress
        self.writes: list[ItemWrite] = []
        self.size_bytes = 0


class ReplicaSink:
    """A sink. Any number of processes may write to the same copies."""

    def __init__(
        self,
        control: Control,
        writer: Writer,
        reading: Reading,
        *,
        identity: str,
        copy_of: Callable[[str], Copy],
        partitions_of: Callable[[str], int],
        set_aside: SetAside,
        versioned: Versioned | None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """`copy_of` describes the copy of a topic's table, as it is now. Without `versioned`, write in transactions."""
        self.identity = identity
        self.counts: dict[str, Counts] = {}
        """By table."""
        self._oldest_ms: dict[Place, int] = {}
        """The time of the oldest record of each partition that was read and is not written."""
        self._released_ms: dict[Place, int] = {}
        self._control = control
        self._writer = writer
        self._reading = reading
        self._copy_of = copy_of
        self._partitions_of = partitions_of
        self._set_aside = set_aside
        self._versioned = versioned
        self._now_ms = now_ms
        self._claimed: dict[Place, _Claimed] = {}
        self._tables: dict[str, str] = {}
        """By topic."""
        self._transaction_items = TRANSACTION_ITEMS
        """Fewer, while the table has no capacity for more at once."""

    def claim(self, place: Place, topic_id: str) -> Position | None:
        """Become the owner of a partition, so that no other moves its position; late writes need no fence."""
        self.release([place])
        copy, partitions = self._copy_of(place.topic), self._partitions_of(place.topic)
        self._tables[place.topic] = copy.table
        topic = self._control.topic(place.topic, topic_id, partitions)
        if topic.topic_id != topic_id:
            return Position(0, topic.topic_id)
        if topic.partitions != partitions:
            raise WorldError(
                f"the topic {place.topic} has {partitions} partitions, and had {topic.partitions} when its copy was "
                "begun: changes of one item lie in two, which have no order",
                hint="begin again with another topic, whose partitions stay as they are, and other tables",
            )
        owner = secrets.token_hex(8)
        progress = self._control.claim(place, topic.epoch, owner)
        self._claimed[place] = _Claimed(copy, topic, owner, progress)
        self._released_ms.pop(place, None)
        return Position(progress.next_offset, topic_id) if progress is not None else None

    def position(self, place: Place) -> Position | None:
        """Return how far the copy is."""
        topic = self._control.known_topic(place.topic)
        if topic is None:
            return None
        progress = self._control.progress(place, topic.epoch)
        return Position(progress.next_offset, topic.topic_id) if progress is not None else None

    def write(self, place: Place, records: Sequence[Message]) -> None:
        """Read what records ask for."""
        claimed = self._claimed[place]
        for record in records:
            try:
                write = self._reading.write_of(record, claimed.copy)
            except RecordError as error:
                self._refuse(claimed.copy, record, error)
                continue
            if write is not None:
                claimed.writes.append(write)
                claimed.size_bytes += write.size_bytes
        self._oldest_ms.setdefault(place, records[0].timestamp()[1])

    def is_full(self, place: Place) -> bool:
        """Return whether there is enough to be written at once."""
        claimed = self._claimed[place]
        return len(claimed.writes) >= BATCH.items or claimed.size_bytes >= BATCH.size_bytes

    def commit(self, ends: Mapping[Place, int]) -> set[Place]:
        """Write one partition after the other, chunk by chunk, each with its position."""
        return commit_each(self._commit, ends)

    def release(self, places: Iterable[Place]) -> None:
        """Drop what is not written."""
        for place in places:
            if self._claimed.pop(place, None) is not None:
                self._released_ms[place] = self._now_ms()

    def behind_s(self) -> dict[str, float]:
        """Return how old the oldest change is that was read and is not written, by table; 0: there is none.

        A partition that was given up counts for a while: mostly it is claimed again.
        """
        now_ms = self._now_ms()
        found = dict.fromkeys((each.copy.table for each in self._claimed.copy().values()), 0.0)
        for place, oldest_ms in self._oldest_ms.copy().items():
            if self._released_ms.get(place, now_ms) + GIVEN_UP_MS > now_ms:
                table = self._tables.get(place.topic, place.topic)
                found[table] = max(found.get(table, 0.0), (now_ms - oldest_ms) / 1000)
        return found

    @property
    def _bounds(self) -> Bounds:
        if self._versioned is not None:
            return CHUNK
        return Bounds(self._transaction_items, TRANSACTION_BYTES)

    def _commit(self, place: Place, next_offset: int) -> None:
        claimed = self._claimed[place]
        writes, claimed.writes, claimed.size_bytes = claimed.writes, [], 0
        try:
            self._write_all(place, claimed, writes, next_offset)
        except UnreachableError as error:
            raise LaterError(error.message) from error
        self._oldest_ms.pop(place, None)

    def _write_all(self, place: Place, claimed: _Claimed, writes: Sequence[ItemWrite], next_offset: int) -> None:
        self._set_aside.flush()
        for chunk in chunks(writes, next_offset, self._bounds):
            if self._versioned is not None:
                self._write_versions(place, claimed, chunk, self._versioned)
            else:
                self._write_together(place, claimed, chunk.writes, chunk.next_offset)

    def _write_versions(self, place: Place, claimed: _Claimed, chunk: Chunk[ItemWrite], versioned: Versioned) -> None:
        asked: list[tuple[ItemWrite, Request]] = []
        for write in chunk.writes:
            try:
                asked.append((write, versioned.request(write, claimed.topic.epoch, self._now_ms())))
            except RecordError as error:
                self._refuse(write.copy, write.message, error)
        answers = self._writer.carry_out([request for _, request in asked], PATIENCE_MS)
        left = [write.offset for (write, _), answer in zip(asked, answers, strict=True) if answer is None]
        for (write, _), answer in zip(asked, answers, strict=True):
            if answer is not None:
                self._count(write, answer)
        self._set_aside.flush()
        # What comes before the first that is left is written, or is older than what will be.
        self._move(place, claimed, chunk.writes, min(left, default=chunk.next_offset))
        if left:
            raise LaterError(f"{claimed.copy.name} did not take {len(left)} of {len(asked)} writes in time")

    def _write_together(self, place: Place, claimed: _Claimed, writes: Sequence[ItemWrite], next_offset: int) -> None:
        progress = self._progress(claimed, writes, next_offset)
        before = claimed.progress.next_offset if claimed.progress is not None else None
        update = self._control.move(place, claimed.topic.epoch, claimed.owner, progress, before=before)
        (answer,) = self._writer.carry_out([transaction(writes, update)], PATIENCE_MS)
        if answer is None:
            self._transaction_items = max(1, self._transaction_items // 2)
            raise LaterError(f"{claimed.copy.name} did not take a transaction of {len(writes)} writes in time")
        self._transaction_items = min(TRANSACTION_ITEMS, self._transaction_items + 1)
        if answer.verdict is Verdict.CONDITION:
            self._require_moved(place, claimed, next_offset)
        elif answer.verdict is Verdict.REFUSED:
            self._write_without(place, claimed, writes, next_offset, answer)
            return
        claimed.progress = progress
        for write in writes:
            self._count(write, Answer(Verdict.WRITTEN))

    def _write_without(
        self, place: Place, claimed: _Claimed, writes: Sequence[ItemWrite], next_offset: int, answer: Answer
    ) -> None:
        """Write what is not refused: alone, or in halves until it is known what that is."""
        if len(writes) <= 1:
            if not writes:
                raise WorldError(answer.text, hint="check the control table")
            self._count(writes[0], answer)
            self._set_aside.flush()
            self._write_together(place, claimed, (), next_offset)
            return
        middle = len(writes) // 2
        # Before the second half begins, all is written: what it holds of other items comes behind.
        self._write_together(place, claimed, writes[:middle], writes[middle].offset)
        self._write_together(place, claimed, writes[middle:], next_offset)

    def _move(self, place: Place, claimed: _Claimed, writes: Sequence[ItemWrite], next_offset: int) -> None:
        """Move the position, if this process is still the owner."""
        before = claimed.progress.next_offset if claimed.progress is not None else None
        if before == next_offset:
            return
        progress = self._progress(claimed, writes, next_offset)
        update = self._control.move(place, claimed.topic.epoch, claimed.owner, progress, before=before)
        request = Request("UpdateItem", msgspec.json.encode(update), self._control.table, 1)
        (answer,) = self._writer.carry_out([request], PATIENCE_MS)
        if answer is None:
            raise LaterError(f"the table {self._control.table} did not take a position in time")
        if answer.verdict is Verdict.CONDITION:
            self._require_moved(place, claimed, next_offset)
        elif answer.verdict is not Verdict.WRITTEN:
            raise WorldError(answer.text, hint="check the control table")
        claimed.progress = progress

    def _require_moved(self, place: Place, claimed: _Claimed, next_offset: int) -> None:
        """Raise FencedError, unless the position is moved already by a request whose answer was lost."""
        found = self._control.owned(place, claimed.topic.epoch, claimed.owner)
        if not isinstance(found, Progress) or found.next_offset != next_offset:
            raise FencedError

    def _progress(self, claimed: _Claimed, writes: Sequence[ItemWrite], next_offset: int) -> Progress:
        last_ms = claimed.progress.last_ms if claimed.progress is not None else 0
        times = (write.message.timestamp()[1] for write in reversed(writes) if write.offset < next_offset)
        return Progress(next_offset, next(times, last_ms), self._now_ms())

    def _count(self, write: ItemWrite, answer: Answer) -> None:
        counts = self.counts.setdefault(write.copy.table, Counts())
        if answer.verdict is Verdict.REFUSED:
            self._refuse(write.copy, write.message, RecordError(answer.text, stage=STAGE))
        elif answer.verdict is Verdict.CONDITION:
            counts.older += 1
        elif write.item is None:
            counts.deleted += 1
        else:
            counts.written += 1

    def _refuse(self, copy: Copy, message: Any, error: RecordError) -> None:
        self.counts.setdefault(copy.table, Counts()).refused += 1
        self._set_aside.set_aside(message, error)
