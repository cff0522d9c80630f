"""What a change shows of its item before and after it, also when the stream's view type leaves an image out."""

from __future__ import annotations

from typing import Final, NamedTuple

from tailrace.core.change import Change, Op
from tailrace.formats.attribute_value import to_json, to_json_both
from tailrace.formats.number import Numbers

_NULL: Final = b"null"


class Images(NamedTuple):
    """JSON texts of the item before and after a change, and what to know of an image that the stream left out."""

    before: bytes
    after: bytes
    notes: bytes
    """Members of a JSON object, each with a comma before it, or nothing.

    `missing` names an image that is null although the item was there, `keys_only` one that holds the key attributes
    alone.
    """


class ShownImages(NamedTuple):
    """The same in DynamoDB JSON; None is null, and `change.keys` itself stands in for an image that is missing."""

    before: bytes | None
    after: bytes | None
    notes: bytes


_COMPLETE: Final = b""
_BEFORE_MISSING: Final = b',"missing":["before"]'
_BEFORE_KEYS_ONLY: Final = b',"keys_only":["before"]'
_AFTER_KEYS_ONLY: Final = b',"keys_only":["after"]'


def is_keys_only(noted: object, op: Op) -> bool:
    """Return whether `keys_only`, as a value holds it, names the image that a change is shown by."""
    return isinstance(noted, list) and ("before" if op == "d" else "after") in noted


def images(change: Change, key: bytes, numbers: Numbers) -> Images:
    """Return both images as plain JSON; `key` is the message key, which stands in for an image that is missing.

    A delete shows at least the key attributes before it, as PostgreSQL's REPLICA IDENTITY DEFAULT does; any other
    change shows at least those after it, since consumers take null for a delete. Only an update's missing
    old image is null. Raises `RecordError`.
    """
    if change.op == "u" and change.before is not None and change.after is not None:
        return Images(*to_json_both(change.before, change.after, numbers), _COMPLETE)
    shown = shown_images(change)
    before, after = (
        _NULL if image is None else key if image is change.keys else to_json(image, numbers)
        for image in (shown.before, shown.after)
    )
    return Images(before, after, shown.notes)


def shown_images(change: Change) -> ShownImages:
    """Return which images `images` shows, as DynamoDB JSON."""
    if change.op == "d":
        if change.before is None:
            return ShownImages(change.keys, None, _BEFORE_KEYS_ONLY)
        return ShownImages(change.before, None, _COMPLETE)
    before = change.before if change.op == "u" else None
    notes = _BEFORE_MISSING if change.op == "u" and before is None else _COMPLETE
    if change.after is None:
        return ShownImages(before, change.keys, notes + _AFTER_KEYS_ONLY)
    return ShownImages(before, change.after, notes)
