"""The lane: a state machine without I/O that publishes the changes of its shards exactly once and in order.

It is told what happened (`lane_messages.Event`) and answers what to do (`Command`). Taking a lane is three steps, in
this order and no other: fence (`OpenProducer`), commit a *taken* record, wait until the view shows that very record;
then everything committed before the fence has been seen, and nothing can be committed behind it. A producer whose
last outcome is unknown is closed and the lane is taken anew.

    IDLE -> OPENING -> TAKING -> CATCHING_UP -> ACTIVE
              ^           |           |            |      producer lost, or the taken record never shows
              +------- BACKING_OFF <--+------------+
    any state -> RELEASING (a producer call is under way) -> RELEASED
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Literal

import msgspec

from tailrace.core.checkpoint import Checkpoint, ListerKey, ShardState, Taken, TakenKey, Write
from tailrace.core.lane_messages import (
    CloseProducer,
    Command,
    Commit,
    Committed,
    Event,
    Notice,
    NoticeKind,
    OpenProducer,
    PageRead,
    ProducerLost,
    ProducerOpened,
    PublishLineage,
    Read,
    ReadFailed,
    Release,
    Released,
    Transaction,
)
from tailrace.core.outbox import Outbox
from tailrace.core.pacing import Backoff, Pacing
from tailrace.core.page import Page, empty_page
from tailrace.core.ports import ReadFailure
from tailrace.core.read_queue import ReadQueue
from tailrace.core.reading import Phase, Reading
from tailrace.core.refusals import Learned, RefusedRecords
from tailrace.core.room import Room
from tailrace.core.shard import ShardRef
from tailrace.core.view import View

LISTER_LANE = 0
"""The owner of this lane lists tables and shards for the whole pipeline."""


_LINGERS_BEHIND = 10
"""So many times the linger may the changes of shards that are behind wait for more to share their transaction."""
_WAITED_TOO_LONG = "it waited to be read longer than the stream keeps changes"
_CHECKPOINT_STATES: dict[Phase, ShardState] = {
    Phase.DRAINED: "ended",
    Phase.GAP: "gap",
    Phase.FAILED: "failed",
}


class LaneState(StrEnum):
    """Where the lane stands; see the drawing in the module's docstring."""

    IDLE = "idle"
    OPENING = "opening"
    TAKING = "taking"
    CATCHING_UP = "catching up"
    ACTIVE = "active"
    BACKING_OFF = "backing off"
    RELEASING = "releasing"
    RELEASED = "released"


class LaneOptions(msgspec.Struct, frozen=True):
    """Bounds and pauses of a lane."""

    batch_changes: int = 5_000
    batch_bytes: int = 8 << 20
    linger_ms: int = 50
    buffer_bytes: int = 16 << 20
    """Bound of the pages that a lane holds, those being read counted as `page_bytes` each."""
    room_bytes: int = 48 << 20
    """Bound of the pages that all lanes of a worker hold together."""
    page_bytes: int = 3 << 20
    """What a page being read may turn out to be: GetRecords answers with at most 1 MB, envelopes add to it."""
    pacing: Pacing = Pacing()
    errors_fail: bool = False
    """A record that cannot be published stops its shard instead of becoming a dead letter."""
    read_backoff: Backoff = Backoff(base_ms=200, max_ms=20_000)
    retake_backoff: Backoff = Backoff(base_ms=200, max_ms=20_000)
    fenced_pause_ms: int = 5_000
    """Pause before a fenced lane is taken back: long enough to hear from the group that it went to another worker."""
    refused_backoff: Backoff = Backoff(base_ms=15_000, max_ms=300_000)
    """Pause before a shard is read again whose topic the broker refuses: each try costs the lane a taking."""
    catch_up_timeout_ms: int = 30_000


