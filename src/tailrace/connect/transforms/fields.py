"""Transforms that add, take, rename and mask fields, as Apache Kafka's of the same names do.

Source: https://kafka.apache.org/41/documentation/#connect_included_transformation
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import msgspec

from tailrace.connect.data import TIMESTAMP, ConnectRecord, Field, Schema, optional, struct
from tailrace.connect.errors import DataError
from tailrace.connect.logical import moment
from tailrace.connect.options import Options
from tailrace.connect.transforms.part import Part, mapping_of, replaced, schema_of, value_of
from tailrace.connect.transforms.paths import field_path


class ExtractField:
    """The part becomes one of its fields."""

    def __init__(self, options: Options, part: Part) -> None:
        self._part = part
        self._path = field_path(options, "field")
        options.flag("replace.null.with.default", True)

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:
        """Return the record."""
        if value_of(record, self._part) is None:
            return record
        value = mapping_of(record, self._part, "ExtractField")
        schema = schema_of(record, self._part)
        found = self._path.schema(schema) if schema is not None else None
        if schema is not None and found is None:
            raise DataError(f"unknown field: {self._path}")
        return replaced(record, self._part, found, self._path.value(value))


class HoistField:
    """The part becomes the only field of a struct, or of a map."""

    def __init__(self, options: Options, part: Part) -> None:
        self._part = part
        self._name = options.text("field")

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:
        """Return the record."""
        schema, value = schema_of(record, self._part), value_of(record, self._part)
        hoisted = None if schema is None else struct(None, {self._name: schema})
        return replaced(record, self._part, hoisted, {self._name: value})


class InsertField:
    """Adds what is known of the record, or a fixed text. A name may end in `!` (required) or `?` (optional)."""

    def __init__(self, options: Options, part: Part) -> None:
        self._part = part
        self._fields: list[tuple[str, bool, str]] = []
        for what in ("topic.field", "partition.field", "offset.field", "timestamp.field", "static.field"):
            name = options.given(what)
            if name is None:
                continue
            if what == "offset.field":
                raise options.error(what, "is for sink connectors only", "leave it out")
            self._fields.append((name.rstrip("!?"), not name.endswith("!"), what.partition(".")[0]))
        self._text = options.given("static.value")
        options.flag("replace.null.with.default", True)
        if not self._fields:
            raise options.error(
                "topic.field", "is missing", "name one of topic.field, timestamp.field and static.field"
            )
        if any(kind == "static" for _, _, kind in self._fields) and self._text is None:
            raise options.error("static.value", "is missing beside static.field")

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:
        """Return the record."""
        if value_of(record, self._part) is None:
            return record
        value = dict(mapping_of(record, self._part, "InsertField"))
        schema = schema_of(record, self._part)
        fields = [] if schema is None else list(schema.fields)
        for name, is_optional, kind in self._fields:
            inserted, its_schema = self._inserted(record, kind, with_schema=schema is not None)
            if inserted is None and kind != "static" and schema is None:
                continue
            value[name] = inserted
            its_schema = optional(its_schema) if is_optional else its_schema
            fields = [each for each in fields if each.name != name] + [Field(name, its_schema)]
        changed = None if schema is None else msgspec.structs.replace(schema, fields=tuple(fields))
        return replaced(record, self._part, changed, value)

    def _inserted(self, record: ConnectRecord, kind: str, *, with_schema: bool) -> tuple[Any, Schema]:
        match kind:
            case "topic":
                return record.topic, Schema("string")
            case "partition":
                return record.partition, Schema("int32")
            case "timestamp":
                at = record.timestamp_ms
                value = moment(at) if at is not None and with_schema else at
                return value, Schema("int64", name=TIMESTAMP, version=1)
        return self._text, Schema("string")


class MaskField:
    """Replaces fields by an empty value of their type, or by a fixed one."""

    def __init__(self, options: Options, part: Part) -> None:
        self._part = part
        self._names = options.entries("fields")
        self._replacement = options.given("replacement")
        options.flag("replace.null.with.default", True)
        if not self._names:
            raise options.error("fields", "is missing")

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:
        """Return the record."""
        if value_of(record, self._part) is None:
            return record
        value = dict(mapping_of(record, self._part, "MaskField"))
        for name in self._names:
            if value.get(name) is not None:
                value[name] = self._masked(name, value[name])
        return replaced(record, self._part, schema_of(record, self._part), value)

    def _masked(self, name: str, value: Any) -> Any:
        if self._replacement is not None:
            if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
                raise DataError(f"the field {name} is neither text nor a number, and cannot be replaced")
            try:
                return type(value)(self._replacement)
            except (ValueError, ArithmeticError):
                raise DataError(f"the replacement of field {name} is no number") from None
        match value:
            case bool() | int() | float() | Decimal() | str() | bytes() | list() | dict():
                return type(value)()
            case datetime():
                return datetime.fromtimestamp(0, UTC)
            case date():
                return date(1970, 1, 1)
            case time():
                return time()
        raise DataError(f"the field {name} cannot be masked: it is a {type(value).__name__}")


class ReplaceField:
    """Keeps, leaves out and renames fields."""

    def __init__(self, options: Options, part: Part) -> None:
        self._part = part
        self._exclude = frozenset(options.entries("exclude") or options.entries("blacklist"))
        self._include = frozenset(options.entries("include") or options.entries("whitelist"))
        self._renames = options.pairs("renames")
        options.flag("replace.null.with.default", True)

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:
        """Return the record."""
        if value_of(record, self._part) is None:
            return record
        value = mapping_of(record, self._part, "ReplaceField")
        schema = schema_of(record, self._part)
        kept = {self._renames.get(name, name): value[name] for name in value if self._keeps(name)}
        if schema is None:
            return replaced(record, self._part, None, kept)
        fields = tuple(
            Field(self._renames.get(each.name, each.name), each.schema)
            for each in schema.fields
            if self._keeps(each.name)
        )
        return replaced(record, self._part, msgspec.structs.replace(schema, fields=fields), kept)

    def _keeps(self, name: str) -> bool:
        return name not in self._exclude and (not self._include or name in self._include)


class ValueToKey:
    """The key becomes a struct of fields of the value."""

    def __init__(self, options: Options, part: Part) -> None:
        del part
        self._names = options.entries("fields")
        options.flag("replace.null.with.default", True)
        if not self._names:
            raise options.error("fields", "is missing")

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:
        """Return the record."""
        value = mapping_of(record, "value", "ValueToKey")
        schema = record.value_schema
        key = {name: value.get(name) for name in self._names}
        if schema is None:
            return replaced(record, "key", None, key)
        fields: dict[str, Schema] = {}
        for name in self._names:
            if (found := schema.field(name)) is None:
                raise DataError(f"field does not exist: {name}")
            fields[name] = found.schema
        return replaced(record, "key", struct(None, fields), key)
