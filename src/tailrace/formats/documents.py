"""The messages of each format as documents: what `schema` with `mode: document` makes schemas of. They never change."""

from __future__ import annotations

from typing import ClassVar, Final

from msgspec import field

from tailrace.connect.document import NOTHING, Document, Json, NullableJson, Parts, Shape, Whole

KEY: Final[Shape] = Whole("io.tailrace.Key", "key")
"""Of every format."""
ITEM: Final[Shape] = Whole("io.tailrace.item.Item", "item")


class _Source(Document):
    schema_name: ClassVar[str] = "io.tailrace.debezium.Source"

    version: str
    connector: str
    name: str
    snapshot: str
    db: str
    table: str
    shard: str | None
    stream: str | None
    region: str
    view_type: str | None
    sequence: str | None
    event_id: str | None
    ts_ms: int
    ts_us: int
    ts_ns: int
    ttl: bool | None = None
    late: bool | None = None
    missing: list[str] | None = None
    keys_only: list[str] | None = None


class _Envelope(Document):
    schema_name: ClassVar[str] = "io.tailrace.debezium.Envelope"

    before: NullableJson
    after: NullableJson
    source: _Source
    op: str
    ts_ms: int
    ts_us: int
    ts_ns: int
    transaction: NullableJson


DEBEZIUM: Final[Shape] = Parts(_Envelope)


class _UserIdentity(Document, rename="camel"):
    schema_name: ClassVar[str] = "io.tailrace.dynamodb.UserIdentity"

    type: str
    principal_id: str


class _StreamRecord(Document, rename="pascal", kw_only=True):
    schema_name: ClassVar[str] = "io.tailrace.dynamodb.StreamRecord"

    approximate_creation_date_time: float
    keys: Json
    new_image: NullableJson = NOTHING
    old_image: NullableJson = NOTHING
    sequence_number: str | None
    stream_view_type: str | None


class _Record(Document, rename="camel", kw_only=True):
    schema_name: ClassVar[str] = "io.tailrace.dynamodb.Record"

    event_id: str | None = field(name="eventID")
    event_name: str
    event_version: str
    event_source: str
    aws_region: str
    dynamodb: _StreamRecord
    user_identity: _UserIdentity | None = None
    event_source_arn: str = field(name="eventSourceARN")


DYNAMODB_JSON: Final[Shape] = Parts(_Record)


class _Data(Document):
    schema_name: ClassVar[str] = "io.tailrace.cloudevents.Data"

    before: NullableJson
    after: NullableJson
    keys: Json
    missing: list[str] | None = None
    keys_only: list[str] | None = None
    ttl: bool | None = None
    late: bool | None = None


class _Event(Document, kw_only=True):
    schema_name: ClassVar[str] = "io.tailrace.cloudevents.Event"

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str | None = None
    datacontenttype: str
    partitionkey: str
    sequence: str | None = None
    data: _Data


CLOUDEVENTS: Final[Shape] = Parts(_Event)
