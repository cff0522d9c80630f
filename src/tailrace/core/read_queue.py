"""Which shard of a lane is read next: the one that has been due longest."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping

from tailrace.core.shard import ShardRef
from tailrace.core.shard_state import Phase, ShardState


class ReadQueue:
    """The shards of a lane that are ready, by the time of their next read.

    An entry is valid while its state is the shard's current one and ready; stale entries are skipped, not removed.
    """

    def __init__(self, shard_states: Mapping[ShardRef, ShardState]) -> None:
        """`shard_states` is the lane's current mapping, which may change."""
        self._shard_states = shard_states
        self._heap: list[tuple[int, int, ShardState]] = []
        self._numbers = itertools.count()

    def add(self, shard_state: ShardState) -> None:
        """Add a shard that has just become ready."""
        heapq.heappush(self._heap, (shard_state.next_read_ms, next(self._numbers), shard_state))

    def first(self) -> ShardState | None:
        """Return the shard that is due first, without removing it."""
        while self._heap and not self._is_ready(self._heap[0][2]):
            heapq.heappop(self._heap)
        return self._heap[0][2] if self._heap else None

    def clear(self) -> None:
        """Remove all."""
        self._heap.clear()

    def _is_ready(self, shard_state: ShardState) -> bool:
        return shard_state.phase is Phase.READY and self._shard_states.get(shard_state.shard) is shard_state
