"""Publishes the batches of one shard that AWS Lambda delivers, exactly once. Pure, like the lane.

Lambda may deliver a batch again (after a timeout, a failure, or to two sandboxes at once), cut in two, or minutes late
to a frozen sandbox. So a shard is claimed as a lane is (`claiming`); then the shard's checkpoint says what is already
published. A fenced sandbox returns its batch.

The protocol is a generator: it yields a `ClaimCommand`, is sent what the producer answers (None where nothing does),
and can be given up between the two when time runs out. `ShardPublisher.sequence` says up to where all is published.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from itertools import chain
from typing import TypeVar

import msgspec

from tailrace.core.checkpoint import Checkpoint, CheckpointKey, Claim, ShardClaimKey, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.claiming import ClaimCommand, Claiming
from tailrace.core.discovery import forget_outdated
from tailrace.core.lane_messages import CloseProducer, Commit, ProducerAnswer, ProducerLost, Transaction
from tailrace.core.page import Page
from tailrace.core.refusals import Learned, RefusedRecords
from tailrace.core.shard import ShardRef, is_after, lane_of
from tailrace.core.source_policy import SourcePolicy

LOSSES_MAX = 3
"""How often a batch is retried after its producer was lost without progress."""

_T = TypeVar("_T")
_Steps = Generator[ClaimCommand, ProducerAnswer | None, _T]


class Failure(msgspec.Struct, frozen=True):
    """Why a batch was not published completely.

    `fenced`: another sandbox serves the shard now. `inactive`: the pipeline is served by another method.
    """

    reason: str
    fenced: bool = False
    inactive: bool = False


class ShardPublisher:
    """What one sandbox knows about one shard, over all the batches that it serves.

    `exact` is false for batches that do not name their shard: `shard` is then a name private to the sandbox, which
    fences no one else, and what is delivered again is published again.
    """

    def __init__(
        self,
        shard: ShardRef,
        owner: str,
        checkpoint_state: CheckpointState,
        *,
        table: str,
        source: SourcePolicy,
        errors_fail: bool,
        exact: bool = True,
    ) -> None:
        """`checkpoint_state` is followed by whoever carries out `CatchUp`; `owner` names the sandbox.

        `table` is the one that the shard's checkpoint names.
        """
        self.shard = shard
        self.lane = lane_of(shard, checkpoint_state.lane_count)
        self.sequence: str | None = None
        """Everything up to here is published, as far as this sandbox knows."""
        self.checkpoint: Checkpoint | None = None
        """What is committed of the shard, as far as this sandbox knows; none of a shard that is not named."""
        self.has_ended = False
        """A worker published it to its end, or had to skip it (`start: latest`): nothing of it is missing."""
        self._owner = owner
        self._table = table
        self._checkpoint_state = checkpoint_state
        self._source = source
        self._errors_fail = errors_fail
        self._exact = exact
        self._refused = RefusedRecords()
        self._forgettable: tuple[Write, ...] = ()
        self._epoch = 0
        self._is_held = False

    def publish(self, pages: Iterable[Page], now_ms: int) -> _Steps[Failure | None]:
        """Publish `pages` in order, each in its own transaction; return why that failed, None if it succeeded.

        The first page is asked for when the shard is claimed: what it holds may depend on the checkpoint.
        A caller that gives up between a command and its answer must carry out `abandon`.
        """
        if not self._exact:
            self.sequence = None
        losses = 0
        for page in chain((None,), pages):
            made_at = self.sequence
            while True:
                answer = yield from self._publish(page, made_at, now_ms)
                if answer is None:
                    break
                if isinstance(answer, Failure):
                    return answer
                if page is None or not self._learned(answer, page):
                    losses += 1
                    if answer.fenced or losses == LOSSES_MAX:
                        return Failure(answer.reason, fenced=answer.fenced)
        return None

    def abandon(self) -> CloseProducer:
        """Abandon the producer, its last outcome unknown: the next batch claims the shard again."""
        self._is_held = False
        return CloseProducer(self._epoch)

    def _publish(self, page: Page | None, made_at: str | None, now_ms: int) -> _Steps[Failure | ProducerLost | None]:
        """Claim the shard unless it is held, and publish a page, if there is one, that was made at a position."""
        if not self._is_held and (refusal := (yield from self._claim(now_ms))):
            return refusal
        if page is None or self.has_ended:
            return None
        if self.sequence != made_at:
            # What repeats a change that was published since, the page does not know.
            return Failure("more of the shard is published than was known", fenced=True)
        page = self._marked(page)
        if page.last_sequence is not None and is_after(page.last_sequence, self.sequence):
            checkpoint = self._checkpoint(page, now_ms)
            writes = (Write(self.lane, CheckpointKey(*self.shard), checkpoint),) if self._exact else ()
            if lost := (yield from self._commit(Transaction((page,), (*self._forgettable, *writes)))):
                return lost
            self._forgettable = ()
            self.sequence = page.last_sequence
            self.checkpoint = checkpoint if self._exact else None
            self._refused.forget(self.shard, self.sequence)
        return None if page.stop is None else Failure(page.stop)

    def _marked(self, page: Page) -> Page:
        """Return the unpublished part of a page, with what is known about its records."""
        page = page.without_repeats(self.sequence)
        self._refused.note_marks(page)
        return self._refused.apply(page, stop=self._errors_fail)

    def _checkpoint(self, page: Page, now_ms: int) -> Checkpoint:
        return Checkpoint(
            table=self._table,
            state="open",
            sequence=page.last_sequence,
            created_ms=page.last_created_ms,
            at_ms=now_ms,
            window_from=page.window_from,
            arrived_ms=page.arrived_ms,
        )

    def _claim(self, now_ms: int) -> _Steps[Failure | ProducerLost | None]:
        self._epoch += 1
        claim = Claim(owner=self._owner, nonce=f"{self._owner}/{self._epoch}", at_ms=now_ms)
        writes = (Write(self.lane, ShardClaimKey(*self.shard), claim),)
        if lost := (yield from Claiming(self._epoch, writes, self._checkpoint_state.shows).steps()):
            return lost
        method = self._checkpoint_state.method_of(self.lane)
        if method != "lambda":
            yield self.abandon()
            return Failure(f"the pipeline's method is {method}", inactive=True)
        if self._exact:
            self.checkpoint = published = self._checkpoint_state.checkpoints.get(self.shard)
            self.sequence = published.sequence if published is not None else None
            self.has_ended = published is not None and published.state == "ended"
        self._forgettable = tuple(
            write
            for write in forget_outdated(self._checkpoint_state, self._source, now_ms)
            if write.partition == self.lane
        )
        self._is_held = True
        return None

    def _commit(self, transaction: Transaction) -> _Steps[ProducerLost | None]:
        answer = yield Commit(self._epoch, transaction)
        if not isinstance(answer, ProducerLost):
            return None
        yield self.abandon()
        return answer

    def _learned(self, lost: ProducerLost, page: Page) -> bool:
        """Remember which records the broker refused for their size: the next attempt will differ."""
        sent = self._marked(page)
        learned = [
            self._refused.note(sent, refusal.record, refusal.reason) for refusal in lost.refusals if refusal.too_large
        ]
        return lost.learned or any(one is not Learned.NOTHING for one in learned)
