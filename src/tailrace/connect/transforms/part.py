"""The part of a record that a transform works on: its key or its value."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tailrace.connect.data import ConnectRecord, Schema
from tailrace.connect.errors import DataError

Part = Literal["key", "value"]


def schema_of(record: ConnectRecord, part: Part) -> Schema | None:
    """Return the schema of the part."""
    return record.key_schema if part == "key" else record.value_schema


def value_of(record: ConnectRecord, part: Part) -> Any:
    """Return the part."""
    return record.key if part == "key" else record.value


def replaced(record: ConnectRecord, part: Part, schema: Schema | None, value: Any) -> ConnectRecord:
    """Return the record with another part."""
    return msgspec.structs.replace(record, **{part: value, f"{part}_schema": schema})


def mapping_of(record: ConnectRecord, part: Part, purpose: str) -> dict[str, Any]:
    """Return a part that is a struct or a map. Raises `DataError` for anything else; `purpose` says what for."""
    value, schema = value_of(record, part), schema_of(record, part)
    if not isinstance(value, dict) or (schema is not None and schema.type != "struct"):
        kind = "null" if value is None else type(value).__name__ if schema is None else schema.type
        raise DataError(f"{purpose} needs a struct or a map as the {part}, not {kind}")
    return value
