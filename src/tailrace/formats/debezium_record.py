"""Debezium's envelope with Connect's schemas, inferred or declared: what sinks that need schemas read.

Source: https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-events
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, Final, Protocol

from tailrace.connect.data import ConnectRecord, Schema, optional, struct
from tailrace.connect.declared import Declared
from tailrace.connect.errors import DataError
from tailrace.connect.inference import Inference, complete, merge
from tailrace.core.change import Change
from tailrace.errors import RecordError
from tailrace.formats.attribute_value import parse
from tailrace.formats.debezium import DebeziumFormat
from tailrace.formats.images import shown_images

_TEXT, _LONG, _FLAG = (Schema(each, optional=True) for each in ("string", "int64", "boolean"))
_TEXTS: Final = Schema("array", optional=True, values=Schema("string"))
_TIMES: Final = {"ts_ms": _LONG, "ts_us": _LONG, "ts_ns": _LONG}
_SOURCE: Final = struct(
    "io.debezium.connector.dynamodb.Source",
    {
        **{name: Schema("string") for name in ("version", "connector", "name")},
        **dict.fromkeys(("snapshot", "db", "table", "shard", "stream", "region", "view_type"), _TEXT),
        **dict.fromkeys(("sequence", "event_id"), _TEXT),
        **_TIMES,
        **dict.fromkeys(("ttl", "late"), _FLAG),
        **dict.fromkeys(("missing", "keys_only"), _TEXTS),
    },
)
_TRANSACTION: Final = struct(
    "event.block",
    {"id": Schema("string"), "total_order": Schema("int64"), "data_collection_order": Schema("int64")},
    optional=True,
)


Image = dict[str, Any] | None
"""An image of an item in DynamoDB JSON, or as a value of its schema."""


class ItemSchemas(Protocol):
    """Where the schemas of keys and items come from."""

    def key(self, table: str, attributes: dict[str, Any], topic: str) -> tuple[Schema, dict[str, Any]]:
        """Return the schema of an item's key attributes, and their value. Raises `DataError`."""
        ...

    def images(
        self, table: str, before: Image, after: Image, key: frozenset[str], topic: str
    ) -> tuple[Schema, Image, Image]:
        """Return the schema of a change's images, and both as its values; `key` has the names of the key attributes.

        Raises `DataError`, also where types in the images do not agree.
        """
        ...


class InferredItems(ItemSchemas):
    """Infers a schema from each change: that of both images, so that what an update removes is null after it."""

    def __init__(self, inference: Inference, *, keeps_versions: bool = False) -> None:
        """Leave open, where versions of schemas are kept, what is in lists that are empty; otherwise that is text."""
        self._inference = inference
        self._keeps_versions = keeps_versions

    def key(self, table: str, attributes: dict[str, Any], topic: str) -> tuple[Schema, dict[str, Any]]:
        """Return the struct `<topic>.Key`."""
        del table
        return self._inference.struct(attributes, f"{topic}.Key", frozenset(attributes))

    def images(
        self, table: str, before: Image, after: Image, key: frozenset[str], topic: str
    ) -> tuple[Schema, Image, Image]:
        """Return the struct `<topic>.Value`."""
        del table
        shown = [
            None if image is None else self._inference.struct(image, f"{topic}.Value", key) for image in (before, after)
        ]
        schema = reduce(merge, (image.schema for image in reversed(shown) if image))
        values = [image.value if image else None for image in shown]
        return schema if self._keeps_versions else complete(schema), values[0], values[1]


class DeclaredItems(ItemSchemas):
    """Takes the schemas that are declared for tables."""

    def __init__(self, declared: Mapping[str, Callable[[], Declared]]) -> None:
        """Take what returns a table's schema, and may raise `WorldError` while it cannot be had."""
        self._declared = declared

    def key(self, table: str, attributes: dict[str, Any], topic: str) -> tuple[Schema, dict[str, Any]]:
        """Return the struct `<topic>.Key`, its fields as they are declared."""
        return self._of(table).key(attributes, f"{topic}.Key")

    def images(
        self, table: str, before: Image, after: Image, key: frozenset[str], topic: str
    ) -> tuple[Schema, Image, Image]:
        """Return the table's schema."""
        del key, topic
        declared = self._of(table)
        values = [None if image is None else declared.item(image) for image in (before, after)]
        return declared.schema, values[0], values[1]

    def _of(self, table: str) -> Declared:
        found = self._declared.get(table)
        if found is None:
            raise DataError(f"no schema is declared for the table {table}: add it to `schema.declared`")
        return found()


class DebeziumRecords:
    """Makes what `DebeziumFormat` makes as records with schemas. Pure.

    The structs are `<topic>.Key`, `<topic>.Envelope` and that of the items.
    """

    def __init__(self, made: DebeziumFormat, items: ItemSchemas, *, in_registry: bool = False) -> None:
        """`made` is the pipeline's format. Schemas in a registry are named as every schema language allows it."""
        self._format = made
        self._items = items
        self._in_registry = in_registry

    def connect_record(self, change: Change, topic: str, now_ns: int) -> ConnectRecord:
        """Return the record of `change`. Raises `RecordError`."""
        attributes = parse(change.keys)
        named = _as_name(topic) if self._in_registry else topic
        try:
            key_schema, key = self._items.key(change.table, attributes, named)
        except DataError as error:
            raise RecordError(str(error), stage="KEY_CONVERTER") from None
        shown = shown_images(change)
        images = [None if image is None else parse(image) for image in (shown.before, shown.after)]
        try:
            schema, before, after = self._items.images(change.table, images[0], images[1], frozenset(attributes), named)
        except DataError as error:
            raise RecordError(str(error)) from None
        item = optional(schema)
        envelope = struct(f"{named}.Envelope", {"before": item, "after": item, **_REST})
        value: dict[str, Any] = self._format.without_images(change, shown.notes, now_ns)
        value |= {"before": before, "after": after}
        return ConnectRecord(topic, key, value, key_schema, envelope, change.created_ms)


def _as_name(topic: str) -> str:
    """Return a topic as the namespace of schemas: what Avro and Protobuf do not allow becomes an underscore."""
    return ".".join(_WRONG.sub("_", part) or "_" for part in topic.split("."))


_WRONG: Final = re.compile(r"^[0-9]|[^A-Za-z0-9_]")
_REST: Final = {"source": _SOURCE, "transaction": _TRANSACTION, "op": Schema("string"), **_TIMES}
