"""A change as a user's function gets it: items as Python values, to be read and changed at will."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from tailrace.core import change as core
from tailrace.core.change import Op, ViewType
from tailrace.formats.python_values import from_python, to_python

Item = dict[str, Any]
"""Attributes by name: None, bool, str, Decimal, bytes, dict, list, and sets of str, Decimal or bytes.

Every number is a Decimal, with all its digits. An int may be set as well; a float is refused: it is not exact.
"""


@dataclass
class Change:
    """One change of one item. `op`, `keys`, `before` and `after` may be changed, or others put in their place.

    The other fields say where the change comes from and stay as they are. To make more changes of one, use
    `dataclasses.replace(change, …)`. In a test of your own, op, table, keys and the images are enough.
    """

    op: Op
    """`c` create, `u` update, `d` delete, `r` read by a snapshot."""
    table: str
    keys: Item
    """The key attributes. They make the message key, which decides the partition."""
    before: Item | None = None
    """The old image; None for a create, or when the stream's view type leaves it out."""
    after: Item | None = None
    """The new image; None for a delete, or when the stream's view type leaves it out."""
    created_ms: int = 0
    """When the change was made, milliseconds since the epoch; 0 when the source does not say."""
    event_id: str = ""
    sequence: str = ""
    """The sequence number, compared as an integer: 21 to 40 digits in DynamoDB Streams."""
    view_type: ViewType = "NEW_AND_OLD_IMAGES"
    expired: bool = False
    """True when Time to Live deleted the item."""

    @property
    def item(self) -> Item | None:
        """The item after the change, or before a delete; None when the stream's view type leaves it out."""
        return self.before if self.op == "d" else self.after


Result = Change | None | list[Change]
"""What a function gives back: the change, nothing (it is dropped), or several changes in their order."""

Function = Callable[[Change], Result]


def read(change: core.Change, *, before: bool = True, after: bool = True) -> Change:
    """Return a change with its items as Python values, all of them its own; an image is None unless it is asked for.

    Raises `RecordError`.
    """
    return Change(
        op=change.op,
        table=change.table,
        keys=to_python(change.keys),
        before=to_python(change.before) if before and change.before is not None else None,
        after=to_python(change.after) if after and change.after is not None else None,
        created_ms=change.created_ms,
        event_id=change.event_id,
        sequence=change.sequence,
        view_type=change.view_type,
        expired=change.expired,
    )


def write(change: Change, of: core.Change, number: int) -> core.Change:
    """Return what was made of `of`; values that were not changed keep their bytes. Raises `RecordError`.

    `number` counts the changes made of one: all but the first get an event id of their own.
    """
    return msgspec.structs.replace(
        of,
        op=change.op,
        keys=from_python(change.keys, of.keys),
        before=None if change.before is None else from_python(change.before, of.before),
        after=None if change.after is None else from_python(change.after, of.after),
        event_id=of.event_id if number == 0 else f"{of.event_id}.{number}",
    )


def origin(change: Change) -> tuple[object, ...]:
    """Return the fields that no function may change."""
    return change.table, change.sequence, change.event_id, change.created_ms, change.view_type, change.expired
