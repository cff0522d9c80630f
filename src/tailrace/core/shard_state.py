"""The state of one shard of a lane: its phase, its position, when to read next."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tailrace.core.checkpoint import Checkpoint, ShardCondition, ShardRecord
from tailrace.core.handover import Handover
from tailrace.core.pacing import Backoff, Pacing
from tailrace.core.page import Page
from tailrace.core.ports import ReadFailure
from tailrace.core.shard import Position, ShardRef, Tail
from tailrace.core.source_policy import SourcePolicy


class Phase(StrEnum):
    """The phase of a shard in its lane."""

    WAITING = "waiting"
    """Its parents' ends are not committed yet."""
    READY = "ready"
    READING = "reading"
    DRAINED = "drained"
    """Read to its end; the end is not committed yet."""
    ENDED = "ended"
    PAUSED = "paused"
    """A gap elsewhere stops its table."""
    GAP = "gap"
    """Changes are lost at its position, and the loss is not accepted."""
    FAILED = "failed"
    """It stopped at a record with `errors: fail`, until the lane is claimed again."""


AWAITED_CHECKPOINT_MS: Final = 1_000
"""Least time between two checkpoints of a quiet shard while a snapshot waits for it."""

_SLOWED_MAX_MS: Final = 2_000
"""Most time between two reads of a shard that others read, too."""

_CONDITIONS: dict[Phase, ShardCondition] = {
    Phase.DRAINED: "ended",
    Phase.GAP: "gap",
    Phase.FAILED: "failed",
}


