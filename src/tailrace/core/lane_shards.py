"""The shards of a claimed lane: which may be read, what a read says about one, when one stops or has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from tailrace.core.checkpoint import Checkpoint
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.lane_messages import NoticeKind, ReadFailed
from tailrace.core.lane_options import LaneOptions
from tailrace.core.lane_publishing import LanePublishing
from tailrace.core.lane_reads import LaneReads
from tailrace.core.lane_turn import Turn
from tailrace.core.memory_budget import MemoryBudget
from tailrace.core.page import Page
from tailrace.core.ports import ReadFailure
from tailrace.core.shard import ShardRef
from tailrace.core.shard_state import Phase, ShardState
from tailrace.core.tails import misses_ancestors, tails_of_ancestors

_WAITED_TOO_LONG = "it waited to be read longer than the stream keeps changes"
_LINEAGE_WAIT_MS = 30_000
"""How long a partition of the checkpoint topic may be behind another. What is not known then was forgotten."""


class LaneShards:
    """Follows the lane's shards from their committed checkpoints; their pages go to `publishing`."""

    def __init__(
        self,
        lane: int,
        checkpoint_state: CheckpointState,
        options: LaneOptions,
        publishing: LanePublishing,
        *,
        jitter: Callable[[], float],
        budget: MemoryBudget,
        known_until_ms: Mapping[ShardRef, int],
    ) -> None:
        """`known_until_ms` is what `published_until_ms` returned when this worker last had the lane."""
        self.states: dict[ShardRef, ShardState] = {}
        self.reads = LaneReads(lane, self.states, options, budget)
        self._lane = lane
        self._checkpoint_state = checkpoint_state
        self._options = options
        self._publishing = publishing
        self._jitter = jitter
        self._known_until_ms = dict(known_until_ms)
        """What `published_until_ms` returned before the lane was lost: it still holds, and the lag grows from it."""
        self._lineage_until_ms: dict[ShardRef, int] = {}
        """Until when shards wait that do not know all of their ancestors."""
        self._synced: tuple[int, int] | None = None
        """The versions of the checkpoint state that were followed; None: check every shard again."""

    def published_until_ms(self, shard: ShardRef) -> int | None:
        """Return until when all changes of `shard` are certainly published; None when unknown.

        It is the creation time of the last published change, or when the shard was last read to its end.
        """
        known_ms = []
        if shard in self._known_until_ms:
            known_ms.append(self._known_until_ms[shard])
        checkpoint = self._publishing.committed.get(shard)
        if checkpoint is not None and checkpoint.created_ms is not None:
            known_ms.append(checkpoint.created_ms)
        caught_up_ms = self.states[shard].caught_up_ms if shard in self.states else None
        if caught_up_ms is not None and not self._publishing.buffer.holds(shard):
            known_ms.append(caught_up_ms)
        return max(known_ms, default=None)

    @property
    def lineage_until_ms(self) -> int | None:
        """When the next shard no longer waits for what is known of its ancestors."""
        return min(self._lineage_until_ms.values(), default=None)

    def forget(self) -> None:
        """Drop all that was read: what is not committed will be read again."""
        for shard in self.states:
            until_ms = self.published_until_ms(shard)
            if until_ms is not None:
                self._known_until_ms[shard] = until_ms
        self.states.clear()
        self.reads.forget()
        self._lineage_until_ms.clear()
        self._synced = None

    # What the source answers

    def page_read(self, page: Page, shard_state: ShardState, turn: Turn) -> None:
        """Take in the page that a shard waits for."""
        if shard_state.may_have_lost_its_head(turn.now_ms):
            self._stop(shard_state, Phase.GAP, _WAITED_TOO_LONG, turn)
            return
        if shard_state.failures:
            turn.report(NoticeKind.READ_RECOVERED, shard_state, f"after {shard_state.failures} failures")
        page = self._publishing.mark(page.without_repeats(shard_state.sequence), shard_state, turn)
        closed = bool(self._checkpoint_state.children_of(page.shard))
        awaited = self._is_awaited(shard_state.record.table)
        pacing = self._options.pacing.awaited() if awaited else self._options.pacing
        shard_state.took(page, turn.now_ms, pacing, closed=closed)
        if awaited:
            shard_state.look_back()
        if page.stop is not None:
            self._stop(shard_state, Phase.FAILED, page.stop, turn, after=page)
            return
        if shard_state.phase is Phase.READY:
            self.reads.add(shard_state)
        if page.changes or page.next_iterator is None or shard_state.needs_checkpoint(awaited=awaited):
            self._publishing.add(page, shard_state, turn, at_ms=shard_state.read_ms)

    def _is_awaited(self, entry: str) -> bool:
        """Return whether a snapshot waits for what a shard's table or stream brings."""
        snapshots = self._checkpoint_state.snapshots
        return bool(snapshots.running) if self._options.source.carries_tables else snapshots.is_running(entry)

    def read_failed(self, event: ReadFailed, shard_state: ShardState, turn: Turn) -> None:
        """Take in the failure of the read that a shard waits for."""
        failure = shard_state.believed(event.failure, turn.now_ms)
        match failure:
            case ReadFailure.GONE if shard_state.forgives(turn.now_ms) or self._went_with_its_stream(shard_state):
                self._end_without_reading(shard_state, turn)
                turn.report(NoticeKind.SHARD_SKIPPED, shard_state, event.reason)
            case ReadFailure.GONE:
                self._stop(shard_state, Phase.GAP, event.reason, turn)
            case ReadFailure.TRIMMED if not (
                shard_state.forgives(turn.now_ms) or shard_state.has_lost_nothing(turn.now_ms)
            ):
                self._stop(shard_state, Phase.GAP, event.reason, turn)
            case _ if shard_state.may_have_lost_its_head(turn.now_ms):
                self._stop(shard_state, Phase.GAP, _WAITED_TOO_LONG, turn)
            case ReadFailure.EXPIRED if shard_state.iterator is not None:
                shard_state.iterator = None
                shard_state.phase = Phase.READY
                self.reads.add(shard_state)
            case _:
                if failure is ReadFailure.TRIMMED:
                    shard_state.trimmed = True  # excused: resume with what the stream still has
                if failure in {ReadFailure.TRIMMED, ReadFailure.EXPIRED}:
                    shard_state.iterator = None
                shard_state.failed(failure, turn.now_ms, self._options.read_backoff, self._jitter())
                self.reads.add(shard_state)
                turn.report(NoticeKind.READ_FAILED, shard_state, event.reason)

    def _went_with_its_stream(self, shard_state: ShardState) -> bool:
        """Return whether the shard's loss was accepted with the replacement of its stream."""
        shard, table = shard_state.shard, shard_state.record.table
        return self._options.source.replaced_is_gone and self._checkpoint_state.was_replaced(shard, table)

    def _end_without_reading(self, shard_state: ShardState, turn: Turn) -> None:
        shard_state.phase = Phase.DRAINED
        self._publishing.add(None, shard_state, turn, at_ms=shard_state.read_ms)

    def _stop(
        self,
        shard_state: ShardState,
        phase: Literal[Phase.GAP, Phase.FAILED],
        why: str,
        turn: Turn,
        *,
        after: Page | None = None,
    ) -> None:
        """Stop a shard (after a last page) and record it in its checkpoint; a committed gap stops the whole table."""
        shard_state.phase = phase
        self._publishing.add(after, shard_state, turn, at_ms=turn.now_ms, detail=why)
        turn.report(NoticeKind.GAP if phase is Phase.GAP else NoticeKind.SHARD_FAILED, shard_state, why)

    # What is committed

    def committed(self, checkpoints: Mapping[ShardRef, Checkpoint], turn: Turn) -> None:
        """Take in the checkpoints of a transaction of this lane."""
        for shard, checkpoint in checkpoints.items():
            shard_state = self.states.get(shard)
            if shard_state is None:
                continue  # its lineage was deleted meanwhile
            self._publishing.committed[shard] = checkpoint
            if checkpoint.state == "ended":
                shard_state.phase = Phase.ENDED
                turn.report(NoticeKind.SHARD_ENDED, shard_state, "published to its end")

    def sync(self, turn: Turn) -> None:
        """Follow the checkpoint state: new shards, ended parents, stopped and accepted tables, shards that may be
        forgotten."""
        versions = self._checkpoint_state.versions_of(self._lane)
        if self._synced == versions and not self._lineage_until_ms:
            return
        tables_changed = self._synced is None or self._synced[0] != versions[0]
        self._synced = versions
        known = self._checkpoint_state.shards_of(self._lane)
        for shard in sorted(known - self.states.keys()):
            self._restart(shard)
        for shard in self.states.keys() - known:
            del self.states[shard]
            self._publishing.committed.pop(shard, None)
            self._lineage_until_ms.pop(shard, None)
            self._known_until_ms.pop(shard, None)
        concerned = [each for each in self.states.values() if tables_changed or each.phase is Phase.WAITING]
        for table, shard_states in _by_table(concerned).items():
            stopped = self._checkpoint_state.is_stopped(table)
            accepted_ms = self._checkpoint_state.accepted_ms(table)
            for shard_state in shard_states:
                shard_state.accepted_ms = accepted_ms  # before it is looked at: it may be read without a stop
                self._sync_shard(shard_state, turn, table_stopped=stopped)

    def _restart(self, shard: ShardRef) -> ShardState:
        """Read a shard again from its committed checkpoint. The commit buffer must not hold a page of it."""
        checkpoint = self._publishing.committed.get(shard)
        accepted = self._checkpoint_state.is_accepted(shard, checkpoint)
        shard_state = ShardState.resume(
            shard, self._checkpoint_state.shards[shard], checkpoint, source=self._options.source, accepted=accepted
        )
        shard_state.accepted_ms = self._checkpoint_state.accepted_ms(shard_state.record.table)
        self.states[shard] = shard_state
        return shard_state

    def _sync_shard(self, shard_state: ShardState, turn: Turn, *, table_stopped: bool) -> None:
        shard = shard_state.shard
        if table_stopped:
            self._lineage_until_ms.pop(shard, None)
            if shard_state.phase not in {Phase.ENDED, Phase.GAP, Phase.FAILED}:
                shard_state.phase = Phase.PAUSED
                self._publishing.buffer.drop_waiting({shard})
            return
        if shard_state.phase in {Phase.GAP, Phase.PAUSED}:
            if self._publishing.buffer.holds(shard):
                self._synced = None  # check again once the transaction in flight has its outcome
                return
            if shard_state.phase is Phase.PAUSED or self._checkpoint_state.is_accepted(
                shard, self._publishing.committed.get(shard)
            ):
                shard_state = self._restart(shard)
        if shard_state.phase is not Phase.WAITING or not self._checkpoint_state.may_begin(shard):
            return
        if not self._waits_for_lineage(shard, turn):
            self._begin(shard_state, turn)

    def _waits_for_lineage(self, shard: ShardRef, turn: Turn) -> bool:
        """Return whether to wait, for a while, until it is known which tails of ancestors are to be read."""
        source, state = self._options.source, self._checkpoint_state
        handover = state.handover_of(shard)
        from_ms = handover.from_ms if handover is not None else None
        has_tails = bool(source.window_ms) or handover is not None
        misses = has_tails and misses_ancestors(state, shard, source, turn.now_ms, from_ms)
        if misses and turn.now_ms < self._lineage_until_ms.setdefault(shard, turn.now_ms + _LINEAGE_WAIT_MS):
            return True
        self._lineage_until_ms.pop(shard, None)
        return False

    def _begin(self, shard_state: ShardState, turn: Turn) -> None:
        if shard_state.record.start == "END" and not shard_state.begun:
            self._end_without_reading(shard_state, turn)
            return
        if not shard_state.begun:
            shard_state.read_ms = shard_state.open_ms = self._checkpoint_state.unread_since_ms(shard_state.shard)
        if shard_state.may_have_lost_its_head(turn.now_ms):
            self._stop(shard_state, Phase.GAP, _WAITED_TOO_LONG, turn)
            return
        window_ms = self._options.source.window_ms
        shard_state.handover = handover = self._checkpoint_state.handover_of(shard_state.shard)
        if window_ms or handover is not None:
            since_ms = handover.from_ms if handover is not None else None
            shard_state.tails = tails_of_ancestors(self._checkpoint_state, shard_state.shard, window_ms, since_ms)
        shard_state.phase = Phase.READY
        shard_state.next_read_ms = self._publishing.paused_until_ms(shard_state.shard) or turn.now_ms
        self.reads.add(shard_state)
        turn.report(NoticeKind.SHARD_BEGUN, shard_state, f"after {shard_state.sequence or shard_state.record.start}")


def _by_table(shard_states: Iterable[ShardState]) -> dict[str, list[ShardState]]:
    tables: dict[str, list[ShardState]] = {}
    for shard_state in shard_states:
        tables.setdefault(shard_state.record.table, []).append(shard_state)
    return tables
