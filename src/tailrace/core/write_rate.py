"""How fast tables are written: so many write capacity units a second, and slower while they throttle. Pure."""

from __future__ import annotations

from typing import Final

_SLOWER: Final = 0.7
_FASTER_PER_S: Final = 0.1
"""Part of itself that the rate gains in each second without throttling."""
_QUIET_MS: Final = 5_000
"""After so long without throttling the rate is far below what the table takes: it doubles each second."""
_UNITS_MIN: Final = 1.0
_UNBOUND: Final = 40_000.0
"""A rate beyond it bounds nothing: a table has no more, unless AWS was asked for it."""
_SETTLING_MS: Final = 500
"""What is throttled so soon after the rate was lowered was sent before."""
_MEASURED_MS: Final = 1_000
"""How long the use is measured from which the rate is lowered."""


class WriteRate:
    """A token bucket that may go into debt, as what a write costs is known after it. Throttling lowers its rate."""

    def __init__(self, limit: float | None, now_ms: int) -> None:
        """`limit` is in units a second; None: as much as is not throttled."""
        self._limit = limit
        self._rate: float | None = None
        """Once throttling has lowered it; None: the limit."""
        self._tokens = 0.0
        self._at_ms = now_ms
        self._lowered_ms: int | None = None
        self._since_ms = now_ms
        self._used = 0.0
        """Since then."""
        self._measured = 0.0
        """Units a second, over the whole interval before."""

    @property
    def units_per_s(self) -> float | None:
        """The present rate; None: nothing bounds it."""
        return self._limit if self._rate is None else self._rate

    def used(self, units: float, now_ms: int) -> None:
        """Count a write."""
        self._pass(now_ms)
        self._used += units
        self._tokens -= units

    def throttled(self, now_ms: int) -> None:
        """Slow down: a table has no capacity left."""
        self._pass(now_ms)
        if self._lowered_ms is not None and now_ms < self._lowered_ms + _SETTLING_MS:
            return
        self._lowered_ms = now_ms
        passed_s = max(1, now_ms - self._since_ms) / 1000
        used = max(self._measured, self._used / max(passed_s, _MEASURED_MS / 1000))
        self._rate = max(_UNITS_MIN, _SLOWER * (used if self._rate is None else min(self._rate, max(used, _UNITS_MIN))))
        self._tokens = min(self._tokens, 0.0)

    def wait_ms(self, now_ms: int) -> int:
        """Return how long to wait before the next write; 0: it may begin."""
        self._pass(now_ms)
        rate = self.units_per_s
        return 0 if rate is None or self._tokens >= 0 else int(-self._tokens / rate * 1000) + 1

    def _pass(self, now_ms: int) -> None:
        passed_s = max(0, now_ms - self._at_ms) / 1000
        self._at_ms = max(self._at_ms, now_ms)
        if now_ms - self._since_ms >= _MEASURED_MS:
            self._measured = self._used * 1000 / (now_ms - self._since_ms)
            self._since_ms, self._used = now_ms, 0.0
        if self._rate is not None:
            is_quiet = self._lowered_ms is not None and self._at_ms - self._lowered_ms > _QUIET_MS
            self._rate *= (1 + (1 if is_quiet else _FASTER_PER_S)) ** passed_s
            if self._rate >= (self._limit or _UNBOUND):
                self._rate = None
        rate = self.units_per_s
        self._tokens = 0.0 if rate is None else min(self._tokens + rate * passed_s, rate)
