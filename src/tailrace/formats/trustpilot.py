"""The envelope of Trustpilot's DynamoDB connector, so that its consumers see no change.

Source: https://github.com/trustpilot/kafka-connect-dynamodb/blob/master/docs/data.md
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tailrace.connect.data import ConnectRecord, Schema, struct
from tailrace.core.change import Change, Op, ViewType
from tailrace.errors import RecordError
from tailrace.formats.attribute_value import parse
from tailrace.formats.connect_format import ConnectFormat, key_attributes_of, schema_name
from tailrace.formats.format import ReadRecord, why_no_new_image
from tailrace.formats.python_values import to_python

_VERSION: Final = "1.0"
_NOT_IN_AVRO: Final = re.compile(r"^[^a-zA-Z_]|(?<!^)[^a-zA-Z0-9_]")
_SOURCE: Final = struct(
    "com.trustpilot.connector.dynamodb.source",
    {
        "version": Schema("string"),
        "table_name": Schema("string"),
        "init_sync": Schema("boolean"),
        "init_sync_state": Schema("string"),
        "init_sync_start": Schema("int64"),
        "init_sync_end": Schema("int64", optional=True),
        "init_sync_count": Schema("int64", optional=True),
    },
)
_VALUE: Final = struct(
    "com.trustpilot.connector.dynamodb.envelope",
    {
        "version": Schema("string"),
        "document": Schema("string", optional=True, name="com.trustpilot.connector.dynamodb.DynamoDbJson", version=1),
        "source": _SOURCE,
        "op": Schema("string"),
        "ts_ms": Schema("int64"),
    },
)
_ROW: Final = {"init_sync": True, "init_sync_state": "RUNNING", "init_sync_end": None, "init_sync_count": None}
_CHANGE: Final = {"init_sync": False, "init_sync_state": "FINISHED", "init_sync_end": 0, "init_sync_count": 0}

_encode = msgspec.json.Encoder().encode


class _Source(msgspec.Struct):
    table_name: str
    init_sync_state: str


class _Envelope(msgspec.Struct):
    document: str | None
    source: _Source
    op: Op


_decode: Final = msgspec.json.Decoder(_Envelope).decode


class TrustpilotFormat(ConnectFormat):
    """Makes `version`, `document`, `source`, `op` and `ts_ms`; the document is DynamoDB JSON with small type letters.

    As there, attribute names lose what Avro does not allow in a name; two that become one are an error here, where the
    connector kept one of them. A binary key, which the connector dropped, is base64. A delete holds the keys only.
    `init_sync_start` is 0: a snapshot has no place for when it began.
    """

    def connect_record(self, change: Change, topic: str, now_ns: int) -> ConnectRecord:
        """Return the record."""
        key = _cleaned(key_attributes_of(change))
        image = change.keys if change.op == "d" or change.after is None else change.after
        document = _cleaned(parse(image))
        state = _ROW if change.op == "r" else _CHANGE
        source = {"version": _VERSION, "table_name": change.table, "init_sync_start": 0, **state}
        value = {
            "version": _VERSION,
            "document": _encode(_small(document)).decode(),
            "source": source,
            "op": change.op,
            "ts_ms": now_ns // 1_000_000 if change.op == "r" else change.created_ms,
        }
        key_schema = struct(f"{schema_name(topic)}.Key", dict.fromkeys(key, Schema("string")))
        return ConnectRecord(topic, key, value, key_schema, _VALUE, change.created_ms)

    @classmethod
    def read(cls, value: bytes) -> ReadRecord | None:
        """Return what an envelope says; its item is DynamoDB JSON with small type letters."""
        try:
            envelope = _decode(value)
        except (ValueError, RecursionError):
            return None
        item = (envelope.document or "null").encode()
        return ReadRecord(envelope.op, envelope.source.table_name, None, item, None)

    @classmethod
    def attributes(cls, item: bytes) -> dict[str, Any]:
        """Return the attributes with their types. Raises `RecordError`."""
        return to_python(_large(item))

    @classmethod
    def plain_items(cls, items: Sequence[Any]) -> Sequence[Any] | None:
        """Return None: types are read one by one."""
        del items
        return None

    @classmethod
    def why_not(cls, view_type: ViewType) -> str | None:
        """Refuse a stream without new images, as the connector does."""
        return why_no_new_image("trustpilot", view_type)


def _cleaned(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item with names as Avro allows them. Raises `RecordError` where two become one, or one is empty."""
    cleaned: dict[str, Any] = {}
    for name, value in item.items():
        short = _NOT_IN_AVRO.sub("", name)
        if not short:
            raise RecordError(
                f"attribute {name}: nothing is left of its name",
                hint="rename it with `transform`, or use another format",
            )
        if short in cleaned:
            raise RecordError(
                f"attribute {name}: its name becomes {short}, like that of another attribute",
                hint="rename one of them with `transform`, or choose another format",
            )
        cleaned[short] = value
    return cleaned


def _small(item: dict[str, Any]) -> dict[str, Any]:
    """Return DynamoDB JSON with small type letters, as the connector's library for JSON writes them."""
    return {name: _small_value(typed) for name, typed in sorted(item.items())}


def _small_value(typed: Any) -> Any:
    ((tag, value),) = typed.items()
    if tag == "M":
        return {"m": _small(value)}
    if tag == "L":
        return {"l": [_small_value(each) for each in value]}
    return {tag.lower(): value}


def _large(document: bytes) -> bytes:
    """Return a document as DynamoDB JSON. Raises `RecordError`."""
    return _encode({name: _large_value(typed) for name, typed in parse(document).items()})


def _large_value(typed: Any) -> Any:
    """Return a typed value with a capital type letter; as it is when it is none, which is told where it is read."""
    if typed.__class__ is not dict or len(typed) != 1:
        return typed
    ((tag, value),) = typed.items()
    if tag == "m" and value.__class__ is dict:
        value = {name: _large_value(each) for name, each in value.items()}
    elif tag == "l" and value.__class__ is list:
        value = [_large_value(each) for each in value]
    return {tag.upper(): value}
