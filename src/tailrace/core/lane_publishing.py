"""What a lane has read but not committed, what is committed of its shards, and when it commits next."""

from __future__ import annotations

from collections.abc import Callable

from tailrace.core.checkpoint import Checkpoint
from tailrace.core.commit_buffer import CommitBuffer
from tailrace.core.lane_messages import Commit, Notice, NoticeKind, ProducerLost
from tailrace.core.lane_options import LaneOptions
from tailrace.core.lane_turn import Turn
from tailrace.core.page import Page, empty_page
from tailrace.core.refusals import Learned, RefusedRecords
from tailrace.core.shard import ShardRef
from tailrace.core.shard_state import ShardState

_LINGERS_BEHIND = 10
"""How many times the linger the changes of shards that are behind may wait to share a transaction."""


class LanePublishing:
    """The path of a page from its read to its commit."""

    def __init__(self, lane: int, options: LaneOptions, jitter: Callable[[], float]) -> None:
        self.buffer = CommitBuffer(lane)
        self.committed: dict[ShardRef, Checkpoint] = {}
        """The lane's checkpoints as committed: the state's when it was claimed, its own since (the state lags)."""
        self._lane = lane
        self._options = options
        self._jitter = jitter
        self._refused = RefusedRecords()
        self._refused_topics: dict[ShardRef, tuple[int, int]] = {}
        """Shards whose topic the broker refuses: how often in a row, and when to read them again."""

    def mark(self, page: Page, shard_state: ShardState, turn: Turn) -> Page:
        """Return the page with what is known of records that are too large; it may be cut before the first."""
        for reason in self._refused.note_marks(page):
            turn.report(NoticeKind.SET_ASIDE, shard_state, reason)
        return self._refused.apply(page, stop=self._options.errors_fail)

    def add(
        self, page: Page | None, shard_state: ShardState, turn: Turn, *, at_ms: int, detail: str | None = None
    ) -> None:
        """Add a page, or none, with the checkpoint that holds once it is published; `at_ms` is the checkpoint's."""
        page = page or empty_page(shard_state.shard)
        shard_state.checkpointed_ms = at_ms
        shard_state.checkpointed_until_ms = shard_state.until_ms or 0
        self.buffer.add_page(page, shard_state.checkpoint(page, at_ms, detail), turn.now_ms)

    def commit_if_due(self, epoch: int, turn: Turn, *, is_reading: bool) -> None:
        """Issue the next transaction if one is due and none is in flight."""
        if not self.buffer.is_under_way and self._is_due(turn.now_ms, is_reading=is_reading):
            transaction = self.buffer.cut(self._options.batch_changes, self._options.batch_bytes, turn.now_ms)
            turn.ask(Commit(epoch, transaction))

    def next_ms(self, *, is_reading: bool) -> int | None:
        """Return when the next transaction is due; None while one is in flight: its answer comes first."""
        return None if self.buffer.is_under_way else self._due_ms(is_reading=is_reading)

    def note_committed(self) -> dict[ShardRef, Checkpoint]:
        """Record that the transaction in flight succeeded; return the checkpoints that hold now."""
        checkpoints = self.buffer.committed()
        for shard, checkpoint in checkpoints.items():
            self._refused.forget(shard, checkpoint.sequence)
            self._refused_topics.pop(shard, None)
        return checkpoints

    def note_refusals(self, lost: ProducerLost, turn: Turn) -> bool:
        """Remember what the broker refused; return whether the next attempt will differ."""
        has_learned = False
        for refusal in lost.refusals:
            page = self.buffer.page_under_way(refusal.page)
            table = page.records[refusal.record].origin.table
            learned = Learned.NOTHING
            if refusal.too_large:
                learned = self._refused.note(page, refusal.record, refusal.reason)
            if learned is Learned.TOO_LARGE:
                turn.ask(Notice(NoticeKind.SET_ASIDE, refusal.reason, page.shard, table))
            if learned is Learned.NOTHING:
                self._note_refused_topic(page.shard, table, refusal.reason, turn)
            has_learned |= learned is not Learned.NOTHING
        return has_learned

    def paused_until_ms(self, shard: ShardRef) -> int:
        """Return when a shard may be read: at once, unless the broker refuses its topic."""
        return self._refused_topics.get(shard, (0, 0))[1]

    def forget(self) -> None:
        """Drop what is not committed, but remember records that are too large and topics that were refused."""
        self.buffer = CommitBuffer(self._lane)
        self.committed = {}

    def _note_refused_topic(self, shard: ShardRef, table: str, reason: str, turn: Turn) -> None:
        times, until_ms = self._refused_topics.get(shard, (0, 0))
        if until_ms > turn.now_ms:
            return
        pause_ms = self._options.refused_backoff.pause_ms(times + 1, self._jitter())
        self._refused_topics[shard] = times + 1, turn.now_ms + pause_ms
        turn.ask(Notice(NoticeKind.TOPIC_REFUSED, reason, shard, table))

    def _is_due(self, now_ms: int, *, is_reading: bool) -> bool:
        due_ms = self._due_ms(is_reading=is_reading)
        if due_ms is None:
            return False
        return (
            self.buffer.waiting_changes >= self._options.batch_changes
            or self.buffer.waiting_bytes >= self._options.batch_bytes
            or now_ms >= due_ms
        )

    def _due_ms(self, *, is_reading: bool) -> int | None:
        """Return when the waiting pages are committed at the latest.

        Full pages show that their shards are behind: their changes are late already, and gain more from sharing a
        transaction with the page that is being read than from not waiting.
        """
        if self.buffer.oldest_ms is None:
            return None
        is_behind = is_reading and self.buffer.has_only_full_pages
        return self.buffer.oldest_ms + self._options.linger_ms * (_LINGERS_BEHIND if is_behind else 1)
