"""What a format is: how a change is written, and everything that depends on how it was."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar, Final

import msgspec

from tailrace.connect.data import ConnectRecord, Header
from tailrace.connect.document import Shape
from tailrace.core.change import Change, Headers, Message, Op, ViewType
from tailrace.core.redrive import SourcePosition
from tailrace.errors import RecordError
from tailrace.formats.number import Numbers

_parsed: Final = msgspec.json.Decoder(float_hook=Decimal).decode
_attributes: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
_HINT: Final = "look at what else writes to the topic"


class ReadRecord(msgspec.Struct, frozen=True):
    """What a record's value says of its change."""

    op: Op | None
    """None where the format does not tell a create from an update."""
    table: str | None
    stream: str | None
    item: bytes
    """JSON: the item after the change, before a delete; `null` or empty when the value leaves it out."""
    position: SourcePosition | None
    keys_only: bool = False
    """`item` holds the key attributes alone, since the stream left the rest out."""


class Format(ABC):
    """One format of records. Pure, and safe for many threads."""

    headers: ClassVar[Headers | None] = None
    """Those of every record."""
    document: ClassVar[Shape | None] = None
    """The shape of its values, where a fixed schema can hold them; every format's keys have that of `documents.KEY`."""
    null_is_delete: ClassVar[bool] = False
    """A delete's own value is null, so that no tombstone follows it."""
    has_schemas: ClassVar[bool] = False
    """`connect_record` has schemas."""
    names_table: ClassVar[bool] = False
    """The value of a change, not a tombstone, says which table it is of (`ReadRecord.table`)."""
    reads_back: ClassVar[bool] = True
    """What the value says is enough to compare it with its table, and to find deletes."""
    keeps_types: ClassVar[bool] = False
    """The items that `read` returns are DynamoDB JSON: sets, binary and numbers are what they were."""
    tells_position: ClassVar[bool] = True
    """The value says which change it is of."""

    @abstractmethod
    def __init__(self, *, pipeline: str, numbers: Numbers) -> None:
        """`pipeline` is the name that the records may carry."""

    @abstractmethod
    def encode(self, change: Change, now_ns: int) -> Message:
        """Return the record of `change`; `now_ns` is the processing time, nanoseconds since the epoch.

        Raises `RecordError` for a change that it cannot convert.
        """

    def connect_record(self, change: Change, topic: str, now_ns: int) -> ConnectRecord:
        """Return the record for Connect's transforms and converters: what `encode` makes, without schemas.

        A format that has schemas names them after `topic`. Raises `RecordError` as `encode` does.
        """
        message = self.encode(change, now_ns)
        value = None if message.value is None else _parsed(message.value)
        headers = tuple(Header(name, text.decode()) for name, text in message.headers or [])
        return ConnectRecord(topic, _parsed(message.key), value, timestamp_ms=change.created_ms, headers=headers)

    @abstractmethod
    def delete_after(self, key: bytes, last: bytes, change: Change, now_ns: int) -> Message | None:
        """Return the delete of an item whose last record was `key` and `last`: its state becomes `before`.

        `change` (op `d`) says all else; its `keys` are empty when they cannot be told from `key`. None when `last` is a
        delete already, or is not of this format.
        """

    @classmethod
    @abstractmethod
    def read(cls, value: bytes) -> ReadRecord | None:
        """Return what a value says; None when it is not of this format."""

    @classmethod
    def read_item(cls, value: bytes) -> tuple[Op | None, bytes] | None:
        """Return the op and the item that `read` returns, where nothing else is needed."""
        found = cls.read(value)
        return None if found is None else (found.op, found.item)

    @classmethod
    def read_items(cls, values: Sequence[bytes]) -> tuple[list[Op], list[Any]] | None:
        """Return the ops and the items of many values, `u` where a value tells no op; None when one cannot be read.

        Items are bytes, or parts of the values that msgspec's and Python's functions take for bytes.
        """
        found = [cls.read_item(each) for each in values]
        if None in found:
            return None
        return [each[0] or "u" for each in found if each], [each[1] for each in found if each]

    @classmethod
    def attributes(cls, item: bytes) -> dict[str, Any]:
        """Return the attributes of an item that `read` returned, as Python values: numbers are int or Decimal.

        Sets and bytes are there only where the format tells them from arrays and strings. Raises `RecordError`.
        """
        try:
            return _attributes(item)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"the item is not a JSON object: {error}", hint=_HINT) from None

    @classmethod
    def plain_items(cls, items: Sequence[Any]) -> Sequence[Any] | None:
        """Return items that `read_items` returned as plain JSON, which `attributes` reads alike; None: it cannot."""
        return items

    @classmethod
    def canonical(cls, item: bytes) -> bytes:
        """Return the one text of an item that `read` returned: records of one state of an item have the same."""
        return item

    @classmethod
    def why_not(cls, view_type: ViewType) -> str | None:
        """Return in a sentence why the format cannot serve a stream of this view type; None when it can."""
        del view_type
        return None


def why_no_new_image(name: str, view_type: ViewType) -> str | None:
    """Return why the format of this name, which needs the new image, cannot serve a stream; None when it can."""
    if view_type in {"NEW_IMAGE", "NEW_AND_OLD_IMAGES"}:
        return None
    return (
        f"the format {name} needs the new image, which a stream of view type {view_type} does not carry; "
        "switch the stream to NEW_IMAGE or NEW_AND_OLD_IMAGES, or choose another format"
    )


def position_of(stream: object, shard_id: object, sequence: object, created_ms: object) -> SourcePosition | None:
    """Return the position that fields of a value give; None when one is missing or is not what a format writes.

    `shard_id` None: the format leaves it out.
    """
    match stream, shard_id, sequence, created_ms:
        case str(), str() | None, str(), int():
            try:
                return SourcePosition(stream, shard_id, int(sequence), created_ms)
            except ValueError:
                return None
    return None
