"""The records of the checkpoint topic `<name>.checkpoints`: what each says.

The topic is compacted, so the last record of a key stands. Partition n is lane n, and holds all that the owner of
lane n must know of its own shards:

| key | value | written by |
|---|---|---|
| `["shard", stream, shard]` | `ShardRecord`: lineage, where to start | the enumerator (lane 0's owner) |
| `["checkpoint", stream, shard]` | `Checkpoint`: how far the shard is published | the lane's owner |
| `["taken"]` | `Claim`: who fenced the lane last | the lane's owner |
| `["lister"]` | `Claim`: the enumerator has read this partition up to here | the enumerator |
| `["table", table]` in partition 0 | `TableRecord`: the table's stream and state | the enumerator |
| `["pipeline"]` in partition 0 | `PipelineRecord`: lanes, birth | the enumerator, `tailrace rescale` |
| `["pipeline"]` elsewhere | `PipelineRecord`: the lane was moved to so many lanes | `tailrace rescale` |
| `["accept", table]` in partition 0 | `GapAccepted` | `tailrace accept-gap` |
| `["delivery", stream, shard]` | `Claim`: which sandbox of the Lambda function fenced the shard last | the function |
| `["definition"]` in partition 0 | `DefinitionRecord`: what the pipeline is | a worker or function that starts |
| `["definer"]` in partition 0 | `Claim`: who fenced the other definers last | the same |
| `["method"]` | `MethodRecord`: the method that publishes | `tailrace switch`, the function's first start |
| `["handover"]` in partition 0 | `HandoverRecord`: the last switch of sources | `tailrace switch`, the enumerator |
| `["handover-part", number]` in partition 0 | `HandoverPart`: what the source before had published | the same |
| `["?snapshot", table]` in partition 0 | `SnapshotRecord`: the table's last snapshot | whoever starts one |
| `["?snapshot-control", table]` in partition 0 | `SnapshotControl`: pause, resume, cancel | `tailrace snapshot` |
| `["?snapshot-result", table]` in partition 0 | `SnapshotResult`: how it ended | the owner of snapshot lane 0 |
| `["?segment", [table, id, name]]` | `SegmentRecord`: how far it is published | its starter, the lane's owner |
| `["?snapshot-taken"]` | `Claim`: who fenced the snapshot lane last | that lane's owner |

Every value carries two format versions: `v`, the one in which it is written, and `r`, the oldest reader that
understands it. Each kind states its own, and a single value states a newer one if it needs that: a new kind or field
stops only the readers that would misread it. A reader refuses what it does not understand instead of guessing.

The exception are kinds that a reader may do without: their names begin with `?`. A reader that does not understand such
a record ignores it, and its tombstone too, since the mark is in the key. If the record follows a shard, or anything
else that has a name, from lane to lane, its key is `["?kind", home, …]`: `home` is the array of names whose hash is the
lane, for a shard `[stream, shard]`. `tailrace rescale` moves it so even when it cannot read it. A record with any other
key, such as `["?kind"]` or `["?kind", table]`, stays in the partition where it was written. Only a version that knows
the kind deletes its records.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from tailrace.core.change import ViewType
from tailrace.core.ports import LoadedExport
from tailrace.core.shard import SequenceNumber, ShardRef, lane_of
from tailrace.core.tags import WantedTags

_SEQUENCE_DIGITS_OF_FORMAT_1 = 40
Milliseconds = Annotated[int, Meta(ge=0, le=9_223_372_036_854)]
"""A time since the epoch; the latest is the last whose nanoseconds fit in 64 bits (the year 2262)."""

Start = Literal["TRIM_HORIZON", "LATEST", "END"]
"""Where a shard without a checkpoint starts. END: it was closed before `start: latest` began, nothing is read."""

ShardCondition = Literal["open", "ended", "gap", "failed"]
ActiveMethod = Literal["worker", "lambda"]
Method = Literal["worker", "lambda", "none"]
"""Which method publishes: the workers, the Lambda function, or, during a switch, none."""
TableState = Literal["streaming", "off", "missing", "gap", "failed", "left out"]
"""`left out`: the pipeline file no longer names the table. Its checkpoints stay, in case it names the table again."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What every value of the topic carries.

    A kind that was added later, or that older readers would misread, overrides the defaults.
    """

    v: int = 1
    """The format in which the value is written."""
    r: int = 1
    """The oldest reader that understands it."""


def _needs(record: Record, version: int) -> None:
    """Mark a new record as one that only readers of a format understand."""
    msgspec.structs.force_setattr(record, "v", max(record.v, version))
    msgspec.structs.force_setattr(record, "r", max(record.r, version))


class ShardRecord(Record, frozen=True, kw_only=True):
    """A shard's lineage. `parents` are those that must end first; parents that no longer exist are left out."""

    table: str
    """The entry that brought the shard's stream in: its table.

    In a stream with several tables, each record names its own.
    """
    parents: tuple[ShardRef, ...]
    start: Start
    seen_ms: Milliseconds
    """When the enumerator first saw it, or, if it was found late, since when it may have unread changes."""
    initial: bool
    """It was in the first listing of its stream: what was trimmed before it is read was never promised."""
    listed_ms: Milliseconds | None = None
    """When a listing first showed it; None: an earlier version wrote this."""
    since_ms: Milliseconds | None = None
    """Changes that arrived before are not read: the file asked to start then."""
    retention_ms: Milliseconds | None = None
    """How long its stream keeps changes; None: as long as the source's policy says."""
    handover: str | None = None
    """The switch with which its stream took the place of another source: it is not read before all of that is known.
    """
    complete_ms: Milliseconds | None = None
    """When all shards that were made with it were published, as a later listing confirmed (`discovery.reconcile`).

    None: not confirmed yet, or an earlier version wrote this.
    """

    def __post_init__(self) -> None:
        """Mark a shard that earlier readers would publish twice."""
        if self.handover is not None:
            _needs(self, 4)


