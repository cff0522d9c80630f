"""Compares the states of a table's items with those that its topics show. Pure.

A state is a digest of what a record shows of an item (`formats.item_state`). Topics are numbers here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

STATE_BYTES: Final = 16
ABSENT: Final = bytes(STATE_BYTES)
"""There is no item: it was deleted, or never there."""
UNSEEN: Final = b"\1" * STATE_BYTES
"""The item is there, but the record shows its key attributes alone."""

Outcome = Literal["equal", "missing", "stale", "surplus", "left behind", "left out", "unsettled", "unchecked"]
"""How a key of a topic compares with the table.

`missing`: the item is there, and the topic does not show it. `stale`: the topic shows another state. `surplus`: the
topic shows an item that is not there. `left behind`: the item is there, but a transformation drops it now or sends it
to another topic, so the topic keeps what it was sent before. `left out`: snapshots leave the item out, and it has not
changed. Two say that nothing is known: `unsettled`, changes were in flight all the time; `unchecked`, nothing tells
which item to read.
"""
DIFFERENCES: Final = ("missing", "stale", "surplus")


class Compared(NamedTuple):
    """How a key compares in one topic."""

    topic: int
    outcome: Outcome


def compare(item: Mapping[int, bytes] | None, seen: Mapping[int, Sequence[bytes]]) -> Iterator[Compared]:
    """Compare one key in each of its topics; a topic that rightly shows nothing of it is left out.

    `item` is what the pipeline publishes of the item, by topic: empty when that is nothing, None when the item does
    not exist. `seen` are the states that each topic went through around the time when the item was read, the last one
    last: the item's state must be among them, since a topic shows every state that an item had.
    """
    for topic in sorted({*(item or ()), *seen}):
        states = seen.get(topic) or (ABSENT,)
        expected = None if item is None else item.get(topic)
        if expected is None:
            if ABSENT not in states:
                yield Compared(topic, "surplus" if item is None else "left behind")
        elif any(_are_equal(expected, each) for each in states):
            yield Compared(topic, "equal")
        else:
            yield Compared(topic, "missing" if states[-1] == ABSENT else "stale")


def _are_equal(one: bytes, other: bytes) -> bool:
    """Return whether two states are the same, as far as both are seen."""
    return one == other or (UNSEEN in (one, other) and ABSENT not in (one, other))
