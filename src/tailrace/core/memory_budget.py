"""How much all lanes of one worker hold in memory, and may hold."""

from __future__ import annotations


class MemoryBudget:
    """Bytes of pages, counted by lane. A lane that holds nothing may always take a page."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._held: dict[int, int] = {}
        self.held_bytes = 0

    def hold(self, lane: int, size_bytes: int) -> None:
        """Record how much a lane holds now."""
        self.held_bytes += size_bytes - self._held.get(lane, 0)
        self._held[lane] = size_bytes

    def fits(self, size_bytes: int) -> bool:
        """Return whether the budget allows this much more."""
        return self.held_bytes + size_bytes <= self._size_bytes