class Checkpoint(Record, frozen=True, kw_only=True):
    """How far a shard is published: all changes up to `sequence`, None when it began and had no change yet."""

    table: str
    state: ShardCondition
    sequence: SequenceNumber | None
    created_ms: Milliseconds | None
    """Creation time of the last published change."""
    at_ms: Milliseconds
    """The time until which nothing of the shard was trimmed unread (not the commit time); for a gap, when it was
    found."""
    detail: str | None = None
    trimmed: bool = False
    """Nothing up to `sequence` is left in the stream: reading resumes with what it still has."""
    open_ms: Milliseconds | None = None
    """When the shard was last known to be open: its children's changes are newer.

    None: written by an earlier version.
    """
    behind: bool = False
    """The last page was full: there was more to read at once."""
    begun_ms: Milliseconds | None = None
    """Of a shard that begins at LATEST: when it was first read. Its later changes are all published.

    None: it does not, or an earlier version wrote this.
    """
    until_ms: Milliseconds | None = None
    """When the shard was last read to its end: all earlier changes are published.

    None: it was not, or an earlier version wrote this.
    """
    window_from: SequenceNumber | None = None
    """Of a source that repeats changes: where to read again, without publishing, to know what was published lately.

    None: from the shard's head.
    """
    arrived_ms: Milliseconds | None = None
    """When the last published change arrived in the stream; None: there is none, or the source does not tell."""

    def __post_init__(self) -> None:
        """Mark a position that readers of the first format cannot read."""
        if self.sequence is not None and len(self.sequence) > _SEQUENCE_DIGITS_OF_FORMAT_1:
            _needs(self, 2)


class Claim(Record, frozen=True, kw_only=True):
    """A producer fenced all others of its kind; `nonce` is unique to this claim."""

    owner: str
    nonce: str
    at_ms: Milliseconds


class TableRecord(Record, frozen=True, kw_only=True):
    """A table's stream and state, as the enumerator last found them."""

    stream_arn: str | None
    view_type: ViewType | None
    state: TableState
    at_ms: Milliseconds
    detail: str | None = None
    next_stream_arn: str | None = None
    """The stream that replaced `stream_arn`: a gap until it is accepted."""


class PipelineRecord(Record, frozen=True, kw_only=True):
    """The pipeline's creation and its number of lanes; if the topic has another number, a rescale is unfinished."""

    lanes: Annotated[int, Meta(ge=1)]
    created_ms: Milliseconds


class GapAccepted(Record, frozen=True, kw_only=True):
    """The operator accepts all present gaps of a table: those of its shards, or a new stream."""

    shards: tuple[tuple[ShardRef, Milliseconds], ...]
    """Each shard at a gap, and the `at_ms` of the checkpoint that records it."""
    stream_arn: str | None
    at_ms: Milliseconds


