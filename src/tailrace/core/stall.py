"""Decides whether a consumer has stopped while what it reads goes on, and what is to be done about it. Pure.

A Kafka client may stop for good after a broker was away, without an error, although a new one would work at once.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from enum import Enum
from typing import Final, Generic, TypeVar

PATIENCE_MS: Final = (20_000, 40_000, 80_000)
"""How long a consumer may stand still: at first, and as the first and the second that took its place.

A client that lost its connection waits for up to 10 s (`reconnect.backoff.max.ms`); one on a slow link, for up to a
minute (`socket.timeout.ms`) for its first answer.
"""
GLANCE_MS: Final = 5_000
"""So much time at the most counts between two looks: a process that was frozen has not waited."""

_K = TypeVar("_K", bound=Hashable)


class Verdict(Enum):
    """What is to be done with the consumer."""

    KEEP = "keep it"
    REPLACE = "replace it by a new one"
    GIVE_UP = "give up: new ones stop as well"


def behind(positions: Mapping[_K, int], ends: Mapping[_K, int]) -> dict[_K, int]:
    """Return the position of each partition that is not at its end; -1 where nothing is known of it yet.

    Partitions whose end is not known are left out: nothing is known of them.
    """
    return {each: positions.get(each, -1) for each, end in ends.items() if positions.get(each, -1) < end}


class Stall(Generic[_K]):
    """Remembers where a consumer stands, over its replacements."""

    def __init__(self) -> None:
        self._positions: dict[_K, int] = {}
        self._stood_ms: dict[_K, int] = {}
        self._stopped: dict[_K, int] = {}
        """Where the consumer that was replaced last had stopped."""
        self._replaced = 0
        self._looked_ms: int | None = None

    def look(self, behind: Mapping[_K, int], now_ms: int) -> Verdict:
        """Judge by what is surely behind and where it stands: leave out what did not answer, or is at its end."""
        passed_ms = 0 if self._looked_ms is None else max(0, min(now_ms - self._looked_ms, GLANCE_MS))
        self._looked_ms = now_ms
        self._stood_ms = {
            each: self._stood_ms[each] + passed_ms if self._positions.get(each) == position else 0
            for each, position in behind.items()
        }
        self._positions = dict(behind)
        self._stopped = {each: at for each, at in self._stopped.items() if behind.get(each) == at}
        if not self._stopped:
            self._replaced = 0
        if max(self._stood_ms.values(), default=0) < PATIENCE_MS[self._replaced]:
            return Verdict.KEEP
        self._stopped = {each: at for each, at in behind.items() if self._stood_ms[each] >= PATIENCE_MS[self._replaced]}
        self._stood_ms = dict.fromkeys(self._stood_ms, 0)
        self._replaced = (self._replaced + 1) % len(PATIENCE_MS)
        return Verdict.REPLACE if self._replaced else Verdict.GIVE_UP

    @property
    def stopped(self) -> list[_K]:
        """What stood still when the last verdict was not to keep the consumer."""
        return list(self._stopped)
