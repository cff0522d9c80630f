"""The version of an item's state: the place of its record in Kafka, in an order that outlives the topic. Pure.

Records of an item lie in one partition, so their offsets order them, whoever reads them and however often. Offsets of a
topic that is deleted and made again begin anew, so each topic has an *epoch* before them, which the control table hands
out in order. Clocks play no part in the order of two records of a topic.
"""

from __future__ import annotations

from typing import Final

_DELETED: Final = ".deleted"
_EPOCH_DIGITS: Final = 12
_OFFSET_DIGITS: Final = 19
"""Those of the largest offset."""


def version_text(epoch: int, offset: int, *, deleted: bool = False) -> str:
    """Return the version of a state, which compares as text; that of a deleted item says so."""
    return f"{epoch:0{_EPOCH_DIGITS}}.{offset:0{_OFFSET_DIGITS}}{_DELETED if deleted else ''}"


def next_epoch(last: int | None, now_s: int) -> int:
    """Return the epoch of a topic that begins now; `last` is that of the one before, None where nobody knows.

    With the seconds of now it is beyond those that a lost control table handed out; behind a clock that was set back
    `last` still holds.
    """
    return max(now_s, (last or 0) + 1)
