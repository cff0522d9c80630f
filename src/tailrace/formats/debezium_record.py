"""Debezium's envelope with Connect's schemas, which are inferred from each change: what sinks that need schemas read.

Source: https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-events
"""

from __future__ import annotations

import re
from functools import reduce
from typing import Any, Final

from tailrace.connect.data import ConnectRecord, Schema, optional, struct
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


class DebeziumRecords:
    """Makes what `DebeziumFormat` makes as records with schemas. Pure.

    The structs are `<topic>.Key`, `<topic>.Envelope` and `<topic>.Value`. The last has the attributes of both images,
    so that one that an update removes is null after it.
    """

    def __init__(self, made: DebeziumFormat, inference: Inference, *, keeps_versions: bool = False) -> None:
        """`made` is the pipeline's format.

        A schema of which versions are kept is named as every schema language allows it, and leaves open what is in
        lists that are empty; otherwise that is text, a guess.
        """
        self._format = made
        self._inference = inference
        self._keeps_versions = keeps_versions

    def connect_record(self, change: Change, topic: str, now_ns: int) -> ConnectRecord:
        """Return the record of `change`. Raises `RecordError`, also where types in its images do not agree."""
        attributes = parse(change.keys)
        names = frozenset(attributes)
        named = _as_name(topic) if self._keeps_versions else topic
        try:
            key = self._inference.struct(attributes, f"{named}.Key", names)
        except DataError as error:
            raise RecordError(str(error), stage="KEY_CONVERTER") from None
        before, after, notes = shown_images(change)
        try:
            images = {
                "before": before and self._inference.struct(parse(before), f"{named}.Value", names),
                "after": after and self._inference.struct(parse(after), f"{named}.Value", names),
            }
            schema = reduce(merge, (image.schema for image in (images["after"], images["before"]) if image))
        except DataError as error:
            raise RecordError(str(error)) from None
        item = optional(schema if self._keeps_versions else complete(schema))
        envelope = struct(f"{named}.Envelope", {"before": item, "after": item, **_REST})
        value: dict[str, Any] = self._format.without_images(change, notes, now_ns)
        value |= {name: image.value if image else None for name, image in images.items()}
        return ConnectRecord(topic, key.value, value, key.schema, envelope, change.created_ms)


def _as_name(topic: str) -> str:
    """Return a topic as the namespace of schemas: what Avro and Protobuf do not allow becomes an underscore."""
    return ".".join(_WRONG.sub("_", part) or "_" for part in topic.split("."))


_WRONG: Final = re.compile(r"^[0-9]|[^A-Za-z0-9_]")
_REST: Final = {"source": _SOURCE, "transaction": _TRANSACTION, "op": Schema("string"), **_TIMES}
