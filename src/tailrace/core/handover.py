"""What the source before a switch has published of the time that both sources tell of: the next one leaves it out.

The two sources tell the same change in records of their own. They agree in the table, the item's keys, the operation,
the images, and the second in which the change was made; DynamoDB Streams gives no more of the time. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec

from tailrace.core.change import Change, ViewType

_ITEM_BYTES: Final = 8
_SECOND_BYTES: Final = 4
_STATE_BYTES: Final = 8
_MARK_BYTES: Final = _SECOND_BYTES + _STATE_BYTES
CHANGE_BYTES: Final = _ITEM_BYTES + _MARK_BYTES
"""Size of what is kept of one change."""
CLOCKS_DIFFER_MS: Final = 60_000
"""By so much at most the times of the two sources, and of records behind each other in a shard, may be off."""
_SETS: Final = frozenset({"SS", "NS", "BS"})
_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode


def digest_of(change: Change, view_type: ViewType) -> bytes:
    """Return what is kept of a change: `CHANGE_BYTES` that its record in the other source has as well.

    `view_type` is that of the table's DynamoDB stream: an image that it does not carry is compared by neither side.
    """
    item = _digest(change.table.encode(), _canonical(change.keys))[:_ITEM_BYTES]
    before = change.before if view_type in {"NEW_AND_OLD_IMAGES", "OLD_IMAGE"} else None
    after = change.after if view_type in {"NEW_AND_OLD_IMAGES", "NEW_IMAGE"} else None
    state = _digest(change.op.encode(), _canonical(before), _canonical(after))[:_STATE_BYTES]
    return item + _second(change.created_ms) + state


def second_of(digest: bytes) -> int:
    """Return the second in which a change was made, since the epoch."""
    return int.from_bytes(digest[_ITEM_BYTES : _ITEM_BYTES + _SECOND_BYTES], "big")


class Handover:
    """What is known of a switch; it does not change. Two are equal if they are the same object."""

    def __init__(
        self, *, from_ms: int, until_ms: int, view_types: Mapping[str, ViewType], changes: Iterable[bytes]
    ) -> None:
        """All that was made before `from_ms` (whole seconds) in the tables of `view_types` is published.

        Of what was made later, `changes` are: the `digest_of` each, any number of them in one piece of bytes.
        From `until_ms` on, by the time that the next source's records arrive, nothing is compared any more.
        """
        self.from_ms = from_ms
        self.until_ms = until_ms
        self.view_types = view_types
        self._of_items: dict[bytes, bytes] = {}
        for piece in changes:
            for start in range(0, len(piece), CHANGE_BYTES):
                item, mark = piece[start : start + _ITEM_BYTES], piece[start + _ITEM_BYTES : start + CHANGE_BYTES]
                self._of_items[item] = self._of_items.get(item, b"") + mark

    def __repr__(self) -> str:
        return f"Handover(from_ms={self.from_ms}, until_ms={self.until_ms}, items={len(self._of_items)})"

    def marks_of(self, item: bytes) -> list[bytes]:
        """Return the published changes of an item: when, and what became of it."""
        marks = self._of_items.get(item, b"")
        return [marks[start : start + _MARK_BYTES] for start in range(0, len(marks), _MARK_BYTES)]


class Overlap:
    """The changes that one reader of the next source has met, from its first one in the time of the handover on."""

    def __init__(self, handover: Handover) -> None:
        self.handover = handover
        self._left: dict[bytes, list[bytes]] = {}
        """Of the items that were met: the published changes that were not."""

    def leaves_out(self, change: Change) -> bool:
        """Return whether a change is published already. Each that is published is left out once."""
        view_type = self.handover.view_types.get(change.table)
        if view_type is None:
            return False
        if 0 < change.created_ms < self.handover.from_ms:
            return True
        digest = digest_of(change, view_type)
        left, mark = self._left_of(digest[:_ITEM_BYTES]), digest[_ITEM_BYTES:]
        if mark not in left:
            return False
        left.remove(mark)
        return True

    def is_late(self, change: Change) -> bool:
        """Return whether a newer change of the item is published, if this source tells each item's in their order."""
        view_type = self.handover.view_types.get(change.table)
        if view_type is None:
            return False
        left = self._left_of(digest_of(change, view_type)[:_ITEM_BYTES])
        return any(mark[:_SECOND_BYTES] >= _second(change.created_ms) for mark in left)

    def _left_of(self, item: bytes) -> list[bytes]:
        left = self._left.get(item)
        if left is None:
            left = self._left[item] = self.handover.marks_of(item)
        return left


def _second(created_ms: int) -> bytes:
    return (created_ms // 1000).to_bytes(_SECOND_BYTES, "big")


def _digest(*parts: bytes) -> bytes:
    lengths = b"".join(len(part).to_bytes(4, "big") for part in parts)
    return sha256(lengths + b"".join(parts), usedforsecurity=False).digest()


def _canonical(image: bytes | None) -> bytes:
    """Return DynamoDB JSON so that it does not depend on the order in which its names and sets are listed."""
    if image is None:
        return b""
    try:
        return _encode_sorted(_with_sorted_sets(msgspec.json.decode(image)))
    except (msgspec.MsgspecError, RecursionError):
        return image


def _with_sorted_sets(value: Any) -> Any:
    match value:
        case dict():
            return {
                name: sorted(each, key=str) if name in _SETS and isinstance(each, list) else _with_sorted_sets(each)
                for name, each in value.items()
            }
        case list():
            return [_with_sorted_sets(each) for each in value]
        case _:
            return value
