"""Spacing calls out, for the limits that AWS sets to a whole account."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Pace:
    """Lets a call through every `1 / per_second` seconds at most. Safe to use from many threads at once."""

    def __init__(self, per_second: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._interval_s = 1 / per_second
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next_s = clock()

    def wait(self) -> None:
        """Return when the next call may be made."""
        with self._lock:
            now_s = self._clock()
            turn_s = max(now_s, self._next_s)
            self._next_s = turn_s + self._interval_s
        if turn_s > now_s:
            self._sleep(turn_s - now_s)
