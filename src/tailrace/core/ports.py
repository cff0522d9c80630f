"""What the protocol asks of a source: read a page of a shard, list tables and shards, look whether one exists."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

from tailrace.core.change import Change, Message, Origin, ViewType
from tailrace.core.shard import ListedShard, Position, ShardRef
from tailrace.core.source_policy import SourcePolicy
from tailrace.errors import RecordError, TailraceError


class SourceRecord(msgspec.Struct, frozen=True, gc=False):
    """One record of a page: the change that it holds, or the message made of it, or why it cannot be understood."""

    origin: Origin
    change: Change | None
    error: RecordError | None = None
    message: Message | None = None
    """What the pipeline's format makes of the change, from a decoder that makes it at once; then `change` is None."""
    deletes: bool = False
    """`message` tells of an item that was deleted."""


class SourcePage(msgspec.Struct, frozen=True):
    """What one read gave. An empty page proves nothing about the shard's end."""

    records: list[SourceRecord]
    next_iterator: str | None
    """None at the shard's end: it is closed and was read whole."""
    size_bytes: int
    """Size of the answer's body."""
    full: bool
    """The page met a limit of the source, so there is more to read at once."""


class ReadFailure(StrEnum):
    """Why a page could not be read, in the words that the lane decides by."""

    EXPIRED = "expired"
    """The iterator is too old, unknown or ended by the source: read on at the position."""
    TRIMMED = "trimmed"
    """The position lies before what the stream still keeps."""
    GONE = "gone"
    """The shard, or its stream, no longer exists."""
    THROTTLED = "throttled"
    DENIED = "denied"
    """Missing or expired permissions."""
    UNAVAILABLE = "unavailable"
    """No answer, a broken answer or a server error."""


class ReadError(TailraceError):
    """A page, listing or probe failed; `failure` says how."""

    def __init__(self, message: str, failure: ReadFailure, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.failure = failure


class TableStream(msgspec.Struct, frozen=True):
    """A table and its present stream. `stream` is None when the stream is off."""

    table: str
    stream: str | None
    view_type: ViewType | None
    key_names: tuple[str, ...] = ()
    """The key attributes of the table."""


class StreamListing(msgspec.Struct, frozen=True):
    """One whole listing of a stream's shards. Eventually consistent: may have holes."""

    stream: str
    created_ms: int
    """When the stream was created, milliseconds since the epoch; 0 when unknown."""
    shards: tuple[ListedShard, ...]


class ShardReader(Protocol):
    """Reads shards. Safe to call from many threads at once.

    An iterator names a place in the shard: reading with it again returns the same records again, or raises EXPIRED.

    A source that pushes is read in the same way. The read without an iterator subscribes at the position, and each read
    takes what has arrived, which may be an empty page. Between two reads nothing is taken from the connection: its flow
    control makes the source wait, and all pages in memory were asked for by a lane, which counts them. A subscription
    that has ended, was not read for long, or is not where the iterator says is EXPIRED: the lane then subscribes again
    behind what it has read.
    """

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> SourcePage:
        """Read the next page; without an iterator, begin at `position`. Raises `ReadError`."""
        ...


class Enumerator(Protocol):
    """Lists what there is to read. Called by one worker at a time; every method raises `ReadError`."""

    def table_names(self, patterns: list[str]) -> list[str]:
        """Return the tables that match: names as they stand (listed or not), `*` and `?` patterns expanded."""
        ...

    def table_stream(self, table: str) -> TableStream:
        """Describe one table. Raises `ReadError` GONE when there is none."""
        ...

    def shards(self, stream: str) -> StreamListing:
        """List every shard of a stream."""
        ...

    def children(self, shard: ShardRef) -> tuple[ListedShard, ...]:
        """Ask for the child shards of one shard."""
        ...

    def exists(self, shard: ShardRef) -> bool:
        """Ask the source itself whether the shard can be read: no answer of a listing proves that it cannot."""
        ...


class Source(ShardReader, Enumerator, Protocol):
    """A kind of source, whole: what a pipeline needs of the place that its changes come from."""

    policy: SourcePolicy

    def close(self) -> None:
        """Close what is open to it."""
        ...
