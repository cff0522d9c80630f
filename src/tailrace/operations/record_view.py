"""What a record on a topic of changes says, whichever format wrote it: its op, table, key and item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from tailrace import formats
from tailrace.errors import printable
from tailrace.kafka import record_json
from tailrace.kafka.headers import REASON, REDRIVEN_OFFSET, TABLE
from tailrace.sources.dynamodb.stream_arn import table_of

ShownOp = Literal["c", "u", "d", "r", "upsert", "tombstone", "dead-letter", "redriven", "?"]
"""A change's op; `upsert` where the format item does not tell `c` from `u`; `redriven` for the mark of a dead letter
that was published again; `?` for a record that is no change."""

_Headers = Mapping[str, str | bytes | None] | Sequence[tuple[str, str | bytes | None]] | None


@dataclass(frozen=True)
class RecordView:
    """One record as a person wants to see it.

    `item` is JSON text: the item after the change, before a delete; empty when the stream leaves it out.
    """

    op: ShownOp
    table: str | None
    key: str
    item: str
    reason: str = ""
    """Why a dead letter was set aside."""
    has_envelope: bool = False
    """The value says itself what changed: a null value on the same topic is a tombstone, not a delete."""


def view(key: bytes | None, value: bytes | None, headers: dict[str, str], *, null_is_delete: bool) -> RecordView:
    """Make the view of one record. Never fails: what is no change is shown as text with the op `?`."""
    key_text = as_text(key)
    if REASON in headers:
        return RecordView("dead-letter", headers.get(TABLE), key_text, as_text(value), reason=headers[REASON])
    if REDRIVEN_OFFSET in headers:
        return RecordView("redriven", headers.get(TABLE), key_text, "")
    if value is None:
        return RecordView("d" if null_is_delete else "tombstone", None, key_text, "")
    found = formats.read(value)
    if found is None:
        return RecordView("?", None, key_text, as_text(value))
    item = as_text(found.item)
    return RecordView(
        op=found.op or "upsert",
        table=found.table or (table_of(found.stream) if found.stream else None),
        key=key_text,
        item="" if item == "null" else item,
        has_envelope=found.op is not None,
    )


def header_texts(headers: _Headers) -> dict[str, str]:
    """Return a record's headers as text; of several with one name the last, as Kafka's `lastHeader` does."""
    return {name: value if isinstance(value, str) else as_text(value) for name, value in dict(headers or {}).items()}


def as_text(value: bytes | None) -> str:
    """Return bytes as text of one line that is safe to show on a terminal."""
    if value is None:
        return ""
    return printable(value.decode(errors="backslashreplace"))


def one_line_json(fields: dict[str, object], *, key: bytes | None, value: bytes | None, headers: dict[str, str]) -> str:
    """Write a whole record as one line of JSON: JSON stays as it is, digit for digit; other bytes become text."""
    whole = {**fields, "key": as_json(key), "value": as_json(value), "headers": headers}
    return msgspec.json.encode(whole).decode()


def as_json(content: bytes | None) -> msgspec.Raw | str | None:
    """Return JSON as it is, for msgspec to put into other JSON; other bytes as text."""
    if content is None:
        return None
    return record_json.embedded(content) or content.decode(errors="backslashreplace")