@dataclass
class ShardState:
    """One shard of a claimed lane."""

    shard: ShardRef
    record: ShardRecord
    source: SourcePolicy
    phase: Phase = Phase.WAITING
    begun: bool = False
    """A read succeeded, now or (by its checkpoint) in an earlier epoch."""
    begun_ms: int | None = None
    """When the first read at LATEST succeeded."""
    read_ms: int = 0
    """When a read last showed all that there was, as far as known: until then nothing was trimmed unread."""
    open_ms: int = 0
    """When it was last known to be open: the changes of its children are newer."""
    checkpointed_ms: int | None = None
    """The `read_ms` of the last checkpoint that says that the shard is being read; None if there is none."""
    sequence: str | None = None
    """The last sequence number read."""
    trimmed: bool = False
    """Nothing up to `sequence` is left in the stream, so it is no longer a valid position."""
    created_ms: int | None = None
    """Creation time of the last change read."""
    window_from: str | None = None
    """Where the window of what was published lately begins (`Checkpoint.window_from`)."""
    arrived_ms: int | None = None
    """When the last change read arrived in the stream."""
    tails: tuple[Tail, ...] = ()
    """The tails of its ancestors, to be read again with its own."""
    handover: Handover | None = None
    """What the source before has published, while that may be met."""
    iterator: str | None = None
    from_latest: bool = False
    """The iterator comes from a read at LATEST: a restart may still show changes that are a little older."""
    ticket: int = 0
    """The read in flight; an answer with another ticket is outdated."""
    asked_ms: int = 0
    """When the read in flight was requested."""
    next_read_ms: int = 0
    empty_reads: int = 0
    empty_since_ms: tuple[int, ...] = ()
    """When the last empty pages in a row were requested, as many as prove that there is nothing more to read."""
    until_ms: int | None = None
    """When it was last read to its end: all earlier changes are in the pages read."""
    checkpointed_until_ms: int = 0
    """The `until_ms` of the last checkpoint."""
    caught_up_ms: int | None = None
    """When an empty page last showed that there is nothing more to read for now."""
    slowed_ms: int = 0
    """Least time between two reads, because other readers use up what the source allows: it halves the pace at each
    refusal, and wins it back slowly."""
    failures: int = 0
    denied_since_ms: int | None = None
    """Since when every answer has denied the shard; None if the last one did not."""
    accepted: bool = False
    """The operator accepted the loss of changes after `sequence`, and what is left has not been read yet."""
    accepted_ms: int = 0
    """When the operator last accepted gaps of its table; 0: never."""

    @classmethod
    def resume(
        cls,
        shard: ShardRef,
        record: ShardRecord,
        checkpoint: Checkpoint | None,
        *,
        source: SourcePolicy,
        accepted: bool,
    ) -> ShardState:
        """Start from what is committed; `accepted` if the operator accepted the gap in `checkpoint`."""
        shard_state = cls(shard, record, source, read_ms=record.seen_ms, open_ms=record.seen_ms, accepted=accepted)
        if checkpoint is None:
            return shard_state
        shard_state.begun = True
        shard_state.begun_ms = checkpoint.begun_ms
        shard_state.read_ms = checkpoint.at_ms
        shard_state.open_ms = checkpoint.at_ms if checkpoint.open_ms is None else checkpoint.open_ms
        shard_state.sequence = checkpoint.sequence
        shard_state.trimmed = checkpoint.trimmed
        shard_state.created_ms = checkpoint.created_ms
        shard_state.window_from = checkpoint.window_from
        shard_state.arrived_ms = checkpoint.arrived_ms
        shard_state.until_ms = checkpoint.until_ms
        if checkpoint.state in {"open", "ended"}:
            shard_state.checkpointed_ms = checkpoint.at_ms
        if checkpoint.state == "ended" or (checkpoint.state == "gap" and not accepted):
            shard_state.phase = Phase(checkpoint.state)
        return shard_state

    def position(self) -> Position:
        """Return where to resume without an iterator.

        LATEST is used only until the first read succeeds; after that it would skip what was written since.
        """
        if self.sequence is not None:
            if self.trimmed:
                return Position("TRIM_HORIZON", tails=self.tails, handover=self.handover)
            own = (Tail(self.shard, self.window_from),) if self.source.window_ms or self.handover else ()
            tails = (*self.tails, *own)
            return Position("AFTER_SEQUENCE_NUMBER", self.sequence, tails=tails, handover=self.handover)
        if self.record.start != "LATEST":
            since_ms = self.record.since_ms
            return Position("TRIM_HORIZON", since_ms=since_ms, tails=self.tails, handover=self.handover)
        if not self.begun:
            return Position("LATEST")
        return Position("TRIM_HORIZON", since_ms=self.record.seen_ms - self.source.clock_skew_ms)

    def forgives(self, now_ms: int) -> bool:
        """Return whether a trimmed or missing part counts as read: it was never promised, or its loss was accepted.

        What a stream loses within its retention after its first listing was there before it.
        """
        was_there_before = self.record.initial and now_ms - self.record.seen_ms <= self._retention_ms
        return self._is_accepted(now_ms) or (self.sequence is None and was_there_before)

    def may_have_lost_its_head(self, now_ms: int) -> bool:
        """Return whether a shard that is read from its head has waited so long that more of it may be trimmed.

        Reading at TRIM_HORIZON would skip them silently.
        """
        waited_too_long = now_ms - self.read_ms > self._retention_ms and not self._is_accepted(now_ms)
        return waited_too_long and self.position().kind == "TRIM_HORIZON"

    def _is_accepted(self, now_ms: int) -> bool:
        """Return whether its loss is accepted: as a gap of its own, or because it had waited too long by then.

        An acceptance covers what was lost when it was given, wherever in the table: otherwise each shard that shows
        the loss, and each generation of its children, would stop the table once more. What was changed since must
        still be there.
        """
        had_lost = self.accepted or self.accepted_ms - self.read_ms > self._retention_ms
        return had_lost and now_ms - self.accepted_ms <= self._retention_ms

    def has_lost_nothing(self, now_ms: int) -> bool:
        """Return whether a trimmed position is only old: the last change of a shard that stayed open without any since.

        It was read to its end so lately that whatever came then is still there.
        """
        kept_ms = self._retention_ms - self.source.clock_skew_ms
        is_old = self.arrived_ms is not None and now_ms - self.arrived_ms >= kept_ms
        return is_old and self.until_ms is not None and now_ms - self.until_ms <= kept_ms

    @property
    def _retention_ms(self) -> int:
        return self.record.retention_ms or self.source.retention_ms

    def needs_checkpoint(self, *, awaited: bool) -> bool:
        """Return whether an empty page is worth a checkpoint.

        The first is. Later ones record, rarely, that a quiet shard is still read and open: after a restart nothing else
        would prove that neither it nor its children have lost changes meanwhile. Until then an accepted gap remains.
        While the shard is `awaited`, by a snapshot of its table, they record about once a second how far it is.
        """
        if self.accepted:
            return False
        if self.handover is not None and self.checkpointed_until_ms <= self.handover.until_ms < (self.until_ms or 0):
            return True
        if (
            awaited
            and self.until_ms is not None
            and self.until_ms - self.checkpointed_until_ms >= AWAITED_CHECKPOINT_MS
        ):
            return True
        return self.checkpointed_ms is None or self.read_ms - self.checkpointed_ms > self._retention_ms // 4

    def checkpoint(self, page: Page, at_ms: int, detail: str | None) -> Checkpoint:
        """Return the checkpoint that holds once all up to `page`, the last one read, is published."""
        return Checkpoint(
            table=self.record.table,
            state=_CONDITIONS.get(self.phase, "open"),
            sequence=self.sequence,
            created_ms=self.created_ms,
            at_ms=at_ms,
            detail=detail,
            trimmed=self.trimmed,
            open_ms=self.open_ms,
            behind=page.full,
            begun_ms=self.begun_ms,
            until_ms=self.until_ms,
            window_from=self.window_from,
            arrived_ms=self.arrived_ms,
        )

    def took(self, page: Page, now_ms: int, pacing: Pacing, *, closed: bool) -> None:
        """Take in a page that was read."""
        if not self.begun and self.record.start == "LATEST":
            self.begun_ms = now_ms
        self.begun = True
        self.failures = 0
        self.denied_since_ms = None
        self.iterator = page.next_iterator
        is_empty = not page.changes and not page.full
        self.empty_reads = self.empty_reads + 1 if is_empty else 0
        self._note_empty(is_empty=is_empty)
        if is_empty:
            self.caught_up_ms = now_ms
        if page.changes or page.next_iterator is None or self.empty_reads >= self.source.caught_up_reads:
            self.read_ms = self.asked_ms
            self.accepted = False
        if page.last_sequence is not None:
            self.sequence = page.last_sequence
            self.created_ms = page.last_created_ms
            self.window_from = page.window_from
            self.arrived_ms = page.arrived_ms
            self.open_ms = max(self.open_ms, page.last_created_ms or 0)
            self.trimmed = False
        elif self.empty_reads >= self.source.caught_up_reads and page.next_iterator is not None:
            self.open_ms = self.asked_ms
        self.phase = Phase.READY if page.next_iterator is not None else Phase.DRAINED
        pause_ms = pacing.pause_ms(empty_reads=self.empty_reads, full=page.full, closed=closed)
        self.slowed_ms = self.slowed_ms * 7 // 8
        allowed_ms = self.source.next_read_ms(self.asked_ms, page.read_bytes)
        self.next_read_ms = max(now_ms + pause_ms, allowed_ms, self.asked_ms + self.slowed_ms)

    def _note_empty(self, *, is_empty: bool) -> None:
        """One empty page may come in the middle of a shard: enough of them prove that the first met the end."""
        enough = self.source.caught_up_reads
        is_proof = is_empty and not self.skips_changes
        self.empty_since_ms = (*self.empty_since_ms, self.asked_ms)[-enough:] if is_proof else ()
        if len(self.empty_since_ms) == enough:
            self.until_ms = self.empty_since_ms[0]

    @property
    def skips_changes(self) -> bool:
        """Whether reading on leaves out changes that reading from `position()` would show."""
        return self.from_latest and self.sequence is None

    def look_back(self) -> None:
        """Read next from `position()` if reading on would leave changes out."""
        if self.skips_changes:
            self.iterator = None

    def believed(self, failure: ReadFailure, now_ms: int) -> ReadFailure:
        """Return the failure to act on: GONE counts as UNAVAILABLE until it has lasted for `gone_after_ms`."""
        if failure is not ReadFailure.GONE:
            if failure in {ReadFailure.TRIMMED, ReadFailure.EXPIRED}:
                self.denied_since_ms = None  # such an answer shows that the shard exists
            return failure
        self.iterator = None  # the source must deny the shard from its position, too
        if self.denied_since_ms is None:
            self.denied_since_ms = now_ms
        # An answer describes a moment between its request and its arrival.
        return failure if self.asked_ms - self.denied_since_ms >= self.source.gone_after_ms else ReadFailure.UNAVAILABLE

    def failed(self, failure: ReadFailure, now_ms: int, backoff: Backoff, jitter: float) -> None:
        """Take in a read that failed in a way that may be temporary."""
        self.failures += 1
        if failure is ReadFailure.THROTTLED and self.source.read_interval_ms:
            self.slowed_ms = min(_SLOWED_MAX_MS, 2 * max(self.slowed_ms, self.source.read_interval_ms))
        self.phase = Phase.READY
        self.next_read_ms = now_ms + backoff.pause_ms(self.failures, jitter)