class MethodRecord(Record, frozen=True, kw_only=True):
    """Which method publishes. Every partition holds it, so that whoever claims a lane or a shard reads it there.

    Lane and shard producers do not fence each other, so every other method refuses to publish.
    """

    method: Method
    nonce: str
    """Unique to this switch."""
    at_ms: Milliseconds
    source_type: str | None = None
    """The kind of source that is read since a switch to it: whoever reads another refuses, too. None: there was none.
    """

    def __post_init__(self) -> None:
        """Mark a source that earlier readers would not look at."""
        if self.source_type is not None:
            _needs(self, 4)


class HandoverRecord(Record, frozen=True, kw_only=True):
    """A switch from one source to another: from when on both tell of changes, and which of those are published."""

    v: int = 4
    r: int = 4
    id: str
    """Unique to this switch."""
    before: str
    """The kind of source before."""
    after: str
    at_ms: Milliseconds
    from_ms: Milliseconds
    """All changes that were made before are published; whole seconds."""
    until_ms: Milliseconds
    """What arrives in the next source later than this is not published."""
    view_types: dict[str, ViewType]
    """The tables that both sources tell of, and which images of theirs are compared."""
    entries: tuple[str, ...]
    """What the next source reads in place of the one before, by name."""
    parts: Annotated[int, Meta(ge=0)]
    """How many `HandoverPart`s it has."""
    changes: Annotated[int, Meta(ge=0)]
    """How many changes they hold."""
    is_over: bool = False
    """Every shard of the next source is read past `until_ms`: the parts are deleted."""

    def over(self) -> HandoverRecord:
        """Return the record that says that it is over."""
        return msgspec.structs.replace(self, is_over=True)


class HandoverPart(Record, frozen=True, kw_only=True):
    """Published changes of the time of a handover."""

    v: int = 4
    r: int = 4
    id: str
    """The handover that it is of."""
    changes: bytes
    """Digests of them, one behind the other (`core.handover`)."""


class Route(msgspec.Struct, frozen=True):
    """Topics to which the changes of some tables are routed; without `tables`, of all."""

    tables: tuple[str, ...]
    topics: tuple[str, ...]


class DefinitionRecord(Record, frozen=True, kw_only=True):
    """What the pipeline is, as its file says: tables are names and patterns, topics have `{table}` to be filled in."""

    generation: Annotated[int, Meta(ge=0)]
    """Grows by one with each definition that is recorded."""
    tables: tuple[str, ...]
    exclude: tuple[str, ...]
    topic: str
    routes: tuple[Route, ...]
    format: str
    """The format with its options, in words."""
    transform: str
    """Digest of the transformation, without its secrets; empty when there is none."""
    tags: WantedTags = ()
    """The tags that its tables have as well."""
    source_type: str = "dynamodb-streams"
    """The kind of source: `tables` and `exclude` are what it calls by name."""
    published: tuple[str, ...] = ()
    """Of streams that carry several tables: those that are published, names and patterns; none: all."""
    unpublished: tuple[str, ...] = ()
    """Those that are not published although `published` has them."""

    def __post_init__(self) -> None:
        """Mark a definition that earlier readers would take for one of more or other tables."""
        if self.tags or self.source_type != "dynamodb-streams":
            _needs(self, 3)


SnapshotSource = Literal["scan", "keys", "export"]
"""What a snapshot reads: the whole table, some items by their keys, or exports to S3."""
SnapshotReason = Literal["initial", "manual", "gap", "repair"]
SnapshotOutcome = Literal["done", "cancelled"]
SegmentState = Literal["running", "done", "failed", "cancelled"]
"""`done` and `cancelled` are final: no row of the segment is published after them."""


class SnapshotRecord(Record, frozen=True, kw_only=True):
    """A snapshot of a table. Its segments are `SegmentRecord`s, all written before it."""

    id: str
    """Unique to this snapshot, and in a header of its rows."""
    source: SnapshotSource
    reason: SnapshotReason
    segments: Annotated[int, Meta(ge=1)]
    """How many segments it has: of a scan, DynamoDB's `TotalSegments`."""
    at_ms: Milliseconds
    """When it was started."""
    filter: str | None = None
    """An expression: only rows for which it is true are published."""
    finds_deletes: bool = False
    """When all segments are done, what is in the topics and was not in the table is published as deleted."""
    item_count: int = 0
    """What the table held when it was started, as DynamoDB estimated it; of keys and exports, the exact number."""
    size_bytes: int = 0
    offsets: dict[str, tuple[int, ...]] = {}
    """For `finds_deletes`: the end offsets of the table's topics, by partition, before the first row was published.

    Empty until the table's earlier streams have ended: what they tell last may be of items that are gone."""
    stream: str | None = None
    """The table's stream when it was started: a table with another one is another table, or has a gap."""
    exports: tuple[LoadedExport, ...] = ()
    """Of exports: each is read when those before it are: a full one, if any, and incremental ones behind it."""


