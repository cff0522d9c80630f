"""What the protocol needs from a source: read a page of a shard, list tables and shards, check whether one exists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Literal, Protocol

import msgspec

from tailrace.core.change import Change, Message, Origin, Skip, SnapshotMark, ViewType
from tailrace.core.shard import ListedShard, Position, ShardRef
from tailrace.core.source_policy import SourcePolicy
from tailrace.core.tags import WantedTags
from tailrace.errors import RecordError, TailraceError


class SourceRecord(msgspec.Struct, frozen=True, gc=False):
    """One record of a page: its change, or the message made of it, or why it cannot be parsed."""

    origin: Origin
    change: Change | None
    error: RecordError | None = None
    message: Message | None = None
    """The change in the pipeline's format, from a decoder that converts at once; then `change` is None."""
    deletes: bool = False
    """`message` is a delete."""
    is_raw: bool = False
    """`message` is the record as it is, which is no change."""
    skipped: Skip | None = None
    """Nothing is published of it, but the position moves on behind it."""


class SourcePage(msgspec.Struct, frozen=True):
    """The result of one read. An empty page proves nothing about the shard's end."""

    records: list[SourceRecord]
    next_iterator: str | None
    """None at the shard's end: it is closed and read completely."""
    size_bytes: int
    """Size of the response body."""
    full: bool
    """The page met a limit of the source, so there is more to read at once: even if empty, it is no proof of the end.
    """
    window_from: str | None = None
    """Of a source that repeats changes: the sequence number with which the window began before this page (`Tail`)."""
    arrived_ms: int | None = None
    """When the last record arrived in the stream, if the source tells."""
    last_sequence: str | None = None
    """The shard is read up to here; None: up to the last record, as they are in the shard's order."""


class LogRecord(msgspec.Struct, frozen=True, gc=False):
    """One record of a stream that may repeat its changes and give them out of order, and what shows that."""

    record: SourceRecord
    arrived_ms: int
    """When it arrived in the stream, milliseconds since the epoch."""
    identity: bytes = b""
    """A digest that two records share only if one repeats the other; empty: the record is never a repeat."""
    item: bytes = b""
    """A digest of the item's table and keys."""
    created_us: int = 0
    """When the change was made, in microseconds since the epoch, as precise as the source tells; 0: unknown."""


class LogPage(msgspec.Struct, frozen=True):
    """The result of one read of such a stream. An empty page proves nothing about the shard's end."""

    records: list[LogRecord]
    next_iterator: str | None
    """None at the shard's end: it is closed and read completely."""
    size_bytes: int
    """Size of the response body."""
    full: bool
    """There is more to read at once."""


class ReadFailure(StrEnum):
    """Why a page could not be read, as far as the lane's decisions depend on it."""

    EXPIRED = "expired"
    """The iterator is too old, unknown or ended by the source: resume at the position."""
    TRIMMED = "trimmed"
    """The position is older than what the stream still keeps."""
    GONE = "gone"
    """The shard, or its stream, no longer exists."""
    THROTTLED = "throttled"
    DENIED = "denied"
    """Missing or expired permissions."""
    UNAVAILABLE = "unavailable"
    """No response, a broken response or a server error."""


