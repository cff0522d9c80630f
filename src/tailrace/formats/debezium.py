"""Debezium's envelope as schemaless JSON: the default, read by every tool that reads Debezium.

Source: https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-events
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Final, Literal

import msgspec

from tailrace._version import __version__
from tailrace.connect.document import Shape
from tailrace.core.change import Change, Message, Op
from tailrace.formats import documents
from tailrace.formats.format import Format, ReadRecord, position_of
from tailrace.formats.images import Images, images, is_keys_only
from tailrace.formats.keys import message_key
from tailrace.formats.number import Numbers

_encode = msgspec.json.Encoder().encode
_parsed = msgspec.json.Decoder(dict[str, Any]).decode


class _Source(msgspec.Struct):
    """A record of another Debezium connector has no stream: its position is not one of ours."""

    table: str
    stream: Any = None
    shard: Any = None
    sequence: Any = None
    ts_ms: Any = None
    keys_only: Any = None


class _Envelope(msgspec.Struct):
    op: Literal["c", "u", "d", "r"]
    source: _Source
    before: msgspec.Raw
    after: msgspec.Raw


class _Named(msgspec.Struct, gc=False):
    table: str


class _Images(msgspec.Struct, gc=False):
    op: Literal["c", "u", "d", "r"]
    source: _Named
    before: msgspec.Raw
    after: msgspec.Raw


_decode: Final = msgspec.json.Decoder(_Envelope).decode
_decode_images: Final = msgspec.json.Decoder(_Images).decode


class DebeziumFormat(Format):
    """Makes `before`, `after`, `source`, `op`, `ts_*` and `transaction` (always null).

    Besides Debezium's own fields, `source` has `ttl` (true) when Time to Live deleted the item, `late` (true) when a
    newer change of the item was published before, and `missing` and `keys_only` (`formats/images.py`) when the stream's
    view type leaves out an image that the change has.
    A row of a snapshot has null for what only a stream has: shard, stream, view type, sequence number and event id.
    """

    document: ClassVar[Shape | None] = documents.DEBEZIUM
    names_table: ClassVar[bool] = True

    def __init__(self, *, pipeline: str, numbers: Numbers) -> None:
        connector = {"version": __version__, "connector": "dynamodb", "name": pipeline}
        self._connector_fields = _members(connector)
        self._numbers = numbers

    def encode(self, change: Change, now_ns: int) -> Message:
        """Return the envelope; `source.ts_*` is when the change was made, `ts_*` when it was processed."""
        key = message_key(change.keys, self._numbers)
        return self._message(change, key, images(change, key, self._numbers), now_ns)

    def without_images(self, change: Change, notes: bytes, now_ns: int) -> dict[str, Any]:
        """Return the envelope of `encode` as an object whose images are null; `notes` are those of its images."""
        message = self._message(change, b"", Images(b"null", b"null", notes), now_ns)
        return _parsed(message.value or b"")

    def delete_after(self, key: bytes, last: bytes, change: Change, now_ns: int) -> Message | None:
        """Return the envelope of a delete."""
        found = self.read(last)
        if found is None or found.op == "d":
            return None
        return self._message(change, key, Images(found.item, b"null", b""), now_ns)

    def _message(self, change: Change, key: bytes, shown: Images, now_ns: int) -> Message:
        before, after, notes = shown
        if change.has_position:
            place = _place(change.stream_arn, change.table, change.region, change.shard_id, change.view_type)
            sequence, event_id = _encode(change.sequence), _encode(change.event_id)
        else:
            place = _place(change.stream_arn, change.table, change.region)
            sequence = event_id = b"null"
        # Joined from pieces that are JSON already: encoding the whole as objects would parse the images again.
        value = (
            b'{"before":%b,"after":%b,"source":{%b,"snapshot":"%b",%b,"sequence":%b,"event_id":%b,%b%b%b%b},'
            b'"op":"%b",%b,"transaction":null}'
        ) % (
            before,
            after,
            self._connector_fields,
            (change.snapshot or "false").encode(),
            place,
            sequence,
            event_id,
            _times(change.created_ms * 1_000_000 + change.created_rest_us * 1_000),
            b',"ttl":true' if change.expired else b"",
            b',"late":true' if change.late else b"",
            notes,
            change.op.encode(),
            _times(now_ns),
        )
        return Message(key, value)

    @classmethod
    def read(cls, value: bytes) -> ReadRecord | None:
        """Return what an envelope says, one of another connector, too."""
        try:
            envelope = _decode(value)
        except (ValueError, RecursionError):
            return None
        source = envelope.source
        item = bytes(envelope.before if envelope.op == "d" else envelope.after)
        position = None
        if source.shard is not None:
            position = position_of(source.stream, source.shard, source.sequence, source.ts_ms)
        keys_only = is_keys_only(source.keys_only, envelope.op)
        return ReadRecord(envelope.op, source.table, None, item, position, keys_only)

    @classmethod
    def read_item(cls, value: bytes) -> tuple[Op | None, bytes] | None:
        """Return what `read` does, in half the time."""
        try:
            envelope = _decode_images(value)
        except (ValueError, RecursionError):
            return None
        return envelope.op, bytes(envelope.before if envelope.op == "d" else envelope.after)

    @classmethod
    def read_items(cls, values: Sequence[bytes]) -> tuple[list[Op], list[Any]] | None:
        """Return what `read_item` does of each, without a copy of any item."""
        try:
            read = [_decode_images(each) for each in values]
        except (ValueError, RecursionError):
            return None
        return [each.op for each in read], [each.before if each.op == "d" else each.after for each in read]


@lru_cache(maxsize=4096)
def _place(arn: str, table: str, region: str, shard_id: str | None = None, view_type: str | None = None) -> bytes:
    """Return the members of `source` that all changes of a shard share; without a shard, `arn` is the table's."""
    place = {
        "db": _account(arn),
        "table": table,
        "shard": shard_id,
        "stream": None if shard_id is None else arn,
        "region": region,
        "view_type": view_type,
    }
    return _members(place)


@lru_cache(maxsize=256)
def _times(ns: int) -> bytes:
    """Return a time's three members, which all changes of a page, or of a second, share."""
    return b'"ts_ms":%d,"ts_us":%d,"ts_ns":%d' % (ns // 1_000_000, ns // 1_000, ns)


def _members(fields: Mapping[str, str | None]) -> bytes:
    """Return a JSON object without its braces."""
    return _encode(fields)[1:-1]


def _account(arn: str) -> str:
    """Return the AWS account id of an ARN (`arn:partition:service:region:account:resource`), "" if it has none."""
    parts = arn.split(":")
    return parts[4] if len(parts) > 5 else ""
