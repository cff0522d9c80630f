"""The lane: a state machine without I/O that publishes the changes of its shards exactly once and in order.

It takes events (`lane_messages.Event`) and returns commands (`Command`). It reads only while it holds its
claim (`claiming`). A producer whose last outcome is unknown is closed, what was read since is dropped, and the lane is
claimed again.

    IDLE -> OPENING -> TAKING -> CATCHING_UP -> ACTIVE
              ^           |           |            |      producer lost, or the claim never shows
              +------- BACKING_OFF <--+------------+
    any state -> RELEASING (a producer call is under way) -> RELEASED

Its parts: `lane_shards` (what its shards are at, and the reads of them), `lane_publishing` (the way to the commit).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import assert_never

from tailrace.core.checkpoint import Claim
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.claiming import Claiming, ClaimState, lane_claim
from tailrace.core.commit_buffer import CommitBuffer
from tailrace.core.lane_messages import (
    CheckpointStateChanged,
    CloseProducer,
    Command,
    Committed,
    EpochEvent,
    Event,
    Notice,
    NoticeKind,
    PageRead,
    ProducerLost,
    ProducerOpened,
    PublishLineage,
    ReadFailed,
    Release,
    Released,
    Tick,
)
from tailrace.core.lane_options import LaneOptions
from tailrace.core.lane_publishing import LanePublishing
from tailrace.core.lane_shards import LaneShards
from tailrace.core.lane_turn import Turn
from tailrace.core.memory_budget import MemoryBudget
from tailrace.core.shard import ENUMERATOR_LANE, ShardRef
from tailrace.core.shard_state import ShardState


class LaneState(StrEnum):
    """The lane's state; see the diagram in the module's docstring."""

    IDLE = "idle"
    OPENING = "opening"
    TAKING = "taking"
    CATCHING_UP = "catching up"
    ACTIVE = "active"
    BACKING_OFF = "backing off"
    RELEASING = "releasing"
    RELEASED = "released"


_CLAIM_STATES = {
    ClaimState.OPENING: LaneState.OPENING,
    ClaimState.CLAIMING: LaneState.TAKING,
    ClaimState.CATCHING_UP: LaneState.CATCHING_UP,
    ClaimState.HELD: LaneState.ACTIVE,
}
_WITHOUT_PRODUCER = {LaneState.IDLE, LaneState.BACKING_OFF, LaneState.RELEASED}


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
        """Make a lane that is not claimed. `epochs` never returns a number twice in the life of `owner`.

        It shares `budget` with the worker's other lanes. `known_until_ms` what `published_until_ms` returned when this
        worker last had the lane.
        """
        self.number = number
        self.owner = owner
        self.state = LaneState.IDLE
        self.epoch = next(epochs)
        self.lost_why: str | None = None
        """Why its producer was last given up; None while the lane is held, and before the first time."""
        self.wake_at_ms: int | None = None
        """When the lane wants a Tick; None when only an event can change anything."""
        self._checkpoint_state = checkpoint_state
        self._options = options
        self._epochs = epochs
        self._jitter = jitter
        self._budget = budget or MemoryBudget(options.memory_bytes)
        self._publishing = LanePublishing(number, options, jitter)
        self._shards = LaneShards(
            number,
            checkpoint_state,
            options,
            self._publishing,
            jitter=jitter,
            budget=self._budget,
            known_until_ms=known_until_ms or {},
        )
        self._claiming: Claiming | None = None
        """The attempt to claim the lane that is in progress."""
        self._losses = 0
        """How often in a row its producer was lost without progress."""
        self._deadline_ms = 0
        """The deadline of catching up or backing off."""

    def handle(self, event: Event, now_ms: int) -> list[Command]:
        """Take in one event at `now_ms` (milliseconds since the epoch) and return what to do."""
        if self.state is LaneState.RELEASED or self._is_stale(event):
            return []
        turn = Turn(now_ms)
        match event:
            case PageRead() | ReadFailed():
                self._read_answered(event, turn)
            case Tick() | CheckpointStateChanged():
                pass  # then what follows from the time and the checkpoint state
            case ProducerOpened() | Committed():
                self._producer_succeeded(event, turn)
            case PublishLineage():
                if self.state is LaneState.ACTIVE:
                    self.commit_buffer.add_writes(event.writes, now_ms)
            case ProducerLost():
                if self.state not in _WITHOUT_PRODUCER:
                    self._lose(event, turn)
            case Release():
                self._release(turn)
            case _:
                assert_never(event)
        self._advance(turn)
        self._budget.hold(self.number, self._held_bytes())
        return turn.commands

    @property
    def is_enumerator(self) -> bool:
        """This worker lists tables and shards now."""
        return self.number == ENUMERATOR_LANE and self.state is LaneState.ACTIVE

    @property
    def shard_states(self) -> Mapping[ShardRef, ShardState]:
        """The shards that it follows while it is active."""
        return self._shards.states

    @property
    def commit_buffer(self) -> CommitBuffer:
        """What it has read and not committed."""
        return self._publishing.buffer

    @property
    def waits_for_memory_since_ms(self) -> int | None:
        """Since when other lanes' pages have kept it from reading: a Tick makes it check again."""
        return self._shards.reads.waits_for_memory_since_ms if self.state is LaneState.ACTIVE else None

    def published_until_ms(self, shard: ShardRef) -> int | None:
        """Return until when all changes of `shard` are certainly published; None when unknown."""
        return self._shards.published_until_ms(shard)

    def _is_stale(self, event: Event) -> bool:
        return isinstance(event, EpochEvent) and event.epoch != self.epoch

    # Events

    def _read_answered(self, event: PageRead | ReadFailed, turn: Turn) -> None:
        shard_state = self._shards.reads.answered(event)
        if shard_state is None or self.state is not LaneState.ACTIVE:
            return
        if isinstance(event, PageRead):
            self._shards.page_read(event.page, shard_state, turn)
        else:
            self._shards.read_failed(event, shard_state, turn)

    def _producer_succeeded(self, event: ProducerOpened | Committed, turn: Turn) -> None:
        if self.state is LaneState.RELEASING:
            self.state = LaneState.RELEASED
            turn.ask(CloseProducer(self.epoch), Released())
        elif self._claiming is not None:
            self._go_on_claiming(self._claiming, event, turn)
        elif isinstance(event, Committed) and self.commit_buffer.is_under_way:
            self._losses = 0
            self._shards.committed(self._publishing.note_committed(), turn)

    def _release(self, turn: Turn) -> None:
        if self._has_call_under_way():
            self.state = LaneState.RELEASING
            return
        holds_producer = self.state not in _WITHOUT_PRODUCER
        self.state = LaneState.RELEASED
        if holds_producer:
            turn.ask(CloseProducer(self.epoch))
        turn.ask(Released())

    def _has_call_under_way(self) -> bool:
        """Return whether a producer call is in flight."""
        match self.state:
            case LaneState.OPENING | LaneState.TAKING | LaneState.RELEASING:
                return True
            case LaneState.ACTIVE:
                return self.commit_buffer.is_under_way
            case _:
                return False

    def _lose(self, event: ProducerLost, turn: Turn) -> None:
        turn.ask(CloseProducer(self.epoch))
        if self.state is LaneState.RELEASING:
            self.state = LaneState.RELEASED
            turn.ask(Released())
            return
        has_learned = self._publishing.note_refusals(event, turn) or event.learned
        self._losses += not has_learned
        pause_ms = 0 if has_learned else self._options.reclaim_backoff.pause_ms(self._losses, self._jitter())
        self._deadline_ms = turn.now_ms + (self._options.fenced_pause_ms if event.fenced else pause_ms)
        self.state = LaneState.BACKING_OFF
        self._claiming = None
        self._shards.forget()
        self._publishing.forget()
        self.epoch = next(self._epochs)
        self.lost_why = event.reason
        turn.ask(Notice(NoticeKind.DENIED if event.denied else NoticeKind.LOST, event.reason))

    # Claiming

    def _has_work(self) -> bool:
        """Claim the lane once it has a shard: without shards it costs nothing."""
        return self.number == ENUMERATOR_LANE or bool(self._checkpoint_state.shards_of(self.number))

    def _begin_to_claim(self, turn: Turn) -> None:
        self.epoch = next(self._epochs)
        claim = Claim(owner=self.owner, nonce=f"{self.owner}/{self.number}/{self.epoch}", at_ms=turn.now_ms)
        writes = lane_claim(self.number, self._checkpoint_state.lane_count, claim)
        self._claiming = Claiming(self.epoch, writes, self._checkpoint_state.shows)
        self.state = _CLAIM_STATES[self._claiming.state]
        turn.ask(self._claiming.open())

    def _go_on_claiming(self, claiming: Claiming, event: ProducerOpened | Committed, turn: Turn) -> None:
        before = claiming.state
        commit = claiming.handle(event)
        if commit is not None:
            turn.ask(commit)
        if claiming.state is not before:
            self.state = _CLAIM_STATES[claiming.state]
            self._deadline_ms = turn.now_ms + self._options.catch_up_timeout_ms

    def _catch_up(self, claiming: Claiming, turn: Turn) -> None:
        if claiming.look():
            self.state = _CLAIM_STATES[claiming.state]
            self._claiming = None
            self.lost_why = None
            self._publishing.committed = self._checkpoint_state.checkpoints_of(self.number)
            turn.ask(Notice(NoticeKind.TAKEN, f"epoch {self.epoch}"))
        elif turn.now_ms >= self._deadline_ms:
            reason = f"the claim did not show within {self._options.catch_up_timeout_ms} ms"
            self._lose(ProducerLost(self.epoch, fenced=True, reason=reason), turn)

    # What follows from the state

    def _advance(self, turn: Turn) -> None:
        if (self.state is LaneState.IDLE and self._has_work()) or (
            self.state is LaneState.BACKING_OFF and turn.now_ms >= self._deadline_ms
        ):
            self._begin_to_claim(turn)
        elif self.state is LaneState.CATCHING_UP and self._claiming is not None:
            self._catch_up(self._claiming, turn)
        if self.state is LaneState.ACTIVE:
            reads, publishing = self._shards.reads, self._publishing
            self._shards.sync(turn)
            reads.ask(self.epoch, self.commit_buffer.size_bytes, turn)
            publishing.commit_if_due(self.epoch, turn, is_reading=reads.are_under_way)
        self.wake_at_ms = self._next_wake_ms(turn.now_ms)

    def _held_bytes(self) -> int:
        return 0 if self.state is LaneState.RELEASED else self._shards.reads.held_bytes(self.commit_buffer.size_bytes)

    def _next_wake_ms(self, now_ms: int) -> int | None:
        if self.state in {LaneState.BACKING_OFF, LaneState.CATCHING_UP}:
            return self._deadline_ms
        if self.state is not LaneState.ACTIVE:
            return None
        reads = self._shards.reads
        times = (
            reads.next_ms(now_ms),
            self._publishing.next_ms(is_reading=reads.are_under_way),
            self._shards.lineage_until_ms,
        )
        return min((each for each in times if each is not None), default=None)
