"""The records of the checkpoint topic `<name>.checkpoints`: what each says, and its bytes.

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

Every value carries two format versions: `v`, its writer's, and `r`, the oldest reader that understands it. A reader
refuses what it does not understand instead of guessing.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tailrace.core.change import ViewType
from tailrace.core.shard import ShardRef
from tailrace.errors import FormatVersionError, WorldError, excerpt

FORMAT_VERSION = 1
OLDEST_READABLE_VERSION = 1

SequenceNumber = Annotated[str, Meta(pattern=r"\A[0-9]{1,40}\Z")]
Milliseconds = Annotated[int, Meta(ge=0, le=9_223_372_036_854)]
"""A time since the epoch; the latest is the last whose nanoseconds fit in 64 bits (the year 2262)."""

Start = Literal["TRIM_HORIZON", "LATEST", "END"]
"""Where a shard without a checkpoint starts. END: it was closed before `start: latest` began, nothing is read."""

ShardCondition = Literal["open", "ended", "gap", "failed"]
ActiveMethod = Literal["worker", "lambda"]
Method = Literal["worker", "lambda", "none"]
"""Who publishes: the workers, the Lambda function, or, in the midst of a switch, nobody."""
TableState = Literal["streaming", "off", "missing", "gap", "failed", "left out"]
"""`left out`: the pipeline file no longer names the table. Its checkpoints stay, for when it does again."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What every value of the topic carries."""

    v: int = FORMAT_VERSION
    r: int = FORMAT_VERSION


class ShardRecord(Record, frozen=True, kw_only=True):
    """A shard's lineage. `parents` are those that must end first; parents that no longer exist are left out."""

    table: str
    parents: tuple[ShardRef, ...]
    start: Start
    seen_ms: Milliseconds
    """When the enumerator first saw it, or, if it was found late, since when it may have changes that nobody has
    read."""
    initial: bool
    """It was in the first listing of its stream: what was trimmed before it is read was never promised."""


class Checkpoint(Record, frozen=True, kw_only=True):
    """How far a shard is published: all changes up to `sequence`, None when it began and had no change yet."""

    table: str
    state: ShardCondition
    sequence: SequenceNumber | None
    created_ms: Milliseconds | None
    """Creation time of the last published change."""
    at_ms: Milliseconds
    """Until when nothing of the shard was trimmed unread (not when that was committed); a gap: when it was found."""
    detail: str | None = None
    trimmed: bool = False
    """Nothing up to `sequence` is left in the stream: reading goes on at what it still has."""
    open_ms: Milliseconds | None = None
    """When the shard was last known to be open: its children's changes are younger. None: of an earlier version."""
    behind: bool = False
    """The last page was full: there was more to read at once."""


class Claim(Record, frozen=True, kw_only=True):
    """A worker fenced the lane; `nonce` is unique to this taking."""

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
    """The pipeline's birth and its number of lanes; another number than the topic has: a rescale is unfinished."""

    lanes: Annotated[int, Meta(ge=1)]
    created_ms: Milliseconds


class GapAccepted(Record, frozen=True, kw_only=True):
    """The operator accepts a table's gaps, all that there are: those of its shards, or a new stream."""

    shards: tuple[tuple[ShardRef, Milliseconds], ...]
    """Each shard that stands at a gap, and the `at_ms` of the checkpoint that tells of it."""
    stream_arn: str | None
    at_ms: Milliseconds


class MethodRecord(Record, frozen=True, kw_only=True):
    """Which method publishes; it stands in every partition, so that whoever takes a lane or a shard sees it there.

    Lane and shard producers do not fence each other, so every other method refuses to publish.
    """

    method: Method
    nonce: str
    """Unique to this switch."""
    at_ms: Milliseconds


class Route(msgspec.Struct, frozen=True):
    """Topics that the changes of some tables are routed to; no `tables`: those of all."""

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


TopicRecord = (
    ShardRecord | Checkpoint | Claim | TableRecord | PipelineRecord | GapAccepted | MethodRecord | DefinitionRecord
)


class ShardKey(msgspec.Struct, frozen=True, array_like=True, tag="shard"):
    """Key of a `ShardRecord`."""

    stream_arn: str
    shard_id: str


class CheckpointKey(msgspec.Struct, frozen=True, array_like=True, tag="checkpoint"):
    """Key of a `Checkpoint`."""

    stream_arn: str
    shard_id: str


class ClaimKey(msgspec.Struct, frozen=True, array_like=True, tag="taken"):
    """Key of a lane's `Claim`."""


class EnumeratorKey(msgspec.Struct, frozen=True, array_like=True, tag="lister"):
    """Key of the enumerator's `Claim`."""


class TableKey(msgspec.Struct, frozen=True, array_like=True, tag="table"):
    """Key of a `TableRecord`."""

    table: str


