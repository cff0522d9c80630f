"""The worker's clock: the wall's time, but never backwards."""

from __future__ import annotations

import threading
import time


class Clock:
    """Milliseconds since the epoch. When the wall's clock is set back, time goes on from where it was."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_ns = 0
        self._last_monotonic_ns = 0

    def __call__(self) -> int:
        """Return the time."""
        with self._lock:
            monotonic_ns = time.monotonic_ns()
            went_on_ns = self._last_ns + monotonic_ns - self._last_monotonic_ns
            self._last_ns = max(time.time_ns(), went_on_ns) if self._last_ns else time.time_ns()
            self._last_monotonic_ns = monotonic_ns
            return self._last_ns // 1_000_000