class ReadError(TailraceError):
    """A page, listing or probe failed; `failure` says how."""

    def __init__(self, message: str, failure: ReadFailure, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.failure = failure


class TableStream(msgspec.Struct, frozen=True):
    """A table and its current stream. `stream` is None when the stream is disabled."""

    table: str
    stream: str | None
    view_type: ViewType | None
    key_names: tuple[str, ...] = ()
    """The key attributes of the table."""
    is_active: bool = True
    """Neither the table nor its stream is being made or changed."""


class StreamListing(msgspec.Struct, frozen=True):
    """A complete listing of a stream's shards. Eventually consistent: may have holes."""

    stream: str
    created_ms: int
    """When the stream was created, milliseconds since the epoch; 0 when unknown."""
    shards: tuple[ListedShard, ...]
    retention_ms: int | None = None
    """How long the stream keeps changes, if streams of its kind differ in that."""


class ShardReader(Protocol):
    """Reads shards. Safe to call from many threads at once.

    An iterator names a position in the shard: reading with it again returns the same records again, or raises EXPIRED.

    A source that pushes is read in the same way. The read without an iterator subscribes at the position, and each read
    takes what has arrived, which may be an empty page. Between two reads nothing is taken from the connection: its flow
    control makes the source wait, and every page in memory was requested by a lane, which counts it. A subscription
    that has ended, was not read for long, or is not where the iterator says is EXPIRED: the lane then subscribes again
    behind what it has read.
    """

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> SourcePage:
        """Read the next page; without an iterator, begin at `position`. Raises `ReadError`."""
        ...


class LogReader(Protocol):
    """Reads shards of a stream that may repeat its changes: as `ShardReader`, but tails are none of its business."""

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> LogPage:
        """Read the next page; without an iterator, begin at `position`. Raises `ReadError`."""
        ...


class Enumerator(Protocol):
    """Lists tables and shards. Called by one worker at a time; every method raises `ReadError`."""

    def table_names(self, patterns: list[str]) -> list[str]:
        """Return the tables that match: names unchanged (listed or not), `*` and `?` patterns expanded."""
        ...

    def table_stream(self, table: str) -> TableStream:
        """Describe one table. Raises `ReadError` GONE when there is none."""
        ...

    def shards(self, stream: str) -> StreamListing:
        """List every shard of a stream."""
        ...

    def children(self, shard: ShardRef) -> tuple[ListedShard, ...]:
        """Return the child shards of one shard."""
        ...

    def exists(self, shard: ShardRef) -> bool:
        """Ask the source itself whether the shard can be read: no listing proves that it cannot."""
        ...


class Source(ShardReader, Enumerator, Protocol):
    """A complete source: everything that a pipeline needs to read its changes."""

    policy: SourcePolicy

    @property
    def forgotten_early(self) -> int:
        """Return how many changes were forgotten, for want of memory, while a repeat of them could still come.

        0 of a source that does not repeat changes.
        """
        return 0

    def enable_stream(self, table: str, view_type: ViewType) -> None:
        """Switch a table's stream on; it may take a while to become active. Raises `ReadError`."""
        ...

    def tables_with(self, tags: WantedTags) -> frozenset[str] | None:
        """List the tables that have tags. Raises `ReadError`.

        The list may be behind: ask `tags_of` before a table is taken for one without them. None: this source cannot
        list by tags, and each table is to be asked.
        """
        ...

    def tags_of(self, table: str) -> Mapping[str, str]:
        """Return the tags of a table. Raises `ReadError`, GONE when there is none."""
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


KeyType = Literal["S", "N", "B"]
"""The type of a key attribute, as DynamoDB names it."""


class TableFacts(msgspec.Struct, frozen=True):
    """What a table is like for whoever reads all of it."""

    table: str
    arn: str
    key_types: Mapping[str, KeyType]
    """Its key attributes, the partition key first."""
    item_count: int
    """An estimate: DynamoDB updates it about every six hours."""
    size_bytes: int
    """An estimate, as `item_count`."""
    read_capacity: int | None
    """Provisioned read capacity units a second; None: the table is on-demand."""
    warm_read_capacity: int | None = None
    """Read capacity units a second that the table is ready for at once (its warm throughput); None when unknown."""


class Rows(msgspec.Struct, frozen=True):
    """Items of a table as they were while they were read: changes with `op` r, without position."""

    records: list[SourceRecord]
    next_cursor: str | None
    """Where to read on; None at the end. Opaque JSON text, valid only for the same table, segment and total."""
    size_bytes: int
    """Size of the response body."""
    read_units: float
    """Read capacity units that it used."""


class TableReader(Protocol):
    """Reads tables themselves, not their streams. Safe to call from many threads; every method raises `ReadError`."""

    def facts(self, table: str) -> TableFacts:
        """Describe a table. Raises `ReadError` GONE when there is none."""
        ...

    def writing_to(self, stream_arn: str, is_wanted: Callable[[str], bool]) -> list[str]:
        """Return the tables that write their changes into a Kinesis stream, of those that are wanted, by name."""
        ...

    def scan(
        self, facts: TableFacts, segment: int, total: int, cursor: str | None, *, mark: SnapshotMark, limit: int | None
    ) -> Rows:
        """Read the next page of a segment, strongly consistent: at most 1 MB, and `limit` items if given.

        `cursor` None begins the segment. Raises `ReadError` THROTTLED when the table has no capacity left.
        """
        ...

    def get(self, facts: TableFacts, keys: Sequence[bytes], *, mark: SnapshotMark) -> Rows:
        """Read items by their keys (DynamoDB JSON objects), strongly consistent; those that do not exist are left out.

        Any number of keys; a key that is there twice counts once. Nothing is left for a `next_cursor`.
        """
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


class ExportFile(msgspec.Struct, frozen=True):
    """A data file of an export."""

    name: str
    """Unique within the export."""
    path: str
    item_count: int
    md5: bytes
    """Of the file as it is stored, compressed."""
    size_bytes: int = 0
    """Compressed."""


class LoadedExport(msgspec.Struct, frozen=True):
    """An export that a snapshot reads."""

    location: str
    """Where its manifests lie."""
    exported_ms: int
    """As of when it holds the items."""
    from_ms: int | None = None
    """Of an incremental export: since when it holds changes."""


class ExportFacts(msgspec.Struct, frozen=True):
    """What an export of a table to S3 is: all of its items as of a time, or those that changed in a span of time."""

    location: str
    """Where its manifests lie."""
    table_arn: str
    exported_ms: int
    """It holds the items as they were then."""
    from_ms: int | None
    """Of an incremental export: it holds the items that changed since, deleted ones too. None: it is a full one."""
    item_count: int
    size_bytes: int
    files: tuple[ExportFile, ...]


class SpoiledExportError(ReadError):
    """A data file is not what the export's manifests say, or the export is of another table: no attempt will help."""


class ExportReader(Protocol):
    """Reads one export. Safe for many threads, each at another file; every method raises `ReadError`."""

    def describe(self) -> ExportFacts:
        """Return what the export is. Raises WorldError when its manifests are wrong."""
        ...

    def read(
        self, facts: TableFacts, file: str, cursor: str | None, *, mark: SnapshotMark, limit_bytes: int = 1 << 20
    ) -> Rows:
        """Read the next rows of a data file, until they have `limit_bytes`.

        Deleted items of an incremental export are changes with `op` d. `cursor` None begins the file, whose checksum
        is verified before its first row is returned.
        """
        ...

    def close(self) -> None:
        """Close the files that are open."""
        ...