class PipelineKey(msgspec.Struct, frozen=True, array_like=True, tag="pipeline"):
    """Key of the `PipelineRecord`."""


class AcceptKey(msgspec.Struct, frozen=True, array_like=True, tag="accept"):
    """Key of a `GapAccepted`."""

    table: str


class ShardClaimKey(msgspec.Struct, frozen=True, array_like=True, tag="delivery"):
    """Key of a shard's `Claim`: the Lambda function takes shards, not lanes."""

    stream_arn: str
    shard_id: str


class MethodKey(msgspec.Struct, frozen=True, array_like=True, tag="method"):
    """Key of the `MethodRecord`."""


class DefinitionKey(msgspec.Struct, frozen=True, array_like=True, tag="definition"):
    """Key of the `DefinitionRecord`."""


class DefinerKey(msgspec.Struct, frozen=True, array_like=True, tag="definer"):
    """Key of the `Claim` of whoever records a definition."""


TopicKey = (
    ShardKey
    | CheckpointKey
    | ClaimKey
    | EnumeratorKey
    | TableKey
    | PipelineKey
    | AcceptKey
    | ShardClaimKey
    | MethodKey
    | DefinitionKey
    | DefinerKey
)

_NOT_OURS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding bytes that Tailrace did not write can raise."""
_HINT = "another program writes to this topic: give the pipeline a name of its own, or keep that program out and write "
_HINT_KEY = f"{_HINT}a record of the same key without a value behind this one"
_HINT_VALUE = f"{_HINT}the last good value of the same key again behind this one"

_VALUE_TYPES: dict[type[TopicKey], type[TopicRecord]] = {
    ShardKey: ShardRecord,
    CheckpointKey: Checkpoint,
    ClaimKey: Claim,
    EnumeratorKey: Claim,
    TableKey: TableRecord,
    PipelineKey: PipelineRecord,
    AcceptKey: GapAccepted,
    ShardClaimKey: Claim,
    MethodKey: MethodRecord,
    DefinitionKey: DefinitionRecord,
    DefinerKey: Claim,
}


class _Head(msgspec.Struct):
    """What every value of ours says, whatever its version."""

    v: int
    r: int


class Write(msgspec.Struct, frozen=True):
    """A record to write to the checkpoint topic; `record` None is a tombstone."""

    partition: int
    key: TopicKey
    record: TopicRecord | None


_encoder = msgspec.json.Encoder()
_key_decoder = msgspec.json.Decoder(TopicKey)
_head_decoder = msgspec.json.Decoder(_Head)
_value_decoders = {key: msgspec.json.Decoder(value) for key, value in _VALUE_TYPES.items()}


def encode_key(key: TopicKey) -> bytes:
    """Return the key's bytes."""
    return _encoder.encode(key)


def encode_record(record: TopicRecord | None) -> bytes | None:
    """Return the value's bytes; None stays a tombstone."""
    return None if record is None else _encoder.encode(record)


def decode(key: bytes | None, value: bytes | None, where: str) -> tuple[TopicKey, TopicRecord | None]:
    """Read one record of the topic; `where` names it in errors (topic, partition, offset).

    Raises `FormatVersionError` for a version that this Tailrace cannot read and `WorldError` for anything that is
    not ours: going on without it could resume in the wrong place.
    """
    if value is not None:
        _check_version(value, where)
    foreign = f"the record at {where} is not a Tailrace checkpoint"
    try:
        decoded_key = _key_decoder.decode(key or b"")
    except _NOT_OURS as error:
        raise WorldError(f"{foreign} (its key: {excerpt(str(error))})", hint=_HINT_KEY) from error
    if encode_key(decoded_key) != key:
        # Kafka compares keys as bytes: one that is written in another way would outlive what replaces it.
        raise WorldError(f"{foreign} (its key is not written as Tailrace writes it)", hint=_HINT_KEY)
    if value is None:
        return decoded_key, None
    try:
        value.decode()  # of the fields that it skips, msgspec does not look whether they are text
        _head_decoder.decode(value)
        return decoded_key, _value_decoders[type(decoded_key)].decode(value)
    except _NOT_OURS as error:
        raise WorldError(f"{foreign} (its value: {excerpt(str(error))})", hint=_HINT_VALUE) from error


def _check_version(value: bytes, where: str) -> None:
    try:
        head = _head_decoder.decode(value)
    except _NOT_OURS:
        return  # not ours at all: decode() says so
    if head.r > FORMAT_VERSION:
        raise FormatVersionError(
            f"the record at {where} has format {head.v}, newer than this Tailrace reads ({FORMAT_VERSION})",
            hint="run the newer version on every host",
        )
    if head.v < OLDEST_READABLE_VERSION:
        raise FormatVersionError(
            f"the record at {where} has format {head.v}, older than this Tailrace reads ({OLDEST_READABLE_VERSION})",
            hint="upgrade through each version between, one at a time",
        )
