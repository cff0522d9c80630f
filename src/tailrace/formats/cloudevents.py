"""CloudEvents 1.0 in structured mode, JSON.

Sources: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md, its JSON format and Kafka binding,
and its extensions `partitioning` and `sequence`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import msgspec

from tailrace.connect.document import Shape
from tailrace.core.change import Change, Headers, Message, Op
from tailrace.formats import documents
from tailrace.formats.format import Format, ReadRecord, position_of
from tailrace.formats.images import Images, images, is_keys_only
from tailrace.formats.keys import message_key
from tailrace.formats.number import Numbers

_TYPES: Final[dict[Op, str]] = {
    "c": "com.amazonaws.dynamodb.item.created",
    "u": "com.amazonaws.dynamodb.item.updated",
    "d": "com.amazonaws.dynamodb.item.deleted",
    "r": "com.amazonaws.dynamodb.item.read",
}
_OPS: Final[dict[str, Op]] = {kind.rpartition(".")[2]: op for op, kind in _TYPES.items()}

_encode = msgspec.json.Encoder().encode


class _Data(msgspec.Struct):
    before: msgspec.Raw
    after: msgspec.Raw
    keys_only: Any = None


class _Event(msgspec.Struct):
    specversion: str
    type: str
    source: str
    data: _Data
    sequence: Any = None
    time: Any = None


_decode: Final = msgspec.json.Decoder(_Event).decode


class CloudEventsFormat(Format):
    """Makes an event whose `data` holds `before`, `after` and `keys`.

    `data` also has `missing` and `keys_only` (`formats/images.py`), `ttl` and `late`, where they apply. `sequence` is
    the sequence number, padded to the digits of its source (DynamoDB Streams: 40): the extension requires a text order.
    A row of a snapshot has none; its `id` is its key and time, and its `source` the table instead of the stream.
    """

    document: ClassVar[Shape | None] = documents.CLOUDEVENTS
    headers: ClassVar[Headers | None] = [("content-type", b"application/cloudevents+json; charset=UTF-8")]

    def __init__(self, *, pipeline: str, numbers: Numbers) -> None:
        del pipeline  # an event's source is the stream, whichever pipeline carries it
        self._numbers = numbers

    def encode(self, change: Change, now_ns: int) -> Message:
        """Return the event; `time` is when the change was made, and absent when the source does not say."""
        del now_ns  # CloudEvents has no processing time
        key = message_key(change.keys, self._numbers)
        return self._message(change, key, images(change, key, self._numbers))

    def delete_after(self, key: bytes, last: bytes, change: Change, now_ns: int) -> Message | None:
        """Return the event of a delete."""
        del now_ns
        found = self.read(last)
        if found is None or found.op == "d":
            return None
        return self._message(change, key, Images(found.item, b"null", b""))

    def _message(self, change: Change, key: bytes, shown: Images) -> Message:
        before, after, notes = shown
        expired = b',"ttl":true' if change.expired else b""
        late = b',"late":true' if change.late else b""
        data = b'{"before":%b,"after":%b,"keys":%b%b%b%b}' % (before, after, key, notes, expired, late)
        key_text = key.decode()
        event: dict[str, object] = {
            "specversion": "1.0",
            "id": change.event_id if change.has_position else f"{key_text}@{change.created_ms}",
            "source": change.stream_arn,
            "type": _TYPES[change.op],
            "subject": key_text,
        }
        if change.created_ms:
            event["time"] = _rfc3339(change.created_ms)
        event |= {"datacontenttype": "application/json", "partitionkey": key_text}
        if change.has_position:
            event["sequence"] = change.sequence.zfill(change.sequence_digits)
        event["data"] = msgspec.Raw(data)
        return Message(key, _encode(event), self.headers)

    @classmethod
    def read(cls, value: bytes) -> ReadRecord | None:
        """Return what an event says."""
        try:
            event = _decode(value)
            op = _OPS[event.type.rpartition(".")[2]]
        except (ValueError, KeyError, RecursionError):
            return None
        item = bytes(event.data.before if op == "d" else event.data.after)
        position = position_of(event.source, None, event.sequence, _milliseconds(event.time))
        return ReadRecord(op, None, event.source, item, position, is_keys_only(event.data.keys_only, op))


def _milliseconds(time: object) -> int | None:
    """Return a time of an event, 0 when the event has none; None when it is no time."""
    try:
        return 0 if time is None else round(msgspec.convert(time, datetime).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def _rfc3339(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03}Z"
