"""The state of an item that a record shows, as a digest: equal for an `r`, a `c` and a `u` that show the same item."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

from tailrace.core.comparison import ABSENT, STATE_BYTES, UNSEEN
from tailrace.formats.format import Format

_decode_names = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder(order="deterministic").encode


class ItemStates:
    """Reads states from the values of one format. Safe for many threads."""

    def __init__(self, form: type[Format], leaving_out: frozenset[str] = frozenset()) -> None:
        """`leaving_out` are attributes that do not count."""
        self._format = form
        self._leaving_out = leaving_out

    def of(self, value: bytes | None) -> bytes:
        """Return the state; a value of another format has one of its own, equal to no item's."""
        if value is None:
            return ABSENT
        found = self._format.read(value)
        if found is None:
            return _digest(b"?" + value)
        if found.op == "d":
            return ABSENT
        if found.keys_only:
            return UNSEEN
        item = self._format.canonical(found.item)
        return _digest(_without(item, self._leaving_out) if self._leaving_out else item)


def attributes(form: type[Format], value: bytes) -> dict[str, Any] | None:
    """Return an item's attributes by name, each as JSON text; None when the value shows no item."""
    found = form.read(value)
    if found is None or found.op == "d":
        return None
    try:
        return _decode_names(form.canonical(found.item))
    except ValueError:
        return None


def _without(item: bytes, names: frozenset[str]) -> bytes:
    try:
        shown = _decode_names(item)
    except ValueError:
        return item
    return _encode({name: text for name, text in shown.items() if name not in names})


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=STATE_BYTES).digest()
