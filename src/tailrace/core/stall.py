"""Decides whether a consumer has stopped while its topics move on, and what to do about it. Pure.

A Kafka client may stop for good after a broker was down, without an error, although a new one would work at once.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from enum import Enum
from typing import Final, Generic, TypeVar

PATIENCE_MS: Final = (20_000, 40_000, 80_000)
"""How long a consumer may make no progress: the original one, and its first and second replacement.

A client that lost its connection waits for up to 10 s (`reconnect.backoff.max.ms`); one on a slow link, for up to a
minute (`socket.timeout.ms`) for its first answer.
"""
GLANCE_MS: Final = 5_000
"""The maximum time that counts between two checks: a process that was frozen has not waited."""

_K = TypeVar("_K", bound=Hashable)


class Verdict(Enum):
    """What to do with the consumer."""

    KEEP = "keep it"
    REPLACE = "replace it by a new one"
    GIVE_UP = "give up: new ones stop as well"


def behind(positions: Mapping[_K, int], ends: Mapping[_K, int]) -> dict[_K, int]:
    """Return the position of each partition that is not at its end; -1 if it has no position yet.

    Partitions with an unknown end are left out.
    """
    return {each: positions.get(each, -1) for each, end in ends.items() if positions.get(each, -1) < end}


class Stall(Generic[_K]):
    """Remembers a consumer's position, across replacements."""

    def __init__(self) -> None:
        self._positions: dict[_K, int] = {}
        self._stood_ms: dict[_K, int] = {}
        self._stopped: dict[_K, int] = {}
        """Where the consumer that was replaced last had stopped."""
        self._replaced = 0
        self._looked_ms: int | None = None

    def look(self, behind: Mapping[_K, int], now_ms: int) -> Verdict:
        """Judge by the partitions that are certainly behind: leave out those that did not answer, or are at their
        end."""
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
        """The partitions without progress at the last verdict against the consumer."""
        return list(self._stopped)
