"""What the protocol asks of a source: read a page of a shard, list tables and shards, look whether one exists."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

from tailrace.core.change import Change, Message, Origin, ViewType
from tailrace.core.shard import ListedShard, Position, ShardRef
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
    """One answer of GetRecords. An empty one proves nothing about the shard's end."""

    records: list[SourceRecord]
    next_iterator: str | None
    """None at the shard's end: it is closed and was read whole."""
    size_bytes: int
    """Size of the answer's body."""
    full: bool
    """The answer met a limit (1,000 records or about 1 MB), so there is more to read at once."""


class ReadFailure(StrEnum):
    """Why a page could not be read, in the words that the lane decides by."""

    EXPIRED = "expired"
    """The iterator is older than 15 minutes, or unknown: ask for another."""
    TRIMMED = "trimmed"
    """The position lies before what the stream still keeps (24 hours)."""
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
    """A table and its present stream (DescribeTable). `stream_arn` is None when the stream is off."""

    table: str
    stream_arn: str | None
    view_type: ViewType | None
    key_names: tuple[str, ...] = ()
    """The key attributes of the table."""


class StreamListing(msgspec.Struct, frozen=True):
    """One whole listing of a stream's shards (DescribeStream, all pages). Eventually consistent: may have holes."""

    stream_arn: str
    created_ms: int
    """CreationRequestDateTime of the stream, milliseconds since the epoch; 0 when unknown."""
    shards: tuple[ListedShard, ...]


class PageDecoder(Protocol):
    """Decodes the body of an answer of GetRecords. Safe to call from many threads at once."""

    def __call__(self, body: bytes, *, shard: ShardRef, table: str, region: str) -> SourcePage:
        """Return its records in their order. Raises `ReadError` when the answer as a whole cannot be understood."""
        ...


class ShardReader(Protocol):
    """Reads shards. Safe to call from many threads at once."""

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> SourcePage:
        """Read the next page; without an iterator, get one for `position` first. Raises `ReadError`."""
        ...


class Enumerator(Protocol):
    """Lists what there is to read. Called by one worker at a time; every method raises `ReadError`."""

    def table_names(self, patterns: list[str]) -> list[str]:
        """Return the tables that match: names as they stand (listed or not), `*` and `?` patterns expanded."""
        ...

    def table_stream(self, table: str) -> TableStream:
        """Describe one table. Raises `ReadError` GONE when there is none."""
        ...

    def shards(self, stream_arn: str) -> StreamListing:
        """List every shard of a stream."""
        ...

    def children(self, shard: ShardRef) -> tuple[ListedShard, ...]:
        """Ask for the child shards of one shard (ShardFilter CHILD_SHARDS)."""
        ...

    def exists(self, shard: ShardRef) -> bool:
        """Ask the source itself whether the shard can be read: no answer of a listing proves that it cannot."""
        ...


class Source(ShardReader, Enumerator, Protocol):
    """A kind of source, whole: what a pipeline needs of the place that its changes come from."""

    def close(self) -> None:
        """Close what is open to it."""
        ...