class Lane:
    """One lane of one worker, from its assignment to its release."""

    def __init__(
        self,
        number: int,
        owner: str,
        view: View,
        options: LaneOptions,
        *,
        incarnations: Iterator[int],
        jitter: Callable[[], float],
        room: Room | None = None,
        known_until_ms: Mapping[ShardRef, int] | None = None,
    ) -> None:
        """Make a lane that is not taken. `incarnations` never gives a number twice in the life of `owner`.

        `room` is what it shares with the worker's other lanes, `known_until_ms` what `published_until_ms` returned when
        this worker last had the lane.
        """
        self.number = number
        self.owner = owner
        self.state = LaneState.IDLE
        self.incarnation = next(incarnations)
        self.readings: dict[ShardRef, Reading] = {}
        self.outbox = Outbox(number)
        self.lost_why: str | None = None
        """Why its producer was last given up; None while it is taken and before the first time."""
        self.wake_at_ms: int | None = None
        """When the lane wants a Tick; None when only an event can change anything."""
        self.waits_for_room_since_ms: int | None = None
        """Since when it would read but for what other lanes hold: a Tick lets it look again."""
        self._room = room or Room(options.room_bytes)
        self._view = view
        self._options = options
        self._incarnations = incarnations
        self._jitter = jitter
        self._committed: dict[ShardRef, Checkpoint] = {}
        """The lane's checkpoints as committed: the view's when it was taken, its own since (the view lags behind)."""
        self._queue = ReadQueue(self.readings)
        self._tickets = 0
        self._reads_under_way: set[int] = set()
        """Tickets without an answer. Those that were given up count too: their pages may be on their way."""
        self._known_until_ms = dict(known_until_ms or {})
        """What `published_until_ms` returned before the lane was lost: it stays true, and lag grows from it."""
        self._losses = 0
        self._refused = RefusedRecords()
        self._refused_topics: dict[ShardRef, tuple[int, int]] = {}
        """Shards whose topic the broker refuses: how often in a row, and when to read them again."""
        self._deadline_ms = 0
        self._synced: tuple[int, int] | None = None
        """The versions of the view that were followed; None: look at every shard again."""

    def handle(self, event: Event, now_ms: int) -> list[Command]:
        """Take in one event at `now_ms` (milliseconds since the epoch) and say what to do."""
        if self.state is LaneState.RELEASED or self._is_stale(event):
            return []
        commands: list[Command] = []
        if isinstance(event, PageRead | ReadFailed):
            self._reads_under_way.discard(event.ticket)
        match event:
            case Release():
                self._release(commands)
            case ProducerLost() if self.state not in {LaneState.IDLE, LaneState.BACKING_OFF}:
                self._lose(event, commands, now_ms)
            case _ if self.state is LaneState.RELEASING:
                self._finish_release(event, commands)
            case ProducerOpened() if self.state is LaneState.OPENING:
                self._write_taken(commands, now_ms)
            case Committed() if self.state is LaneState.TAKING:
                self.state = LaneState.CATCHING_UP
                self._deadline_ms = now_ms + self._options.catch_up_timeout_ms
            case Committed() if self.outbox.is_under_way:
                self._note_committed(commands)
            case PageRead():
                self._page_read(event, commands, now_ms)
            case ReadFailed():
                self._read_failed(event, commands, now_ms)
            case PublishLineage() if self.state is LaneState.ACTIVE:
                self.outbox.add_writes(event.writes, now_ms)
            case _:
                pass  # what follows from the time and the view comes next
        self._advance(commands, now_ms)
        self._room.hold(self.number, self._held_bytes())
        return commands

    @property
    def is_lister(self) -> bool:
        """This worker lists tables and shards now."""
        return self.number == LISTER_LANE and self.state is LaneState.ACTIVE

    def published_until_ms(self, shard: ShardRef) -> int | None:
        """Return until when all changes of `shard` are surely published; None when that is not known.

        It is the creation time of the last published change, or when the shard was last read to its present end.
        """
        known_ms = []
        if shard in self._known_until_ms:
            known_ms.append(self._known_until_ms[shard])
        checkpoint = self._committed.get(shard)
        if checkpoint is not None and checkpoint.created_ms is not None:
            known_ms.append(checkpoint.created_ms)
        reading = self.readings.get(shard)
        if reading is not None and reading.caught_up_ms is not None and not self.outbox.holds(shard):
            known_ms.append(reading.caught_up_ms)
        return max(known_ms, default=None)

    # Taking and losing

    def _is_stale(self, event: Event) -> bool:
        return getattr(event, "incarnation", self.incarnation) != self.incarnation

    def _has_call_under_way(self) -> bool:
        """A producer call was asked for and has not answered."""
        if self.state in {LaneState.OPENING, LaneState.TAKING}:
            return True
        return self.state is LaneState.ACTIVE and self.outbox.is_under_way

    def _release(self, commands: list[Command]) -> None:
        if self.state is LaneState.RELEASING:
            return
        if self._has_call_under_way():
            self.state = LaneState.RELEASING
            self.waits_for_room_since_ms = None
            return
        holds_producer = self.state in {LaneState.CATCHING_UP, LaneState.ACTIVE}
        self.state = LaneState.RELEASED
        if holds_producer:
            commands.append(CloseProducer(self.incarnation))
        commands.append(Released())

    def _finish_release(self, event: Event, commands: list[Command]) -> None:
        if isinstance(event, ProducerOpened | Committed):
            self.state = LaneState.RELEASED
            commands += [CloseProducer(self.incarnation), Released()]

    def _lose(self, event: ProducerLost, commands: list[Command], now_ms: int) -> None:
        commands.append(CloseProducer(self.incarnation))
        if self.state is LaneState.RELEASING:
            self.state = LaneState.RELEASED
            commands.append(Released())
            return
        has_learned = self._note_refusals(event, commands, now_ms) or event.learned
        self._losses += not has_learned
        pause_ms = 0 if has_learned else self._options.retake_backoff.pause_ms(self._losses, self._jitter())
        self._deadline_ms = now_ms + (self._options.fenced_pause_ms if event.fenced else pause_ms)
        self.state = LaneState.BACKING_OFF
        self._forget()
        self.incarnation = next(self._incarnations)
        self.lost_why = event.reason
        commands.append(Notice(NoticeKind.DENIED if event.denied else NoticeKind.LOST, event.reason))

    def _note_refusals(self, event: ProducerLost, commands: list[Command], now_ms: int) -> bool:
        """Remember what the broker refused; tells whether the next try will be another one."""
        has_learned = False
        for refusal in event.refusals:
            page = self.outbox.page_under_way(refusal.page)
            learned = Learned.NOTHING
            if refusal.too_large:
                learned = self._refused.note(page, refusal.record, refusal.reason)
            if learned is Learned.TOO_LARGE:
                self._notice(commands, NoticeKind.SET_ASIDE, page.shard, refusal.reason)
            if learned is Learned.NOTHING:
                self._note_refused_topic(page.shard, refusal.reason, commands, now_ms)
            has_learned |= learned is not Learned.NOTHING
        return has_learned

    def _note_refused_topic(self, shard: ShardRef, reason: str, commands: list[Command], now_ms: int) -> None:
        times, until_ms = self._refused_topics.get(shard, (0, 0))
        if until_ms > now_ms:
            return
        pause_ms = self._options.refused_backoff.pause_ms(times + 1, self._jitter())
        self._refused_topics[shard] = times + 1, now_ms + pause_ms
        self._notice(commands, NoticeKind.TOPIC_REFUSED, shard, reason)

    def _forget(self) -> None:
        """Drop all that was read: what is not committed will be read again."""
        for shard in self.readings:
            until_ms = self.published_until_ms(shard)
            if until_ms is not None:
                self._known_until_ms[shard] = until_ms
        self.readings.clear()
        self._queue.clear()
        self._reads_under_way.clear()
        self._committed.clear()
        self.outbox = Outbox(self.number)
        self._synced = None
        self.waits_for_room_since_ms = None

    def _has_work(self) -> bool:
        """A lane without shards costs nothing: it is not taken until it has one."""
        return self.number == LISTER_LANE or bool(self._view.shards_of(self.number))

    def _open(self, commands: list[Command]) -> None:
        self.incarnation = next(self._incarnations)
        self.state = LaneState.OPENING
        commands.append(OpenProducer(self.incarnation))

    @property
    def _nonce(self) -> str:
        return f"{self.owner}/{self.number}/{self.incarnation}"

    def _write_taken(self, commands: list[Command], now_ms: int) -> None:
        self.state = LaneState.TAKING
        taken = Taken(owner=self.owner, nonce=self._nonce, at_ms=now_ms)
        writes = [Write(self.number, TakenKey(), taken)]
        if self.number == LISTER_LANE:
            writes += [Write(partition, ListerKey(), taken) for partition in range(self._view.lane_count)]
        commands.append(Commit(self.incarnation, Transaction((), tuple(writes))))

    def _has_caught_up(self) -> bool:
        """The view shows this very taken record; the lister must have seen every lane up to its own."""
        taken = self._view.takers.get(self.number)
        if taken is None or taken.nonce != self._nonce:
            return False
        if self.number != LISTER_LANE:
            return True
        listers = (self._view.listers.get(partition) for partition in range(self._view.lane_count))
        return all(lister is not None and lister.nonce == self._nonce for lister in listers)

    # Publishing

    def _note_committed(self, commands: list[Command]) -> None:
        self._losses = 0
        for shard, checkpoint in self.outbox.committed().items():
            self._refused.forget(shard, checkpoint.sequence)
            self._refused_topics.pop(shard, None)
            if shard not in self.readings:
                continue  # its lineage was taken back meanwhile
            self._committed[shard] = checkpoint
            if checkpoint.state == "ended":
                self.readings[shard].phase = Phase.ENDED
                commands.append(Notice(NoticeKind.SHARD_ENDED, "published to its end", shard, checkpoint.table))

    def _restart(self, shard: ShardRef) -> Reading:
        """Read a shard again from its committed checkpoint. The outbox must not hold a page of it."""
        checkpoint = self._committed.get(shard)
        accepted = self._view.is_accepted(shard, checkpoint)
        reading = Reading.resume(shard, self._view.shards[shard], checkpoint, accepted=accepted)
        self.readings[shard] = reading
        return reading

    def _is_due(self, now_ms: int) -> bool:
        outbox, options = self.outbox, self._options
        due_ms = self._due_ms()
        if due_ms is None:
            return False
        return (
            outbox.waiting_changes >= options.batch_changes
            or outbox.waiting_bytes >= options.batch_bytes
            or now_ms >= due_ms
        )

    def _due_ms(self) -> int | None:
        """Say when what waits is committed at the latest.

        Full pages say that their shards are behind: their changes are late already, and gain more from sharing a
        transaction with the page that is being read than from not waiting for it.
        """
        outbox = self.outbox
        if outbox.oldest_ms is None:
            return None
        is_behind = outbox.has_only_full_pages and bool(self._reads_under_way)
        return outbox.oldest_ms + self._options.linger_ms * (_LINGERS_BEHIND if is_behind else 1)

    # Reading

    def _reading_of(self, event: PageRead | ReadFailed, shard: ShardRef) -> Reading | None:
        """Give the reading that waits for this answer."""
        reading = self.readings.get(shard)
        return reading if reading and reading.phase is Phase.READING and reading.ticket == event.ticket else None

    def _page_read(self, event: PageRead, commands: list[Command], now_ms: int) -> None:
        reading = self._reading_of(event, event.page.shard)
        if reading is None:
            return
        if reading.may_have_lost_its_head(now_ms):
            self._stop(reading, Phase.GAP, _WAITED_TOO_LONG, commands, now_ms)
            return
        if reading.failures:
            detail = f"after {reading.failures} failures"
            self._notice(commands, NoticeKind.READ_RECOVERED, reading.shard, detail)
        page = event.page.without_repeats(reading.sequence)
        for reason in self._refused.note_marks(page):
            self._notice(commands, NoticeKind.SET_ASIDE, page.shard, reason)
        page = self._refused.apply(page, stop=self._options.errors_fail)
        closed = bool(self._view.children_of(page.shard))
        reading.took(page, now_ms, self._options.pacing, closed=closed)
        if reading.phase is Phase.READY and page.stop is None:
            self._queue.add(reading)
        if page.stop is not None:
            self._stop(reading, Phase.FAILED, page.stop, commands, now_ms, after=page)
        elif page.records or page.dropped_count or page.next_iterator is None or reading.needs_checkpoint():
            self._publish_up_to(page, reading, now_ms, at_ms=reading.read_ms)

    def _publish_up_to(
        self, page: Page, reading: Reading, now_ms: int, *, at_ms: int, detail: str | None = None
    ) -> None:
        """Put a page into the outbox with the checkpoint that holds once it is published; `at_ms` is that one's."""
        reading.checkpointed_ms = at_ms
        self.outbox.add_page(
            page,
            table=reading.record.table,
            state=_CHECKPOINT_STATES.get(reading.phase, "open"),
            sequence=reading.sequence,
            created_ms=reading.created_ms,
            trimmed=reading.trimmed,
            at_ms=at_ms,
            open_ms=reading.open_ms,
            now_ms=now_ms,
            detail=detail,
        )

    def _read_failed(self, event: ReadFailed, commands: list[Command], now_ms: int) -> None:
        reading = self._reading_of(event, event.shard)
        if reading is None:
            return
        failure = reading.believed(event.failure, now_ms)
        match failure:
            case ReadFailure.GONE if reading.forgives(now_ms):
                self._end_without_reading(reading, event.reason, commands, now_ms)
            case ReadFailure.GONE | ReadFailure.TRIMMED if not reading.forgives(now_ms):
                self._stop(reading, Phase.GAP, event.reason, commands, now_ms)
            case _ if reading.may_have_lost_its_head(now_ms):
                self._stop(reading, Phase.GAP, _WAITED_TOO_LONG, commands, now_ms)
            case ReadFailure.EXPIRED if reading.iterator is not None:
                reading.iterator = None
                reading.phase = Phase.READY
                self._queue.add(reading)
            case _:
                if failure is ReadFailure.TRIMMED:
                    reading.trimmed = True  # forgiven: read on at what the stream still has
                if failure in {ReadFailure.TRIMMED, ReadFailure.EXPIRED}:
                    reading.iterator = None
                reading.failed(now_ms, self._options.read_backoff, self._jitter())
                self._queue.add(reading)
                self._notice(commands, NoticeKind.READ_FAILED, event.shard, event.reason)

    def _end_without_reading(self, reading: Reading, why: str, commands: list[Command], now_ms: int) -> None:
        reading.phase = Phase.DRAINED
        self._publish_up_to(empty_page(reading.shard, reading.record.table), reading, now_ms, at_ms=reading.read_ms)
        self._notice(commands, NoticeKind.SHARD_SKIPPED, reading.shard, why)

    def _stop(
        self,
        reading: Reading,
        phase: Literal[Phase.GAP, Phase.FAILED],
        why: str,
        commands: list[Command],
        now_ms: int,
        *,
        after: Page | None = None,
    ) -> None:
        """Stop a shard (after a last page) and say so in its checkpoint; a committed gap stops the whole table."""
        reading.phase = phase
        self._publish_up_to(
            after or empty_page(reading.shard, reading.record.table), reading, now_ms, at_ms=now_ms, detail=why
        )
        kind = NoticeKind.GAP if phase is Phase.GAP else NoticeKind.SHARD_FAILED
        self._notice(commands, kind, reading.shard, why)

    def _notice(self, commands: list[Command], kind: NoticeKind, shard: ShardRef, detail: str) -> None:
        record = self._view.shards.get(shard)
        commands.append(Notice(kind, detail, shard, record.table if record else None))

    # What follows from the state

    def _advance(self, commands: list[Command], now_ms: int) -> None:
        match self.state:
            case LaneState.IDLE if self._has_work():
                self._open(commands)
            case LaneState.BACKING_OFF if now_ms >= self._deadline_ms:
                self._open(commands)
            case LaneState.CATCHING_UP if self._has_caught_up():
                self.state = LaneState.ACTIVE
                self.lost_why = None
                self._committed = self._view.checkpoints_of(self.number)
                commands.append(Notice(NoticeKind.TAKEN, f"incarnation {self.incarnation}"))
            case LaneState.CATCHING_UP if now_ms >= self._deadline_ms:
                reason = f"the taken record did not show within {self._options.catch_up_timeout_ms} ms"
                self._lose(ProducerLost(self.incarnation, fenced=True, reason=reason), commands, now_ms)
        if self.state is LaneState.ACTIVE:
            self._sync(commands, now_ms)
            self._read_what_is_due(commands, now_ms)
            self._commit_if_due(commands, now_ms)
        self.wake_at_ms = self._next_wake_ms(now_ms)

    def _sync(self, commands: list[Command], now_ms: int) -> None:
        """Follow the view: new shards, ended parents, stopped and accepted tables, shards that may be forgotten."""
        versions = self._view.versions_of(self.number)
        if self._synced == versions:
            return
        tables_changed = self._synced is None or self._synced[0] != versions[0]
        self._synced = versions
        known = self._view.shards_of(self.number)
        for shard in sorted(known - self.readings.keys()):
            self._restart(shard)
        for shard in self.readings.keys() - known:
            del self.readings[shard]
            self._committed.pop(shard, None)
            self._known_until_ms.pop(shard, None)
        concerned = [r for r in self.readings.values() if tables_changed or r.phase is Phase.WAITING]
        for table, readings in _by_table(concerned).items():
            stopped = self._view.is_stopped(table)
            for reading in readings:
                self._sync_reading(reading, commands, now_ms, table_stopped=stopped)

    def _sync_reading(self, reading: Reading, commands: list[Command], now_ms: int, *, table_stopped: bool) -> None:
        shard = reading.shard
        if table_stopped:
            if reading.phase not in {Phase.ENDED, Phase.GAP, Phase.FAILED}:
                reading.phase = Phase.PAUSED
                self.outbox.drop_waiting({shard})
            return
        if reading.phase in {Phase.GAP, Phase.PAUSED}:
            if self.outbox.holds(shard):
                self._synced = None  # look again once the transaction under way has its outcome
                return
            if reading.phase is Phase.PAUSED or self._view.is_accepted(shard, self._committed.get(shard)):
                reading = self._restart(shard)
        if reading.phase is Phase.WAITING and self._view.may_begin(shard):
            self._begin(reading, commands, now_ms)

    def _begin(self, reading: Reading, commands: list[Command], now_ms: int) -> None:
        if reading.record.start == "END" and not reading.begun:
            reading.phase = Phase.DRAINED
            self._publish_up_to(empty_page(reading.shard, reading.record.table), reading, now_ms, at_ms=reading.read_ms)
            return
        if not reading.begun:
            reading.read_ms = reading.open_ms = self._view.unread_since_ms(reading.shard)
        if reading.may_have_lost_its_head(now_ms):
            self._stop(reading, Phase.GAP, _WAITED_TOO_LONG, commands, now_ms)
            return
        reading.phase = Phase.READY
        reading.next_read_ms = self._refused_topics.get(reading.shard, (0, now_ms))[1]
        self._queue.add(reading)
        self._notice(
            commands, NoticeKind.SHARD_BEGUN, reading.shard, f"after {reading.sequence or reading.record.start}"
        )

    def _commit_if_due(self, commands: list[Command], now_ms: int) -> None:
        if not self.outbox.is_under_way and self._is_due(now_ms):
            transaction = self.outbox.cut(self._options.batch_changes, self._options.batch_bytes, now_ms)
            commands.append(Commit(self.incarnation, transaction))

    def _held_bytes(self) -> int:
        """Count the pages held, and those being read for what they may turn out to be."""
        if self.state is LaneState.RELEASED:
            return 0
        return self.outbox.size_bytes + len(self._reads_under_way) * self._options.page_bytes

    def _read_what_is_due(self, commands: list[Command], now_ms: int) -> None:
        waited_since_ms, self.waits_for_room_since_ms = self.waits_for_room_since_ms, None
        page_bytes, held_bytes = self._options.page_bytes, self._held_bytes()
        while (reading := self._queue.first()) is not None and reading.next_read_ms <= now_ms:
            self._room.hold(self.number, held_bytes)
            if held_bytes and held_bytes + page_bytes > self._options.buffer_bytes:
                return
            if held_bytes and not self._room.fits(page_bytes):
                self.waits_for_room_since_ms = now_ms if waited_since_ms is None else waited_since_ms
                return
            held_bytes += page_bytes
            reading.phase = Phase.READING
            self._tickets += 1
            reading.ticket = self._tickets
            self._reads_under_way.add(reading.ticket)
            reading.asked_ms = now_ms
            read = Read(self.incarnation, reading.ticket, reading.shard, reading.position(), reading.iterator)
            commands.append(read)

    def _next_wake_ms(self, now_ms: int) -> int | None:
        if self.state in {LaneState.BACKING_OFF, LaneState.CATCHING_UP}:
            return self._deadline_ms
        if self.state is not LaneState.ACTIVE:
            return None
        times = []
        reading = self._queue.first()
        if reading is not None and reading.next_read_ms > now_ms:  # else it waits for room, which an answer makes
            times.append(reading.next_read_ms)
        due_ms = self._due_ms()
        if due_ms is not None and not self.outbox.is_under_way:
            times.append(due_ms)
        return min(times, default=None)


def _by_table(readings: Iterable[Reading]) -> dict[str, list[Reading]]:
    tables: dict[str, list[Reading]] = {}
    for reading in readings:
        tables.setdefault(reading.record.table, []).append(reading)
    return tables
