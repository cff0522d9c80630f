"""The bare item: the value is the item after the change, null when it was deleted."""

from __future__ import annotations

from typing import ClassVar

from tailrace.connect.document import Shape
from tailrace.core.change import Change, Message, ViewType
from tailrace.errors import RecordError
from tailrace.formats import documents
from tailrace.formats.attribute_value import to_json
from tailrace.formats.format import Format, ReadRecord, why_no_new_image
from tailrace.formats.keys import message_key
from tailrace.formats.number import Numbers


class ItemFormat(Format):
    """Makes the item as plain JSON; a delete's null value is the tombstone itself."""

    document: ClassVar[Shape | None] = documents.ITEM
    null_is_delete: ClassVar[bool] = True
    tells_position: ClassVar[bool] = False

    def __init__(self, *, pipeline: str, numbers: Numbers) -> None:
        del pipeline  # the bare item does not say where it comes from
        self._numbers = numbers

    def encode(self, change: Change, now_ns: int) -> Message:
        """Return the new item; raises `RecordError` when the stream left it out."""
        del now_ns  # nor when it was processed
        key = message_key(change.keys, self._numbers)
        if change.op == "d":
            return Message(key, None)
        if change.after is None:
            raise RecordError(
                f"the change has no new image (view type {change.view_type}), which the format item needs",
                hint="switch the stream to NEW_IMAGE or NEW_AND_OLD_IMAGES, or choose the format debezium",
            )
        return Message(key, to_json(change.after, self._numbers))

    def delete_after(self, key: bytes, last: bytes, change: Change, now_ns: int) -> Message | None:
        """Return a null value."""
        del last, change, now_ns
        return Message(key, None)

    @classmethod
    def read(cls, value: bytes) -> ReadRecord | None:
        """Return the value as the item when it is an object: nothing else is known of it."""
        return ReadRecord(None, None, None, value, None) if value.lstrip()[:1] == b"{" else None

    @classmethod
    def why_not(cls, view_type: ViewType) -> str | None:
        """Refuse a stream without new images."""
        return why_no_new_image("item", view_type)
