"""The lane: a state machine without I/O that publishes the changes of its shards exactly once and in order.

It is told what happened (`lane_messages.Event`) and answers what to do (`Command`). Taking a lane is three steps, in
this order and no other: fence (`OpenProducer`), commit a *claim*, wait until the checkpoint state shows that very
record; then everything committed before the fence has been seen, and nothing can be committed behind it. A producer
whose last outcome is unknown is closed and the lane is taken again.

    IDLE -> OPENING -> TAKING -> CATCHING_UP -> ACTIVE
              ^           |           |            |      producer lost, or the claim never shows
              +------- BACKING_OFF <--+------------+
    any state -> RELEASING (a producer call is under way) -> RELEASED
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Literal

from tailrace.core.checkpoint import Checkpoint, Claim, ClaimKey, EnumeratorKey, ShardCondition, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.commit_buffer import CommitBuffer
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
from tailrace.core.lane_options import LaneOptions
from tailrace.core.memory_budget import MemoryBudget
from tailrace.core.page import Page, empty_page
from tailrace.core.ports import ReadFailure
from tailrace.core.read_queue import ReadQueue
from tailrace.core.refusals import Learned, RefusedRecords
from tailrace.core.shard import ShardRef
from tailrace.core.shard_state import Phase, ShardState

ENUMERATOR_LANE = 0
"""The owner of this lane lists tables and shards for the whole pipeline."""


_LINGERS_BEHIND = 10
"""So many times the linger may the changes of shards that are behind wait for more to share their transaction."""
_WAITED_TOO_LONG = "it waited to be read longer than the stream keeps changes"
_CHECKPOINT_STATES: dict[Phase, ShardCondition] = {
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


class Lane:
    """One lane of one worker, from its assignment to its release."""

    def __init__(
        self,
        number: int,
        owner: str,
        checkpoint_state: CheckpointState,
        options: LaneOptions,
        *,
        epochs: Iterator[int],
        jitter: Callable[[], float],
        budget: MemoryBudget | None = None,
        known_until_ms: Mapping[ShardRef, int] | None = None,
    ) -> None:
        """Make a lane that is not taken. `epochs` never gives a number twice in the life of `owner`.

        `budget` is what it shares with the worker's other lanes, `known_until_ms` what `published_until_ms` returned
        when this worker last had the lane.
        """
        self.number = number
        self.owner = owner
        self.state = LaneState.IDLE
        self.epoch = next(epochs)
        self.shard_states: dict[ShardRef, ShardState] = {}
        self.commit_buffer = CommitBuffer(number)
        self.lost_why: str | None = None
        """Why its producer was last given up; None while it is taken and before the first time."""
        self.wake_at_ms: int | None = None
        """When the lane wants a Tick; None when only an event can change anything."""
        self.waits_for_memory_since_ms: int | None = None
        """Since when it would read but for what other lanes hold: a Tick lets it look again."""
        self._budget = budget or MemoryBudget(options.memory_bytes)
        self._checkpoint_state = checkpoint_state
        self._options = options
        self._epochs = epochs
        self._jitter = jitter
        self._committed: dict[ShardRef, Checkpoint] = {}
        """The lane's checkpoints as committed: the state's when the lane was taken, its own since (the state lags)."""
        self._queue = ReadQueue(self.shard_states)
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
        """The versions of the checkpoint state that were followed; None: look at every shard again."""

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
                self._write_claim(commands, now_ms)
            case Committed() if self.state is LaneState.TAKING:
                self.state = LaneState.CATCHING_UP
                self._deadline_ms = now_ms + self._options.catch_up_timeout_ms
            case Committed() if self.commit_buffer.is_under_way:
                self._note_committed(commands)
            case PageRead():
                self._page_read(event, commands, now_ms)
            case ReadFailed():
                self._read_failed(event, commands, now_ms)
            case PublishLineage() if self.state is LaneState.ACTIVE:
                self.commit_buffer.add_writes(event.writes, now_ms)
            case _:
                pass  # what follows from the time and the checkpoint state comes next
        self._advance(commands, now_ms)
        self._budget.hold(self.number, self._held_bytes())
        return commands

    @property
    def is_enumerator(self) -> bool:
        """This worker lists tables and shards now."""
        return self.number == ENUMERATOR_LANE and self.state is LaneState.ACTIVE

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
        shard_state = self.shard_states.get(shard)
        if shard_state is not None and shard_state.caught_up_ms is not None and not self.commit_buffer.holds(shard):
            known_ms.append(shard_state.caught_up_ms)
        return max(known_ms, default=None)

    # Taking and losing

    def _is_stale(self, event: Event) -> bool:
        return getattr(event, "epoch", self.epoch) != self.epoch

    def _has_call_under_way(self) -> bool:
        """A producer call was asked for and has not answered."""
        if self.state in {LaneState.OPENING, LaneState.TAKING}:
            return True
        return self.state is LaneState.ACTIVE and self.commit_buffer.is_under_way

    def _release(self, commands: list[Command]) -> None:
        if self.state is LaneState.RELEASING:
            return
        if self._has_call_under_way():
            self.state = LaneState.RELEASING
            self.waits_for_memory_since_ms = None
            return
        holds_producer = self.state in {LaneState.CATCHING_UP, LaneState.ACTIVE}
        self.state = LaneState.RELEASED
        if holds_producer:
            commands.append(CloseProducer(self.epoch))
        commands.append(Released())

    def _finish_release(self, event: Event, commands: list[Command]) -> None:
        if isinstance(event, ProducerOpened | Committed):
            self.state = LaneState.RELEASED
            commands += [CloseProducer(self.epoch), Released()]

    def _lose(self, event: ProducerLost, commands: list[Command], now_ms: int) -> None:
        commands.append(CloseProducer(self.epoch))
        if self.state is LaneState.RELEASING:
            self.state = LaneState.RELEASED
            commands.append(Released())
            return
        has_learned = self._note_refusals(event, commands, now_ms) or event.learned
        self._losses += not has_learned
        pause_ms = 0 if has_learned else self._options.reclaim_backoff.pause_ms(self._losses, self._jitter())
        self._deadline_ms = now_ms + (self._options.fenced_pause_ms if event.fenced else pause_ms)
        self.state = LaneState.BACKING_OFF
        self._forget()
        self.epoch = next(self._epochs)
        self.lost_why = event.reason
        commands.append(Notice(NoticeKind.DENIED if event.denied else NoticeKind.LOST, event.reason))

    def _note_refusals(self, event: ProducerLost, commands: list[Command], now_ms: int) -> bool:
        """Remember what the broker refused; tells whether the next try will be another one."""
        has_learned = False
        for refusal in event.refusals:
            page = self.commit_buffer.page_under_way(refusal.page)
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
        for shard in self.shard_states:
            until_ms = self.published_until_ms(shard)
            if until_ms is not None:
                self._known_until_ms[shard] = until_ms
        self.shard_states.clear()
        self._queue.clear()
        self._reads_under_way.clear()
        self._committed.clear()
        self.commit_buffer = CommitBuffer(self.number)
        self._synced = None
        self.waits_for_memory_since_ms = None

    def _has_work(self) -> bool:
        """A lane without shards costs nothing: it is not taken until it has one."""
        return self.number == ENUMERATOR_LANE or bool(self._checkpoint_state.shards_of(self.number))

    def _open(self, commands: list[Command]) -> None:
        self.epoch = next(self._epochs)
        self.state = LaneState.OPENING
        commands.append(OpenProducer(self.epoch))

    @property
    def _nonce(self) -> str:
        return f"{self.owner}/{self.number}/{self.epoch}"

    def _write_claim(self, commands: list[Command], now_ms: int) -> None:
        self.state = LaneState.TAKING
        claim = Claim(owner=self.owner, nonce=self._nonce, at_ms=now_ms)
        writes = [Write(self.number, ClaimKey(), claim)]
        if self.number == ENUMERATOR_LANE:
            writes += [
                Write(partition, EnumeratorKey(), claim) for partition in range(self._checkpoint_state.lane_count)
            ]
        commands.append(Commit(self.epoch, Transaction((), tuple(writes))))

    def _has_caught_up(self) -> bool:
        """The checkpoint state shows this very claim; the enumerator must have seen every lane up to its own."""
        claim = self._checkpoint_state.claims.get(self.number)
        if claim is None or claim.nonce != self._nonce:
            return False
        if self.number != ENUMERATOR_LANE:
            return True
        enumerators = (
            self._checkpoint_state.enumerators.get(partition) for partition in range(self._checkpoint_state.lane_count)
        )
        return all(enumerator is not None and enumerator.nonce == self._nonce for enumerator in enumerators)

    # Publishing

    def _note_committed(self, commands: list[Command]) -> None:
        self._losses = 0
        for shard, checkpoint in self.commit_buffer.committed().items():
            self._refused.forget(shard, checkpoint.sequence)
            self._refused_topics.pop(shard, None)
            if shard not in self.shard_states:
                continue  # its lineage was taken back meanwhile
            self._committed[shard] = checkpoint
            if checkpoint.state == "ended":
                self.shard_states[shard].phase = Phase.ENDED
                commands.append(Notice(NoticeKind.SHARD_ENDED, "published to its end", shard, checkpoint.table))

    def _restart(self, shard: ShardRef) -> ShardState:
        """Read a shard again from its committed checkpoint. The commit buffer must not hold a page of it."""
        checkpoint = self._committed.get(shard)
        accepted = self._checkpoint_state.is_accepted(shard, checkpoint)
        shard_state = ShardState.resume(shard, self._checkpoint_state.shards[shard], checkpoint, accepted=accepted)
        self.shard_states[shard] = shard_state
        return shard_state

    def _is_due(self, now_ms: int) -> bool:
        commit_buffer, options = self.commit_buffer, self._options
        due_ms = self._due_ms()
        if due_ms is None:
            return False
        return (
            commit_buffer.waiting_changes >= options.batch_changes
            or commit_buffer.waiting_bytes >= options.batch_bytes
            or now_ms >= due_ms
        )

    def _due_ms(self) -> int | None:
        """Return when what waits is committed at the latest.

        Full pages say that their shards are behind: their changes are late already, and gain more from sharing a
        transaction with the page that is being read than from not waiting for it.
        """
        commit_buffer = self.commit_buffer
        if commit_buffer.oldest_ms is None:
            return None
        is_behind = commit_buffer.has_only_full_pages and bool(self._reads_under_way)
        return commit_buffer.oldest_ms + self._options.linger_ms * (_LINGERS_BEHIND if is_behind else 1)

    # Reading

    def _shard_state_of(self, event: PageRead | ReadFailed, shard: ShardRef) -> ShardState | None:
        """Return the reading that waits for this answer."""
        shard_state = self.shard_states.get(shard)
        return (
            shard_state
            if shard_state and shard_state.phase is Phase.READING and shard_state.ticket == event.ticket
            else None
        )

    def _page_read(self, event: PageRead, commands: list[Command], now_ms: int) -> None:
        shard_state = self._shard_state_of(event, event.page.shard)
        if shard_state is None:
            return
        if shard_state.may_have_lost_its_head(now_ms):
            self._stop(shard_state, Phase.GAP, _WAITED_TOO_LONG, commands, now_ms)
            return
        if shard_state.failures:
            detail = f"after {shard_state.failures} failures"
            self._notice(commands, NoticeKind.READ_RECOVERED, shard_state.shard, detail)
        page = event.page.without_repeats(shard_state.sequence)
        for reason in self._refused.note_marks(page):
            self._notice(commands, NoticeKind.SET_ASIDE, page.shard, reason)
        page = self._refused.apply(page, stop=self._options.errors_fail)
        closed = bool(self._checkpoint_state.children_of(page.shard))
        shard_state.took(page, now_ms, self._options.pacing, closed=closed)
        if shard_state.phase is Phase.READY and page.stop is None:
            self._queue.add(shard_state)
        if page.stop is not None:
            self._stop(shard_state, Phase.FAILED, page.stop, commands, now_ms, after=page)
        elif page.records or page.dropped_count or page.next_iterator is None or shard_state.needs_checkpoint():
            self._publish_up_to(page, shard_state, now_ms, at_ms=shard_state.read_ms)

    def _publish_up_to(
        self, page: Page, shard_state: ShardState, now_ms: int, *, at_ms: int, detail: str | None = None
    ) -> None:
        """Put a page into the commit buffer with the checkpoint that holds once it is published; `at_ms` is that
        one's."""
        shard_state.checkpointed_ms = at_ms
        self.commit_buffer.add_page(
            page,
            table=shard_state.record.table,
            state=_CHECKPOINT_STATES.get(shard_state.phase, "open"),
            sequence=shard_state.sequence,
            created_ms=shard_state.created_ms,
            trimmed=shard_state.trimmed,
            at_ms=at_ms,
            open_ms=shard_state.open_ms,
            now_ms=now_ms,
            detail=detail,
        )

    def _read_failed(self, event: ReadFailed, commands: list[Command], now_ms: int) -> None:
        shard_state = self._shard_state_of(event, event.shard)
        if shard_state is None:
            return
        failure = shard_state.believed(event.failure, now_ms)
        match failure:
            case ReadFailure.GONE if shard_state.forgives(now_ms):
                self._end_without_reading(shard_state, event.reason, commands, now_ms)
            case ReadFailure.GONE | ReadFailure.TRIMMED if not shard_state.forgives(now_ms):
                self._stop(shard_state, Phase.GAP, event.reason, commands, now_ms)
            case _ if shard_state.may_have_lost_its_head(now_ms):
                self._stop(shard_state, Phase.GAP, _WAITED_TOO_LONG, commands, now_ms)
            case ReadFailure.EXPIRED if shard_state.iterator is not None:
                shard_state.iterator = None
                shard_state.phase = Phase.READY
                self._queue.add(shard_state)
            case _:
                if failure is ReadFailure.TRIMMED:
                    shard_state.trimmed = True  # forgiven: read on at what the stream still has
                if failure in {ReadFailure.TRIMMED, ReadFailure.EXPIRED}:
                    shard_state.iterator = None
                shard_state.failed(now_ms, self._options.read_backoff, self._jitter())
                self._queue.add(shard_state)
                self._notice(commands, NoticeKind.READ_FAILED, event.shard, event.reason)

    def _end_without_reading(self, shard_state: ShardState, why: str, commands: list[Command], now_ms: int) -> None:
        shard_state.phase = Phase.DRAINED
        self._publish_up_to(
            empty_page(shard_state.shard, shard_state.record.table), shard_state, now_ms, at_ms=shard_state.read_ms
        )
        self._notice(commands, NoticeKind.SHARD_SKIPPED, shard_state.shard, why)

    def _stop(
        self,
        shard_state: ShardState,
        phase: Literal[Phase.GAP, Phase.FAILED],
        why: str,
        commands: list[Command],
        now_ms: int,
        *,
        after: Page | None = None,
    ) -> None:
        """Stop a shard (after a last page) and say so in its checkpoint; a committed gap stops the whole table."""
        shard_state.phase = phase
        self._publish_up_to(
            after or empty_page(shard_state.shard, shard_state.record.table),
            shard_state,
            now_ms,
            at_ms=now_ms,
            detail=why,
        )
        kind = NoticeKind.GAP if phase is Phase.GAP else NoticeKind.SHARD_FAILED
        self._notice(commands, kind, shard_state.shard, why)

    def _notice(self, commands: list[Command], kind: NoticeKind, shard: ShardRef, detail: str) -> None:
        record = self._checkpoint_state.shards.get(shard)
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
                self._committed = self._checkpoint_state.checkpoints_of(self.number)
                commands.append(Notice(NoticeKind.TAKEN, f"epoch {self.epoch}"))
            case LaneState.CATCHING_UP if now_ms >= self._deadline_ms:
                reason = f"the claim did not show within {self._options.catch_up_timeout_ms} ms"
                self._lose(ProducerLost(self.epoch, fenced=True, reason=reason), commands, now_ms)
        if self.state is LaneState.ACTIVE:
            self._sync(commands, now_ms)
            self._read_what_is_due(commands, now_ms)
            self._commit_if_due(commands, now_ms)
        self.wake_at_ms = self._next_wake_ms(now_ms)

    def _sync(self, commands: list[Command], now_ms: int) -> None:
        """Follow the checkpoint state: new shards, ended parents, stopped and accepted tables, shards that may be
        forgotten."""
        versions = self._checkpoint_state.versions_of(self.number)
        if self._synced == versions:
            return
        tables_changed = self._synced is None or self._synced[0] != versions[0]
        self._synced = versions
        known = self._checkpoint_state.shards_of(self.number)
        for shard in sorted(known - self.shard_states.keys()):
            self._restart(shard)
        for shard in self.shard_states.keys() - known:
            del self.shard_states[shard]
            self._committed.pop(shard, None)
            self._known_until_ms.pop(shard, None)
        concerned = [r for r in self.shard_states.values() if tables_changed or r.phase is Phase.WAITING]
        for table, shard_states in _by_table(concerned).items():
            stopped = self._checkpoint_state.is_stopped(table)
            for shard_state in shard_states:
                self._sync_shard(shard_state, commands, now_ms, table_stopped=stopped)

    def _sync_shard(
        self, shard_state: ShardState, commands: list[Command], now_ms: int, *, table_stopped: bool
    ) -> None:
        shard = shard_state.shard
        if table_stopped:
            if shard_state.phase not in {Phase.ENDED, Phase.GAP, Phase.FAILED}:
                shard_state.phase = Phase.PAUSED
                self.commit_buffer.drop_waiting({shard})
            return
        if shard_state.phase in {Phase.GAP, Phase.PAUSED}:
            if self.commit_buffer.holds(shard):
                self._synced = None  # look again once the transaction under way has its outcome
                return
            if shard_state.phase is Phase.PAUSED or self._checkpoint_state.is_accepted(
                shard, self._committed.get(shard)
            ):
                shard_state = self._restart(shard)
        if shard_state.phase is Phase.WAITING and self._checkpoint_state.may_begin(shard):
            self._begin(shard_state, commands, now_ms)

    def _begin(self, shard_state: ShardState, commands: list[Command], now_ms: int) -> None:
        if shard_state.record.start == "END" and not shard_state.begun:
            shard_state.phase = Phase.DRAINED
            self._publish_up_to(
                empty_page(shard_state.shard, shard_state.record.table), shard_state, now_ms, at_ms=shard_state.read_ms
            )
            return
        if not shard_state.begun:
            shard_state.read_ms = shard_state.open_ms = self._checkpoint_state.unread_since_ms(shard_state.shard)
        if shard_state.may_have_lost_its_head(now_ms):
            self._stop(shard_state, Phase.GAP, _WAITED_TOO_LONG, commands, now_ms)
            return
        shard_state.phase = Phase.READY
        shard_state.next_read_ms = self._refused_topics.get(shard_state.shard, (0, now_ms))[1]
        self._queue.add(shard_state)
        self._notice(
            commands,
            NoticeKind.SHARD_BEGUN,
            shard_state.shard,
            f"after {shard_state.sequence or shard_state.record.start}",
        )

    def _commit_if_due(self, commands: list[Command], now_ms: int) -> None:
        if not self.commit_buffer.is_under_way and self._is_due(now_ms):
            transaction = self.commit_buffer.cut(self._options.batch_changes, self._options.batch_bytes, now_ms)
            commands.append(Commit(self.epoch, transaction))

    def _held_bytes(self) -> int:
        """Count the pages held, and those being read for what they may turn out to be."""
        if self.state is LaneState.RELEASED:
            return 0
        return self.commit_buffer.size_bytes + len(self._reads_under_way) * self._options.page_bytes

    def _read_what_is_due(self, commands: list[Command], now_ms: int) -> None:
        waited_since_ms, self.waits_for_memory_since_ms = self.waits_for_memory_since_ms, None
        page_bytes, held_bytes = self._options.page_bytes, self._held_bytes()
        while (shard_state := self._queue.first()) is not None and shard_state.next_read_ms <= now_ms:
            self._budget.hold(self.number, held_bytes)
            if held_bytes and held_bytes + page_bytes > self._options.buffer_bytes:
                return
            if held_bytes and not self._budget.fits(page_bytes):
                self.waits_for_memory_since_ms = now_ms if waited_since_ms is None else waited_since_ms
                return
            held_bytes += page_bytes
            shard_state.phase = Phase.READING
            self._tickets += 1
            shard_state.ticket = self._tickets
            self._reads_under_way.add(shard_state.ticket)
            shard_state.asked_ms = now_ms
            read = Read(self.epoch, shard_state.ticket, shard_state.shard, shard_state.position(), shard_state.iterator)
            commands.append(read)

    def _next_wake_ms(self, now_ms: int) -> int | None:
        if self.state in {LaneState.BACKING_OFF, LaneState.CATCHING_UP}:
            return self._deadline_ms
        if self.state is not LaneState.ACTIVE:
            return None
        times = []
        shard_state = self._queue.first()
        if (
            shard_state is not None and shard_state.next_read_ms > now_ms
        ):  # else it waits for room, which an answer makes
            times.append(shard_state.next_read_ms)
        due_ms = self._due_ms()
        if due_ms is not None and not self.commit_buffer.is_under_way:
            times.append(due_ms)
        return min(times, default=None)


def _by_table(shard_states: Iterable[ShardState]) -> dict[str, list[ShardState]]:
    tables: dict[str, list[ShardState]] = {}
    for shard_state in shard_states:
        tables.setdefault(shard_state.record.table, []).append(shard_state)
    return tables
