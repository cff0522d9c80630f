"""What a lane is told (events) and what it asks for (commands). Both are plain data.

Everything that belongs to one taking of the lane carries its `epoch`: an answer from an earlier one is ignored.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from tailrace.core.checkpoint import Write
from tailrace.core.page import Page
from tailrace.core.ports import ReadFailure
from tailrace.core.shard import Position, ShardRef


class Event(msgspec.Struct, frozen=True):
    """Something happened."""


class Release(Event, frozen=True):
    """The consumer group takes the lane back, or the worker stops."""


class Tick(Event, frozen=True):
    """Time passed: sent at the lane's `wake_at_ms`."""


class CheckpointStateChanged(Event, frozen=True):
    """The checkpoint state took in records that may change what the lane does."""


class ProducerOpened(Event, frozen=True):
    """`OpenProducer` succeeded: whoever had the lane is fenced, what it left open is ended."""

    epoch: int


class Committed(Event, frozen=True):
    """The last transaction is committed."""

    epoch: int


class Refusal(msgspec.Struct, frozen=True):
    """The broker refused one record of a transaction: for its size, or (`too_large` false) its whole topic."""

    page: int
    record: int
    too_large: bool
    reason: str


class ProducerLost(Event, frozen=True):
    """The producer must never be used again: fenced, fatal, or the outcome of what it last did is not sure.

    Nothing but a commit leaves a producer usable: after a refusal librdkafka still has requests under way, whose
    answers nobody waits for.
    """

    epoch: int
    fenced: bool
    reason: str
    refusals: tuple[Refusal, ...] = ()
    denied: bool = False
    """The broker refuses the lane itself, and will until somebody fixes what `reason` names."""
    learned: bool = False
    """The next producer will send in smaller batches: there is no reason to wait before it is made."""


class PageRead(Event, frozen=True):
    """A read gave a page. `ticket` is the read's: the answer to a read that was given up is ignored."""

    epoch: int
    ticket: int
    page: Page


class ReadFailed(Event, frozen=True):
    """A read gave none."""

    epoch: int
    ticket: int
    shard: ShardRef
    failure: ReadFailure
    reason: str


class PublishLineage(Event, frozen=True):
    """The enumerator's records for the checkpoint topic (lane 0 only)."""

    epoch: int
    writes: tuple[Write, ...]


class Command(msgspec.Struct, frozen=True):
    """Something is to be done."""


class OpenProducer(Command, frozen=True):
    """Make the lane's transactional producer and `init_transactions` it. Answer: ProducerOpened or ProducerLost."""

    epoch: int


class Transaction(msgspec.Struct, frozen=True):
    """What is published together: whole pages, and the checkpoint records that say so."""

    pages: tuple[Page, ...]
    writes: tuple[Write, ...]

    @property
    def change_count(self) -> int:
        """Number of changes in it."""
        return sum(page.change_count for page in self.pages)


class Commit(Command, frozen=True):
    """Begin, produce and commit. Answer: Committed or ProducerLost."""

    epoch: int
    transaction: Transaction


class CloseProducer(Command, frozen=True):
    """Close the producer, whatever its state, and never use it again. No answer."""

    epoch: int


class Read(Command, frozen=True):
    """Read one page. Answer: PageRead or ReadFailed."""

    epoch: int
    ticket: int
    shard: ShardRef
    position: Position
    iterator: str | None


class Released(Command, frozen=True):
    """The lane holds nothing any more: the group may give it away."""


class NoticeKind(StrEnum):
    """What an operator should hear of."""

    TAKEN = "lane taken"
    LOST = "lane lost"
    DENIED = "lane denied"
    SHARD_BEGUN = "shard begun"
    SHARD_ENDED = "shard ended"
    SHARD_SKIPPED = "shard skipped"
    SHARD_FAILED = "shard failed"
    GAP = "gap"
    READ_FAILED = "read failed"
    READ_RECOVERED = "read recovered"
    SET_ASIDE = "record set aside"
    TOPIC_REFUSED = "topic refused"


class Notice(Command, frozen=True):
    """Tell the operator (log, metric). No answer."""

    kind: NoticeKind
    detail: str
    shard: ShardRef | None = None
    table: str | None = None
