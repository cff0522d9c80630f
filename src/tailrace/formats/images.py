"""What a change shows of its item before and after it, also when the stream's view type leaves an image out."""

from __future__ import annotations

from typing import Final, NamedTuple

from tailrace.core.change import Change
from tailrace.formats.attribute_value import to_json, to_json_both
from tailrace.formats.number import Numbers

_NULL: Final = b"null"


class Images(NamedTuple):
    """JSON texts of the item before and after a change, and the names of those that the stream left out."""

    before: bytes
    after: bytes
    missing: tuple[str, ...]


def images(change: Change, key: bytes, numbers: Numbers) -> Images:
    """Give both images as plain JSON; `key` is the message key, which stands in for an image that is missing.

    A delete shows at least the key attributes before it, as PostgreSQL's REPLICA IDENTITY DEFAULT does; any other
    change shows at least those after it, since null would read as a delete. Only an update's missing
    old image is null. Raises `RecordError`.
    """
    if change.op == "u" and change.before is not None and change.after is not None:
        return Images(*to_json_both(change.before, change.after, numbers), ())
    before = after = _NULL
    missing: tuple[str, ...] = ()
    if change.op in {"u", "d"}:
        if change.before is not None:
            before = to_json(change.before, numbers)
        else:
            missing = ("before",)
            before = key if change.op == "d" else _NULL
    if change.op != "d":
        if change.after is not None:
            after = to_json(change.after, numbers)
        else:
            missing = (*missing, "after")
            after = key
    return Images(before, after, missing)
