"""Records of a topic as rows: what each value says of a change, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from tailrace.formats import Format
from tailrace.formats.item import ItemFormat

_NO_ITEM: Final = (b"", b"null")


class Message(Protocol):
    """What is needed of confluent-kafka's `Message`."""

    def key(self) -> bytes | None:
        """Return the key."""
        ...

    def value(self) -> bytes | None:
        """Return the value."""
        ...

    def topic(self) -> str | None:
        """Return the topic."""
        ...

    def partition(self) -> int | None:
        """Return the partition."""
        ...

    def offset(self) -> int | None:
        """Return the offset."""
        ...

    def timestamp(self) -> tuple[int, int]:
        """Return the kind of the timestamp, and the timestamp in milliseconds since the epoch."""
        ...

    def headers(self) -> Any:
        """Return pairs, or None."""
        ...


class Rows:
    """Records whose values were read. An object for each record would take as long as all the rest."""

    __slots__ = ("formats", "items", "messages", "ops")

    def __init__(
        self,
        messages: Sequence[Message],
        formats: Sequence[type[Format]],
        ops: Sequence[str],
        items: Sequence[bytes | msgspec.Raw],
    ) -> None:
        """Make them of lists of the same length; `formats` are those of the items."""
        self.messages = messages
        self.formats = formats
        self.ops = ops
        self.items = items

    def __len__(self) -> int:
        return len(self.messages)

    def cut(self, begin: int, end: int) -> Rows:
        """Return some that follow one another."""
        return Rows(self.messages[begin:end], self.formats[begin:end], self.ops[begin:end], self.items[begin:end])

    def chosen(self, places: Sequence[int]) -> Rows:
        """Return those at some places."""
        return Rows(
            [self.messages[place] for place in places],
            [self.formats[place] for place in places],
            [self.ops[place] for place in places],
            [self.items[place] for place in places],
        )

    def plain_items(self) -> Sequence[Any] | None:
        """Return the items as plain JSON; None when it does not tell all of one."""
        if len(set(self.formats)) == 1:
            return self.formats[0].plain_items(self.items)
        found = [form.plain_items([item]) for form, item in zip(self.formats, self.items, strict=True)]
        return None if None in found else [item for one in found if one for item in one]


def read_rows(messages: Sequence[Message], formats: Sequence[type[Format]]) -> tuple[Rows, list[Message]]:
    """Return the rows of records, without tombstones; and the records that none of the formats reads."""
    values = [each.value() for each in messages]
    full = [value for value in values if value is not None]
    if len(full) == len(values):
        return _read_together(messages, full, formats[0]) or _read_each(messages, values, formats)
    if any(each.null_is_delete for each in formats):
        return _read_each(messages, values, formats)
    return read_rows([each for each, value in zip(messages, values, strict=True) if value is not None], formats)


def _read_together(
    messages: Sequence[Message], values: Sequence[bytes], form: type[Format]
) -> tuple[Rows, list[Message]] | None:
    """Return the rows of records of one format; None when there is anything to look at."""
    found = form.read_items(values)
    if found is None:
        return None
    ops, items = found
    if "d" in ops and any(op == "d" and bytes(item) in _NO_ITEM for op, item in zip(ops, items, strict=True)):
        return None
    return Rows(messages, [form] * len(ops), ops, items), []


def _read_each(
    messages: Sequence[Message], values: Sequence[bytes | None], formats: Sequence[type[Format]]
) -> tuple[Rows, list[Message]]:
    read: list[tuple[Message, type[Format], str, bytes]] = []
    unreadable = []
    for message, value in zip(messages, values, strict=True):
        if value is None:
            if (key := message.key()) is not None:  # a delete of its own
                read.append((message, ItemFormat, "d", key))
        elif (row := _read(message, value, formats)) is not None:
            read.append(row)
        else:
            unreadable.append(message)
    return Rows(*(zip(*read, strict=True) if read else ((), (), (), ()))), unreadable


def _read(
    message: Message, value: bytes, formats: Sequence[type[Format]]
) -> tuple[Message, type[Format], str, bytes] | None:
    for each in formats:
        if (found := each.read_item(value)) is not None:
            op, item = found
            if op == "d" and item in _NO_ITEM and (key := message.key()) is not None:
                return message, ItemFormat, "d", key
            return message, each, op or "u", item
    return None
