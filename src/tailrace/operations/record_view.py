"""What a record on a topic of changes says, whichever format wrote it: its op, table, key and item."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from tailrace.core.ports import ReadError
from tailrace.errors import printable
from tailrace.kafka.dead_letters import REDRIVEN_OFFSET
from tailrace.sources.dynamodb import stream_arn

ShownOp = Literal["c", "u", "d", "r", "upsert", "tombstone", "dead-letter", "redriven", "?"]
"""A change's op; `upsert` where the format item does not tell `c` from `u`; `redriven` for the mark of a dead letter
that was published again; `?` for a record that is no change."""

_Headers = Mapping[str, str | bytes | None] | Sequence[tuple[str, str | bytes | None]] | None

_Read = tuple[ShownOp, str | None, bytes]
"""Op, table and item."""
_REASON: Final = "__connect.errors.exception.message"
_LAMBDA_OPS: Final[dict[str, ShownOp]] = {"INSERT": "c", "MODIFY": "u", "REMOVE": "d"}
_EVENT_OPS: Final[dict[str, ShownOp]] = {"created": "c", "updated": "u", "deleted": "d", "read": "r"}


class _Place(msgspec.Struct):
    table: str


class _Debezium(msgspec.Struct):
    op: Literal["c", "u", "d", "r"]
    source: _Place
    before: msgspec.Raw
    after: msgspec.Raw


class _Images(msgspec.Struct, rename="pascal"):
    keys: msgspec.Raw
    old_image: msgspec.Raw = msgspec.Raw()
    new_image: msgspec.Raw = msgspec.Raw()


class _LambdaRecord(msgspec.Struct, rename={"name": "eventName", "arn": "eventSourceARN"}):
    name: Literal["INSERT", "MODIFY", "REMOVE"]
    arn: str
    dynamodb: _Images


class _Data(msgspec.Struct):
    before: msgspec.Raw
    after: msgspec.Raw


class _CloudEvent(msgspec.Struct):
    specversion: str
    type: str
    source: str
    data: _Data


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
    if _REASON in headers:
        table = headers.get("tailrace.table")
        return RecordView("dead-letter", table, key_text, as_text(value), reason=headers[_REASON])
    if REDRIVEN_OFFSET in headers:
        return RecordView("redriven", headers.get("tailrace.table"), key_text, "")
    if value is None:
        return RecordView("d" if null_is_delete else "tombstone", None, key_text, "")
    for read in _READERS:
        try:
            op, table, item = read(value)
        except (msgspec.MsgspecError, KeyError, RecursionError):
            continue
        text = as_text(item)
        return RecordView(op, table, key_text, "" if text == "null" else text, has_envelope=True)
    return RecordView("upsert" if value.lstrip()[:1] == b"{" else "?", None, key_text, as_text(value))


def header_texts(headers: _Headers) -> dict[str, str]:
    """Return a record's headers as text; of several with one name the last, as Kafka's `lastHeader` does."""
    return {name: value if isinstance(value, str) else as_text(value) for name, value in dict(headers or {}).items()}


def as_text(value: bytes | None) -> str:
    """Return bytes as text of one line that is safe to show on a terminal."""
    if value is None:
        return ""
    return printable(value.decode(errors="backslashreplace"))


def _read_debezium(value: bytes) -> _Read:
    record = _debezium(value)
    return record.op, record.source.table, bytes(record.before if record.op == "d" else record.after)


def _read_lambda_record(value: bytes) -> _Read:
    record = _lambda_record(value)
    images = record.dynamodb
    item = images.old_image if record.name == "REMOVE" else images.new_image
    return _LAMBDA_OPS[record.name], _table(record.arn), bytes(item) or bytes(images.keys)


def _read_cloud_event(value: bytes) -> _Read:
    record = _cloud_event(value)
    op = _EVENT_OPS[record.type.rpartition(".")[2]]
    return op, _table(record.source), bytes(record.data.before if op == "d" else record.data.after)


def _table(arn: str) -> str | None:
    try:
        return stream_arn.table_of(arn)
    except ReadError:
        return None


_debezium = msgspec.json.Decoder(_Debezium).decode
_lambda_record = msgspec.json.Decoder(_LambdaRecord).decode
_cloud_event = msgspec.json.Decoder(_CloudEvent).decode
_READERS: Final[tuple[Callable[[bytes], _Read], ...]] = (_read_debezium, _read_lambda_record, _read_cloud_event)


def one_line_json(fields: dict[str, object], *, key: bytes | None, value: bytes | None, headers: dict[str, str]) -> str:
    """Write a whole record as one line of JSON: JSON stays as it is, digit for digit; other bytes become text."""
    whole = {**fields, "key": as_json(key), "value": as_json(value), "headers": headers}
    return msgspec.json.encode(whole).decode()


def as_json(content: bytes | None) -> msgspec.Raw | str | None:
    """Return JSON as it stands, for msgspec to put into other JSON; other bytes as text."""
    if content is None:
        return None
    try:
        msgspec.json.decode(content, type=msgspec.Raw)
        content.decode()
        return msgspec.Raw(msgspec.json.format(content, indent=-1))
    except (ValueError, RecursionError):
        return content.decode(errors="backslashreplace")