class SnapshotControl(Record, frozen=True, kw_only=True):
    """What the operator last ordered; it holds for the snapshot `id` alone."""

    id: str
    order: Literal["run", "pause", "cancel"]
    at_ms: Milliseconds


class SnapshotResult(Record, frozen=True, kw_only=True):
    """A snapshot that has ended, as all of its segments had: their records may be deleted."""

    id: str
    outcome: SnapshotOutcome
    at_ms: Milliseconds
    rows: int
    stale: int
    """Rows that were not published because the topic already held a newer change."""
    deletes: int
    size_bytes: int
    read_units: float


class SegmentRecord(Record, frozen=True, kw_only=True):
    """How far one segment of a snapshot is published: all rows before `cursor`."""

    table: str
    state: SegmentState
    at_ms: Milliseconds
    cursor: str | None = None
    """Where to read on; None at the beginning."""
    keys: tuple[str, ...] = ()
    """Of a snapshot by keys: the keys that are still to be read, as DynamoDB JSON objects."""
    rows: int = 0
    """Rows published."""
    stale: int = 0
    deletes: int = 0
    size_bytes: int = 0
    read_units: float = 0.0
    detail: str | None = None
    """Why it failed."""


class TopicKey(msgspec.Struct, frozen=True, array_like=True):
    """A key of the topic: the name of its kind (the tag), and what the record is about."""

    def home_lane(self, lane_count: int) -> int | None:
        """Return the lane, out of `lanes`, in whose partition the record belongs; None: where it was written."""
        del lane_count
        return None


class KeyOfShard(TopicKey, frozen=True, array_like=True):
    """A key of a record about a shard, which follows the shard to its lane."""

    stream: str
    shard_id: str

    @property
    def shard(self) -> ShardRef:
        """The shard."""
        return ShardRef(self.stream, self.shard_id)

    def home_lane(self, lane_count: int) -> int:
        """Return the shard's lane."""
        return lane_of(self.shard, lane_count)

    def write(self, record: Record | None, lane_count: int) -> Write:
        """Return the write of a record, or of a tombstone for None, to the shard's lane out of `lanes`."""
        return Write(self.home_lane(lane_count), self, record)


class ShardKey(KeyOfShard, frozen=True, array_like=True, tag="shard"):
    """Key of a `ShardRecord`."""


class CheckpointKey(KeyOfShard, frozen=True, array_like=True, tag="checkpoint"):
    """Key of a `Checkpoint`."""


class ClaimKey(TopicKey, frozen=True, array_like=True, tag="taken"):
    """Key of a lane's `Claim`."""


class EnumeratorKey(TopicKey, frozen=True, array_like=True, tag="lister"):
    """Key of the enumerator's `Claim`."""


class TableKey(TopicKey, frozen=True, array_like=True, tag="table"):
    """Key of a `TableRecord`."""

    table: str


class PipelineKey(TopicKey, frozen=True, array_like=True, tag="pipeline"):
    """Key of the `PipelineRecord`."""


class AcceptKey(TopicKey, frozen=True, array_like=True, tag="accept"):
    """Key of a `GapAccepted`."""

    table: str


class ShardClaimKey(KeyOfShard, frozen=True, array_like=True, tag="delivery"):
    """Key of a shard's `Claim`: the Lambda function claims shards, not lanes."""


class MethodKey(TopicKey, frozen=True, array_like=True, tag="method"):
    """Key of the `MethodRecord`."""


class HandoverKey(TopicKey, frozen=True, array_like=True, tag="handover"):
    """Key of the `HandoverRecord`."""


class HandoverPartKey(TopicKey, frozen=True, array_like=True, tag="handover-part"):
    """Key of a `HandoverPart`."""

    number: int


class DefinitionKey(TopicKey, frozen=True, array_like=True, tag="definition"):
    """Key of the `DefinitionRecord`."""


