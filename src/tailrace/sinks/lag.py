"""How far the partitions that a process carries into a sink are behind their topics."""

from __future__ import annotations

import contextlib
import time
from typing import Final

from tailrace.errors import UnreachableError
from tailrace.sinks.runner import Runner
from tailrace.sinks.topics import Topics

_MEASURE_S: Final = 15.0
"""Time between two looks at how far the topics are."""


class Lag:
    """Measures it, in the thread of its runner."""

    def __init__(self, runner: Runner, topics: Topics) -> None:
        self.offsets = 0
        """Those that the partitions of the runner have beyond what the target has of them."""
        self._runner = runner
        self._topics = topics
        self._measured_s = 0.0

    def measure(self) -> None:
        """Look, if the last time is long enough ago; fails without a word, as there will be another look."""
        if time.monotonic() < self._measured_s + _MEASURE_S:
            return
        committed = self._runner.committed
        with contextlib.suppress(UnreachableError):
            ends = self._topics.ends(list(committed))
            self.offsets = sum(max(0, end - committed[place]) for place, end in ends.items())
        self._measured_s = time.monotonic()
