"""The envelope of Confluent Cloud's DynamoDB CDC connector, so that its consumers see no change.

Source: https://docs.confluent.io/cloud/current/connectors/cc-amazon-dynamodb-cdc-source/cc-amazon-dynamodb-cdc-source.html
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tailrace._version import __version__
from tailrace.connect.data import ConnectRecord, Schema, optional, struct
from tailrace.core.change import Change, Op
from tailrace.formats.attribute_value import all_to_json, sorted_image
from tailrace.formats.connect_format import ConnectFormat, key_attributes_of, schema_name
from tailrace.formats.format import ReadRecord
from tailrace.formats.python_values import to_python

_TEXT, _LONG, _INT = Schema("string"), Schema("int64"), Schema("int32")
_TIMES: Final = {"ts_ms": _LONG, "ts_us": _LONG, "ts_ns": _LONG}
_SOURCE: Final = struct(
    "io.confluent.connector.dynamodb.Source",
    {
        "version": optional(_TEXT),
        "tableName": _TEXT,
        "sync_mode": _TEXT,
        **_TIMES,
        "snapshotStartTime": optional(_LONG),
        "snapshotCount": optional(_INT),
        "segment": optional(_INT),
        "totalSegments": optional(_INT),
        "shard_id": optional(_TEXT),
        "seq_no": optional(_TEXT),
    },
    optional=True,
)


@functools.cache
def _value_schema(table: str) -> Schema:
    """Return the schema of a table's values, as the connector registers it: a registry compares the names, too."""
    namespace = f"io.confluent.connect.dynamodb.{schema_name(table)}"
    document = struct(f"{namespace}.Value", {"document": optional(_TEXT)}, optional=True)
    fields = {"op": _TEXT, **_TIMES, "source": _SOURCE, "before": document, "after": document}
    return struct(f"{namespace}.Envelope", fields, optional=True)


class _Source(msgspec.Struct):
    table: str = msgspec.field(name="tableName")
    sync_mode: str


class _Document(msgspec.Struct):
    document: str | None


class _Envelope(msgspec.Struct):
    op: Op
    source: _Source
    before: _Document | None
    after: _Document | None


_decode: Final = msgspec.json.Decoder(_Envelope).decode


class ConfluentDynamoDBFormat(ConnectFormat):
    """Makes `op`, `ts_*`, `source`, `before` and `after`, whose documents are DynamoDB JSON.

    The key is a struct without a name: the key attributes, as text. `source` has null for what the connector knows of
    its snapshot.
    """

    def connect_record(self, change: Change, topic: str, now_ns: int) -> ConnectRecord:
        """Return the record."""
        key = key_attributes_of(change)
        source = {
            "version": __version__,
            "tableName": change.table,
            "sync_mode": "SNAPSHOT" if change.op == "r" else "CDC",
            **_times(change.created_ms * 1_000_000),
            "shard_id": change.shard_id if change.has_position else None,
            "seq_no": change.sequence if change.has_position else None,
        }
        value = {
            "op": change.op,
            **_times(now_ns),
            "source": source,
            "before": _document(change.before),
            "after": _document(change.after),
        }
        key_schema = struct(None, dict.fromkeys(key, _TEXT))
        return ConnectRecord(topic, key, value, key_schema, _value_schema(change.table), change.created_ms)

    @classmethod
    def read(cls, value: bytes) -> ReadRecord | None:
        """Return what an envelope says; its item is DynamoDB JSON."""
        try:
            envelope = _decode(value)
        except (ValueError, RecursionError):
            return None
        image = envelope.before if envelope.op == "d" else envelope.after
        item = (image.document if image is not None and image.document is not None else "null").encode()
        return ReadRecord(envelope.op, envelope.source.table, None, item, None)

    @classmethod
    def attributes(cls, item: bytes) -> dict[str, Any]:
        """Return the attributes with their types. Raises `RecordError`."""
        return to_python(item)

    @classmethod
    def plain_items(cls, items: Sequence[Any]) -> Sequence[Any] | None:
        """Return items without binary values, which plain JSON does not tell from text."""
        return all_to_json(items)


def _times(ns: int) -> dict[str, int]:
    return {"ts_ms": ns // 1_000_000, "ts_us": ns // 1_000, "ts_ns": ns}


def _document(image: bytes | None) -> dict[str, Any] | None:
    return None if image is None else {"document": sorted_image(image).decode()}
