"""How fast a table is read: so many read capacity units a second, and slower while the table throttles. Pure."""

from __future__ import annotations

from typing import Final

_SLOWER: Final = 0.5
_FASTER_PER_S: Final = 0.1
"""Part of the limit that the rate gains in each second without throttling."""
_UNITS_MIN: Final = 1.0
_FIRST_READ_MS: Final = 20
"""The first read is alone, as it shows what reads cost; so long until one looks again whether it has ended."""
_BURST_S: Final = 1.0
"""How many seconds' worth of units may be used at once after a pause."""


class ReadRate:
    """A token bucket that may go into debt: what a read costs is known only after it."""

    def __init__(self, now_ms: int) -> None:
        self._limit = _UNITS_MIN
        self._rate: float | None = None
        """Units a second, once throttling has lowered it; None: the limit."""
        self._tokens = 0.0
        self._read_units: float | None = None
        """What the last read cost, so the next one will cost about as much; None before the first."""
        self._at_ms = now_ms

    def allow(self, units_per_s: float, now_ms: int) -> None:
        """Set the limit, units a second."""
        self._pass(now_ms)
        self._limit = max(_UNITS_MIN, units_per_s)

    def used(self, units: float, now_ms: int) -> None:
        """Count a read."""
        self._pass(now_ms)
        self._tokens -= units
        self._read_units = units

    def throttled(self, now_ms: int) -> None:
        """Slow down: the table has no capacity left."""
        self._pass(now_ms)
        self._rate = max(_UNITS_MIN, self.units_per_s * _SLOWER)
        self._tokens = min(self._tokens, -self._rate * _BURST_S)

    @property
    def units_per_s(self) -> float:
        """The present rate."""
        return self._limit if self._rate is None else min(self._limit, self._rate)

    def wait_ms(self, now_ms: int, *, under_way: int = 0) -> int:
        """Return how long to wait before the next read; 0: it may begin. `under_way` reads are not counted yet."""
        self._pass(now_ms)
        if under_way and self._read_units is None:
            return _FIRST_READ_MS
        tokens = self._tokens - under_way * (self._read_units or 0.0)
        return 0 if tokens >= 0 else int(-tokens / self.units_per_s * 1000) + 1

    def _pass(self, now_ms: int) -> None:
        passed_s = max(0, now_ms - self._at_ms) / 1000
        self._at_ms = max(self._at_ms, now_ms)
        if self._rate is not None:
            self._rate += self._limit * _FASTER_PER_S * passed_s
            if self._rate >= self._limit:
                self._rate = None
        self._tokens = min(self._tokens + self.units_per_s * passed_s, self.units_per_s * _BURST_S)
