"""The record as AWS sends it to Lambda, in DynamoDB JSON: code written for a Lambda trigger reads it unchanged.

Source: https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal

import msgspec

from tailrace.connect.document import Shape
from tailrace.core.change import Change, Message, Op
from tailrace.formats import documents
from tailrace.formats.attribute_value import all_to_json, canonical_image, sorted_image
from tailrace.formats.format import Format, ReadRecord, position_of
from tailrace.formats.keys import message_key
from tailrace.formats.number import Numbers
from tailrace.formats.python_values import to_python

_EVENT_NAMES: Final[dict[Op, str]] = {"c": "INSERT", "u": "MODIFY", "d": "REMOVE", "r": "INSERT"}
"""A row read by a snapshot is an INSERT: the only name under which such code takes an item that is there."""
_OPS: Final[dict[str, Op]] = {"INSERT": "c", "MODIFY": "u", "REMOVE": "d"}
_TIME_TO_LIVE: Final = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}

_encode = msgspec.json.Encoder().encode


class _StreamRecord(msgspec.Struct, rename="pascal"):
    keys: msgspec.Raw
    old_image: msgspec.Raw = msgspec.Raw()
    new_image: msgspec.Raw = msgspec.Raw()
    sequence_number: Any = None
    approximate_creation_date_time: Any = None

    @property
    def created_ms(self) -> int | None:
        seconds = self.approximate_creation_date_time
        try:
            return round(seconds * 1000) if isinstance(seconds, int | float) else None
        except OverflowError:
            return None


class _Record(msgspec.Struct, rename={"name": "eventName", "arn": "eventSourceARN"}):
    name: Literal["INSERT", "MODIFY", "REMOVE"]
    arn: str
    dynamodb: _StreamRecord


_decode: Final = msgspec.json.Decoder(_Record).decode


class DynamoDBJsonFormat(Format):
    """Makes a record of a Lambda event; names are sorted in it, so that every source gives the same bytes.

    A row of a snapshot has null for what only a stream has, since code that indexes a field fails where it is missing,
    and the table's ARN for the stream's.
    """

    document: ClassVar[Shape | None] = documents.DYNAMODB_JSON
    keeps_types: ClassVar[bool] = True

    def __init__(self, *, pipeline: str, numbers: Numbers) -> None:
        del pipeline  # AWS's record has no place for it
        self._numbers = numbers

    def encode(self, change: Change, now_ns: int) -> Message:
        """Return the record. The message key is plain JSON, as in every format."""
        del now_ns  # nor for when it was processed
        return Message(message_key(change.keys, self._numbers), self._value(change))

    def delete_after(self, key: bytes, last: bytes, change: Change, now_ns: int) -> Message | None:
        """Return the record of a REMOVE."""
        del now_ns
        try:
            record = _decode(last)
        except (ValueError, RecursionError):
            return None
        if record.name == "REMOVE":
            return None
        images = record.dynamodb
        before = bytes(images.new_image) or None
        return Message(key, self._value(msgspec.structs.replace(change, keys=bytes(images.keys), before=before)))

    def _value(self, change: Change) -> bytes:
        stream_record: dict[str, object] = {
            "ApproximateCreationDateTime": msgspec.Raw(_seconds(change.created_ms)),
            "Keys": msgspec.Raw(sorted_image(change.keys)),
        }
        if change.after is not None:
            stream_record["NewImage"] = msgspec.Raw(sorted_image(change.after))
        if change.before is not None:
            stream_record["OldImage"] = msgspec.Raw(sorted_image(change.before))
        stream_record["SequenceNumber"] = change.sequence if change.has_position else None
        stream_record["StreamViewType"] = change.view_type if change.has_position else None
        record: dict[str, object] = {
            "eventID": change.event_id if change.has_position else None,
            "eventName": _EVENT_NAMES[change.op],
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": change.region,
            "dynamodb": stream_record,
        }
        if change.expired:
            record["userIdentity"] = _TIME_TO_LIVE
        record["eventSourceARN"] = change.stream_arn
        return _encode(record)

    @classmethod
    def read(cls, value: bytes) -> ReadRecord | None:
        """Return what a record of a Lambda event says; of an item without images, its keys."""
        try:
            record = _decode(value)
        except (ValueError, RecursionError):
            return None
        images = record.dynamodb
        image = bytes(images.old_image if record.name == "REMOVE" else images.new_image)
        position = position_of(record.arn, None, images.sequence_number, images.created_ms)
        op: Op = "r" if record.name == "INSERT" and images.sequence_number is None else _OPS[record.name]
        return ReadRecord(op, None, record.arn, image or bytes(images.keys), position, not image)

    @classmethod
    def attributes(cls, item: bytes) -> dict[str, Any]:
        """Return the attributes with their types. Raises `RecordError`."""
        return to_python(item)

    @classmethod
    def plain_items(cls, items: Sequence[Any]) -> Sequence[Any] | None:
        """Return items without binary values, which plain JSON does not tell from text."""
        return all_to_json(items)

    @classmethod
    def canonical(cls, item: bytes) -> bytes:
        """Return the item with the members of its sets in one order: DynamoDB returns them in any."""
        return canonical_image(item)


def _seconds(milliseconds: int) -> str:
    """Return seconds as DynamoDB writes them, with the milliseconds only when there are any."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds}.{rest:03}" if rest else str(seconds)
