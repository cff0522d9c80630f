"""How far an operation is: one event for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

Step = Literal[
    "tables",
    "lanes",
    "producers",
    "dead-letters",
    "messages",
    "records",
    "changes",
    "items",
    "keys",
    "repaired",
    "shards",
]
"""What is counted: tables looked at, lanes moved, producers fenced, dead letters or on-failure messages dealt with,
records exported or read, changes replayed, items of a table read, keys looked at again, keys repaired, shards of which
what was published lately is read again."""


class Progress(msgspec.Struct, frozen=True):
    """So many are done, of so many; `total` is None when it is not known."""

    step: Step
    done: int
    total: int | None = None


OnProgress = Callable[[Progress], None]
"""Hears each event, in the operation's own thread: what it raises ends the operation."""


def unheard(_event: Progress) -> None:
    """Hear nothing."""
