"""Puts a record's bytes into JSON: what is JSON already stays as it is, digit for digit."""

from __future__ import annotations

import msgspec


def embedded(content: bytes) -> msgspec.Raw | None:
    """Return JSON for msgspec to put into other JSON, on one line; None when the bytes are no JSON."""
    try:
        msgspec.json.decode(content, type=msgspec.Raw)
        content.decode()
        return msgspec.Raw(msgspec.json.format(content, indent=-1))
    except (ValueError, RecursionError):
        return None
