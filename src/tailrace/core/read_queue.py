"""Which shard of a lane is read next: the one that has been due for the longest."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping

from tailrace.core.reading import Phase, Reading
from tailrace.core.shard import ShardRef


class ReadQueue:
    """The shards of a lane that are ready, by the time of their next read.

    An entry counts as long as its reading is the shard's present one and is ready: nobody takes it out otherwise.
    """

    def __init__(self, readings: Mapping[ShardRef, Reading]) -> None:
        """`readings` are the lane's present ones, followed as they change."""
        self._readings = readings
        self._heap: list[tuple[int, int, Reading]] = []
        self._numbers = itertools.count()

    def add(self, reading: Reading) -> None:
        """Add a reading that has just become ready."""
        heapq.heappush(self._heap, (reading.next_read_ms, next(self._numbers), reading))

    def first(self) -> Reading | None:
        """Give the reading that is due first, without taking it out."""
        while self._heap and not self._is_ready(self._heap[0][2]):
            heapq.heappop(self._heap)
        return self._heap[0][2] if self._heap else None

    def clear(self) -> None:
        """Forget all."""
        self._heap.clear()

    def _is_ready(self, reading: Reading) -> bool:
        return reading.phase is Phase.READY and self._readings.get(reading.shard) is reading
