"""Debezium's transforms that such files use: the row instead of the envelope, and tables that share a topic.

Sources: https://debezium.io/documentation/reference/stable/transformations/event-flattening.html and
https://debezium.io/documentation/reference/stable/transformations/topic-routing.html
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from tailrace.connect.data import ConnectRecord, Field, Header, Schema, optional
from tailrace.connect.errors import DataError
from tailrace.connect.options import Options
from tailrace.connect.transforms.part import Part
from tailrace.connect.transforms.routing import java_replacement

_MODES: Final = ("tombstone", "drop", "rewrite", "rewrite-with-tombstone", "delete-to-tombstone", "none")
_ENVELOPE: Final = frozenset(["op", "before", "after"])


class ExtractNewRecordState:
    """The value becomes the row after the change; a delete becomes what the file says."""

    def __init__(self, options: Options, part: Part) -> None:
        del part
        self._mode = options.choice("delete.tombstone.handling.mode", _MODES, _earlier_mode(options))
        self._fields = [_added(each, options, "add.fields") for each in options.entries("add.fields")]
        self._field_prefix = options.text("add.fields.prefix", "__")
        self._headers = [_added(each, options, "add.headers") for each in options.entries("add.headers")]
        self._header_prefix = options.text("add.headers.prefix", "__")
        self._drops_keys = options.flag("drop.fields.from.key", False)
        if self._drops_keys:
            raise options.error("drop.fields.from.key", "is not supported")
        options.ignore("drop.fields.keep.schema.compatible")
        for name in ("route.by.field", "drop.fields.header.name"):
            if options.given(name) is not None:
                raise options.error(name, "is not supported", "route with tailrace's own `transform`")

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:  # noqa: PLR0911 - one for each mode
        """Return the record; None when a delete is left out."""
        if record.value is None:
            dropped = self._mode in {"drop", "rewrite", "delete-to-tombstone"}
            return None if dropped else record
        envelope = record.value
        if not isinstance(envelope, dict) or not envelope.keys() >= _ENVELOPE:
            return record
        headers = (*record.headers, *self._new_headers(record))
        if envelope.get("after") is not None:
            value, schema = self._with_fields(record, "after", deleted="false")
            return msgspec.structs.replace(record, value=value, value_schema=schema, headers=headers)
        if self._mode == "drop":
            return None
        if self._mode in {"rewrite", "rewrite-with-tombstone"}:
            value, schema = self._with_fields(record, "before", deleted="true")
            return msgspec.structs.replace(record, value=value, value_schema=schema, headers=headers)
        if self._mode == "tombstone":
            return None  # the tombstone that follows is the delete
        return msgspec.structs.replace(record, value=None, value_schema=None, headers=headers)

    def _with_fields(self, record: ConnectRecord, image: str, *, deleted: str) -> tuple[dict[str, Any], Schema | None]:
        value = dict(record.value.get(image) or {})
        schema = record.value_schema
        its_schema = None
        fields: list[Field] = []
        if schema is not None:
            found = schema.field(image)
            if found is None:
                raise DataError(f"the envelope has no field {image}")
            its_schema = found.schema
            fields = list(its_schema.fields)
        for path, name in self._fields:
            added = f"{self._field_prefix}{name}"
            value[added] = _at(record.value, path)
            if schema is not None:
                fields.append(Field(added, optional(_schema_at(schema, path) or Schema("string"))))
        if self._mode.startswith("rewrite"):
            value["__deleted"] = deleted
            fields.append(Field("__deleted", Schema("string", optional=True)))
        changed = (
            None if its_schema is None else msgspec.structs.replace(its_schema, fields=tuple(fields), optional=False)
        )
        return value, changed

    def _new_headers(self, record: ConnectRecord) -> list[Header]:
        schema = record.value_schema
        return [
            Header(
                f"{self._header_prefix}{name}",
                _at(record.value, path),
                None if schema is None else _schema_at(schema, path),
            )
            for path, name in self._headers
        ]


def _earlier_mode(options: Options) -> str:
    """Return the mode that the two properties before Debezium 2.5 mean."""
    drops = options.given("drop.tombstones")
    handling = options.given("delete.handling.mode")
    if drops is None and handling is None:
        return "tombstone"
    keeps = (drops or "true").lower() == "false"
    match handling or "drop":
        case "rewrite":
            return "rewrite-with-tombstone" if keeps else "rewrite"
        case "none":
            return "none" if keeps else "delete-to-tombstone"
        case "drop":
            return "tombstone" if keeps else "drop"
    raise options.error("delete.handling.mode", "must be drop, rewrite or none")


def _added(entry: str, options: Options, name: str) -> tuple[tuple[str, ...], str]:
    """Return where an added field is in the envelope, and its name: `op`, `source.ts_ms`, `source.table:tbl`."""
    path, _, renamed = entry.partition(":")
    steps = tuple(path.split("."))
    if not all(steps) or len(steps) > 2:
        raise options.error(name, f"has `{entry}`, which is no field of the envelope")
    return steps, renamed or "_".join(steps)


def _at(envelope: dict[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = envelope
    for step in path:
        found = found.get(step) if isinstance(found, dict) else None
    return found


def _schema_at(schema: Schema, path: tuple[str, ...]) -> Schema | None:
    found: Schema | None = schema
    for step in path:
        field = None if found is None else found.field(step)
        found = None if field is None else field.schema
    return found


class ByLogicalTableRouter:
    """Topics that match a regular expression become one, and the key says of which table it is."""

    def __init__(self, options: Options, part: Part) -> None:
        del part
        self._regex = options.pattern("topic.regex")
        self._replacement = java_replacement(options.text("topic.replacement"))
        self._with_key = options.flag("key.enforce.uniqueness", True)
        self._name = options.text("key.field.name", "__dbz__physicalTableIdentifier")
        key_regex, key_replacement = options.given("key.field.regex"), options.given("key.field.replacement")
        if (key_regex is None) != (key_replacement is None):
            raise options.error("key.field.replacement", "must be given with key.field.regex")
        self._key_regex = None if key_regex is None else re.compile(key_regex)
        self._key_replacement = None if key_replacement is None else java_replacement(key_replacement)
        options.ignore("schema.name.adjustment.mode", "logical.table.cache.size")

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:
        """Return the record."""
        if self._regex.fullmatch(record.topic) is None:
            return record
        topic = self.route(record.topic)
        if not self._with_key or not isinstance(record.key, dict):
            return msgspec.structs.replace(record, topic=topic)
        identifier = record.topic
        if self._key_regex is not None and self._key_replacement is not None:
            found = self._key_regex.fullmatch(record.topic)
            identifier = record.topic if found is None else found.expand(self._key_replacement)
        schema = record.key_schema
        if schema is not None:
            schema = msgspec.structs.replace(schema, fields=(*schema.fields, Field(self._name, Schema("string"))))
        key = {**record.key, self._name: identifier}
        return msgspec.structs.replace(record, topic=topic, key=key, key_schema=schema)

    def route(self, topic: str) -> str:
        """Return the topic that records of a topic go to."""
        match = self._regex.fullmatch(topic)
        return topic if match is None else match.expand(self._replacement)
