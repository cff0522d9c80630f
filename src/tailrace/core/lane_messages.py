"""A lane's input (events) and output (commands). Both are plain data.

Everything that belongs to one claim of the lane carries its `epoch`: an answer from an earlier one is ignored.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from tailrace.core.checkpoint import Write
from tailrace.core.page import Page
from tailrace.core.ports import ReadFailure
from tailrace.core.shard import Position, ShardRef


class EpochEvent(msgspec.Struct, frozen=True):
    """Something happened that concerns one claim of the lane only."""

    epoch: int


class Release(msgspec.Struct, frozen=True):
    """The consumer group takes the lane back, or the worker stops."""


class Tick(msgspec.Struct, frozen=True):
    """Time passed: sent at the lane's `wake_at_ms`."""


class CheckpointStateChanged(msgspec.Struct, frozen=True):
    """The checkpoint state took in records that may change what the lane does."""


class ProducerOpened(EpochEvent, frozen=True):
    """`OpenProducer` succeeded: the previous owner is fenced, and its open transaction ended."""


class Committed(EpochEvent, frozen=True):
    """The last transaction is committed."""


class Refusal(msgspec.Struct, frozen=True):
    """The broker refused one record of a transaction: for its size, or (`too_large` false) its whole topic."""

    page: int
    record: int
    too_large: bool
    reason: str


class ProducerLost(EpochEvent, frozen=True):
    """The producer must never be used again: fenced, fatal, or the outcome of its last call is uncertain.

    Only a commit leaves a producer usable: after a refusal librdkafka still has requests in flight that nothing waits
    for.
    """

    fenced: bool
    reason: str
    refusals: tuple[Refusal, ...] = ()
    denied: bool = False
    """The broker refuses the lane itself, until what `reason` names is fixed."""
    learned: bool = False
    """The next producer will send smaller batches, so there is no reason to wait."""


class PageRead(EpochEvent, frozen=True):
    """A read returned a page. `ticket` is the read's: the answer to a read that was given up is ignored."""

    ticket: int
    page: Page

    @property
    def shard(self) -> ShardRef:
        """The shard that was read."""
        return self.page.shard


class ReadFailed(EpochEvent, frozen=True):
    """A read failed."""

    ticket: int
    shard: ShardRef
    failure: ReadFailure
    reason: str


class PublishLineage(EpochEvent, frozen=True):
    """The enumerator's records for the checkpoint topic (lane 0 only)."""

    writes: tuple[Write, ...]


Event = (
    Release
    | Tick
    | CheckpointStateChanged
    | ProducerOpened
    | Committed
    | ProducerLost
    | PageRead
    | ReadFailed
    | PublishLineage
)
"""Something happened."""
ProducerAnswer = ProducerOpened | Committed | ProducerLost
"""The outcome of a producer call."""


class OpenProducer(msgspec.Struct, frozen=True):
    """Make the lane's transactional producer and `init_transactions` it. Answer: ProducerOpened or ProducerLost."""

    epoch: int


class Transaction(msgspec.Struct, frozen=True):
    """What one transaction publishes: whole pages, and the checkpoint records for them."""

    pages: tuple[Page, ...]
    writes: tuple[Write, ...]

    @property
    def change_count(self) -> int:
        """Number of changes in it."""
        return sum(len(page.changes) for page in self.pages)


class Commit(msgspec.Struct, frozen=True):
    """Begin, produce and commit. Answer: Committed or ProducerLost."""

    epoch: int
    transaction: Transaction


class CloseProducer(msgspec.Struct, frozen=True):
    """Close the producer, whatever its state, and never use it again. No answer."""

    epoch: int


class Read(msgspec.Struct, frozen=True):
    """Read one page. Answer: PageRead or ReadFailed."""

    epoch: int
    ticket: int
    shard: ShardRef
    table: str
    """The entry that brought the shard's stream in; each record of the page names its own table."""
    position: Position
    iterator: str | None


class Released(msgspec.Struct, frozen=True):
    """The lane holds nothing any more: the group may assign it to another worker."""


class NoticeKind(StrEnum):
    """What an operator should know."""

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


class Notice(msgspec.Struct, frozen=True):
    """Inform the operator (log, metric). No answer."""

    kind: NoticeKind
    detail: str
    shard: ShardRef | None = None
    table: str | None = None


ProducerCommand = OpenProducer | Commit | CloseProducer
"""A command for the producer."""
Command = ProducerCommand | Read | Released | Notice
"""Something is to be done."""
