"""Which shard a lane reads next, and whether it may hold another page."""

from __future__ import annotations

from collections.abc import Mapping

from tailrace.core.lane_messages import PageRead, Read, ReadFailed
from tailrace.core.lane_options import LaneOptions
from tailrace.core.lane_turn import Turn
from tailrace.core.memory_budget import MemoryBudget
from tailrace.core.read_queue import ReadQueue
from tailrace.core.shard import ShardRef
from tailrace.core.shard_state import Phase, ShardState


class LaneReads:
    """The reads of a lane, in flight and due."""

    def __init__(
        self, lane: int, shard_states: Mapping[ShardRef, ShardState], options: LaneOptions, budget: MemoryBudget
    ) -> None:
        """`shard_states` is the lane's current mapping, which may change."""
        self.waits_for_memory_since_ms: int | None = None
        """Since when other lanes' pages have kept it from reading."""
        self._lane = lane
        self._shard_states = shard_states
        self._options = options
        self._budget = budget
        self._queue = ReadQueue(shard_states)
        self._tickets = 0
        self._under_way: set[int] = set()
        """Unanswered tickets, including those of abandoned reads: their pages may still arrive."""

    def add(self, shard_state: ShardState) -> None:
        """Add a shard that has just become ready."""
        self._queue.add(shard_state)

    def answered(self, answer: PageRead | ReadFailed) -> ShardState | None:
        """Record that a read has its answer; return the state of the shard that waits for it, None if it was
        abandoned."""
        self._under_way.discard(answer.ticket)
        shard_state = self._shard_states.get(answer.shard)
        if shard_state is None or shard_state.phase is not Phase.READING or shard_state.ticket != answer.ticket:
            return None
        return shard_state

    def ask(self, epoch: int, buffered_bytes: int, turn: Turn) -> None:
        """Request what is due, as long as the memory budget allows another page."""
        waited_since_ms, self.waits_for_memory_since_ms = self.waits_for_memory_since_ms, None
        page_bytes, held_bytes = self._options.source.page_bytes, self.held_bytes(buffered_bytes)
        while (shard_state := self._queue.first()) is not None and shard_state.next_read_ms <= turn.now_ms:
            self._budget.hold(self._lane, held_bytes)
            if held_bytes and held_bytes + page_bytes > self._options.buffer_bytes:
                return
            if held_bytes and not self._budget.fits(page_bytes):
                self.waits_for_memory_since_ms = turn.now_ms if waited_since_ms is None else waited_since_ms
                return
            held_bytes += page_bytes
            turn.ask(self._read(shard_state, epoch, turn.now_ms))

    def _read(self, shard_state: ShardState, epoch: int, now_ms: int) -> Read:
        self._tickets += 1
        self._under_way.add(self._tickets)
        shard_state.phase = Phase.READING
        shard_state.ticket = self._tickets
        shard_state.asked_ms = now_ms
        if shard_state.iterator is None:
            shard_state.from_latest = shard_state.position().kind == "LATEST"
        return Read(
            epoch,
            shard_state.ticket,
            shard_state.shard,
            shard_state.record.table,
            shard_state.position(),
            shard_state.iterator,
        )

    @property
    def are_under_way(self) -> bool:
        """Whether a page may still arrive."""
        return bool(self._under_way)

    def held_bytes(self, buffered_bytes: int) -> int:
        """Count the pages held, and an estimate for those being read."""
        return buffered_bytes + len(self._under_way) * self._options.source.page_bytes

    def next_ms(self, now_ms: int) -> int | None:
        """Return when the next read is due; None if there is none, or it waits for memory that an answer frees."""
        first = self._queue.first()
        return first.next_read_ms if first is not None and first.next_read_ms > now_ms else None

    def forget(self) -> None:
        """Abandon all reads."""
        self._queue.clear()
        self._under_way.clear()
        self.waits_for_memory_since_ms = None
