"""One item-level change, whichever method carried it, and the Kafka record made of it."""

from __future__ import annotations

from typing import Literal

import msgspec

Op = Literal["c", "u", "d", "r"]
"""create, update, delete, read by a snapshot (Debezium's codes)."""

ViewType = Literal["NEW_AND_OLD_IMAGES", "NEW_IMAGE", "OLD_IMAGE", "KEYS_ONLY"]
"""StreamViewType of a DynamoDB stream: which images its records carry."""

SnapshotMark = Literal["true", "incremental"]
"""`source.snapshot` of a row, in Debezium's words: of an initial snapshot, or of one that was started later."""

Skip = Literal["repeat", "late", "unwanted", "misplaced", "switched"]
"""Why a record is read and not published: it was published before, `late: drop` says so, its table is not wanted, it
belongs to another shard, where its producer sends it again, or another source published it before a switch to this
one."""

Headers = list[tuple[str, bytes]]


class Change(msgspec.Struct, frozen=True, gc=False):
    """One change of one item. Images and keys are DynamoDB JSON exactly as AWS sent it, undecoded.

    Source: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_Record.html
    """

    op: Op
    table: str
    keys: bytes
    """DynamoDB JSON object of the key attributes, e.g. `{"id":{"S":"a"}}`."""
    before: bytes | None
    """DynamoDB JSON object of the old image, None when the stream does not carry it."""
    after: bytes | None
    created_ms: int
    """ApproximateCreationDateTime, milliseconds since the epoch (DynamoDB gives whole seconds)."""
    event_id: str
    sequence: str
    """The position in its shard, compared as an integer. SequenceNumber of DynamoDB Streams: 21 to 40 digits."""
    shard_id: str
    stream_arn: str
    region: str
    view_type: ViewType
    sequence_digits: int = 40
    """The maximum digits of the source's sequence numbers: padded to this length, they compare as text."""
    created_rest_us: int = 0
    """Microseconds of its creation behind `created_ms`, 0 to 999; 0 where the source does not know them."""
    expired: bool = False
    """True when DynamoDB's Time to Live deleted the item (userIdentity is the DynamoDB service)."""
    late: bool = False
    """True when a newer change of the item has been published already: the source gave them out of order."""
    snapshot: SnapshotMark | None = None
    """Of a row that a snapshot read (`op` r): then `event_id`, `sequence` and `shard_id` are empty, and `stream_arn` is
    the table's ARN."""

    @property
    def has_position(self) -> bool:
        """Whether it was read from a stream: neither a row of a snapshot has a position, nor a delete that it found."""
        return self.sequence != ""


class Origin(msgspec.Struct, frozen=True, gc=False):
    """The source's record that a change was read from: its table, its place in the shard, and its bytes.

    What is published of a change names its origin, and so does what the change became when nothing is published of it.
    """

    table: str
    """The record's table, not the stream's: a stream may carry several tables."""
    sequence: str
    created_ms: int
    body: bytes
    """The buffer with the record's bytes: they alone, or the response that they are part of."""
    start: int = 0
    end: int | None = None

    @property
    def raw(self) -> bytes:
        """The record as read."""
        return self.body[self.start : self.end]


class Message(msgspec.Struct, frozen=True, gc=False):
    """One Kafka record: what a format makes of a change. `value` None is a tombstone."""

    key: bytes
    value: bytes | None
    headers: Headers | None = None