class DefinerKey(TopicKey, frozen=True, array_like=True, tag="definer"):
    """Key of the `Claim` of whoever records a definition."""


class SnapshotKey(TopicKey, frozen=True, array_like=True, tag="?snapshot"):
    """Key of a `SnapshotRecord`."""

    table: str


class SnapshotControlKey(TopicKey, frozen=True, array_like=True, tag="?snapshot-control"):
    """Key of a `SnapshotControl`."""

    table: str


class SnapshotResultKey(TopicKey, frozen=True, array_like=True, tag="?snapshot-result"):
    """Key of a `SnapshotResult`."""

    table: str


class SnapshotClaimKey(TopicKey, frozen=True, array_like=True, tag="?snapshot-taken"):
    """Key of a snapshot lane's `Claim`."""


_DELETES: Final = "deletes:"


class SegmentRef(NamedTuple):
    """A segment's full name: its lane follows from it."""

    table: str
    snapshot_id: str
    name: str
    """Of a scan or a list of keys: its number. Of an export: `for_export`. Of deletes: `for_deletes`."""

    @classmethod
    def for_export(cls, table: str, snapshot_id: str, number: int, file: str) -> SegmentRef:
        """Name the segment that reads a data file of the export with this number in the snapshot's record."""
        return cls(table, snapshot_id, f"{number}/{file}")

    @classmethod
    def for_deletes(cls, table: str, snapshot_id: str, topic: str, partition: int) -> SegmentRef:
        """Name the segment that looks for deletes in a partition of a topic."""
        return cls(table, snapshot_id, f"{_DELETES}{topic}/{partition}")

    def lane(self, lane_count: int) -> int:
        """Return its lane."""
        return lane_of(self, lane_count)

    @property
    def in_export(self) -> tuple[int, str]:
        """The number of the export and the data file, of a segment that reads exports."""
        number, _, file = self.name.partition("/")
        return int(number), file

    @property
    def export_number(self) -> int:
        """The number of the export that it reads; 0 when it reads none."""
        number, is_file, _ = self.name.partition("/")
        return int(number) if is_file and number.isdecimal() else 0

    @property
    def deletes_in(self) -> tuple[str, int] | None:
        """The partition in which it looks for deletes; None when it reads rows."""
        if not self.name.startswith(_DELETES):
            return None
        topic, _, partition = self.name.removeprefix(_DELETES).rpartition("/")
        return topic, int(partition)


class SegmentKey(TopicKey, frozen=True, array_like=True, tag="?segment"):
    """Key of a `SegmentRecord`."""

    segment: SegmentRef

    def home_lane(self, lane_count: int) -> int:
        """Return the segment's lane."""
        return self.segment.lane(lane_count)


class IgnoredKey(TopicKey, frozen=True, array_like=True):
    """Key of a record that this version does not understand and may ignore: its bytes."""

    data: bytes
    home: tuple[str, ...] | None
    """The names whose hash determines the lane; None: the record stays where it was written."""

    def home_lane(self, lane_count: int) -> int | None:
        """Return the lane of `home`."""
        return None if self.home is None else lane_of(self.home, lane_count)


KINDS: Final[dict[type[TopicKey], type[Record]]] = {
    ShardKey: ShardRecord,
    CheckpointKey: Checkpoint,
    ClaimKey: Claim,
    EnumeratorKey: Claim,
    TableKey: TableRecord,
    PipelineKey: PipelineRecord,
    AcceptKey: GapAccepted,
    ShardClaimKey: Claim,
    MethodKey: MethodRecord,
    HandoverKey: HandoverRecord,
    HandoverPartKey: HandoverPart,
    DefinitionKey: DefinitionRecord,
    DefinerKey: Claim,
    SnapshotKey: SnapshotRecord,
    SnapshotControlKey: SnapshotControl,
    SnapshotResultKey: SnapshotResult,
    SnapshotClaimKey: Claim,
    SegmentKey: SegmentRecord,
}
"""Every kind of record that this version reads.

Its key has its name and where it belongs, its value the format needed to read it (`r`).
"""


class IgnoredRecord(msgspec.Struct, frozen=True):
    """Value of a record that this version does not understand and may ignore: its bytes."""

    data: bytes


TopicRecord = Record | IgnoredRecord


class Write(msgspec.Struct, frozen=True):
    """A record to write to the checkpoint topic; `record` None is a tombstone."""

    partition: int
    key: TopicKey
    record: TopicRecord | None
