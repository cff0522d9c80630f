"""When to read a shard again: at once while there is more, then slower the longer it is quiet."""

from __future__ import annotations

import msgspec

_EAGER_EMPTY_READS = 10
"""How many empty pages in a row a closed shard may return before it is paced like an open one."""


_AWAITED_PAUSE_MS = 400
"""Longest pause between two reads of a shard for which a snapshot waits: two readers may share its 5 reads a second."""


class Pacing(msgspec.Struct, frozen=True):
    """Bounds of the pause between two reads of an open shard, since a source may bill every read."""

    min_ms: int = 100
    max_ms: int = 1_000

    def awaited(self) -> Pacing:
        """Return the pacing of a shard for which a snapshot waits."""
        return msgspec.structs.replace(self, max_ms=max(self.min_ms, min(self.max_ms, _AWAITED_PAUSE_MS)))

    def pause_ms(self, *, empty_reads: int, full: bool, closed: bool) -> int:
        """Return the pause after a read: `empty_reads` is the number of empty pages in a row until now."""
        if full or (closed and empty_reads <= _EAGER_EMPTY_READS):
            return 0
        return min(self.max_ms, self.min_ms << min(empty_reads, 20))


class Backoff(msgspec.Struct, frozen=True):
    """Exponential back-off with equal jitter: half of the pause is fixed, half is random."""

    base_ms: int
    max_ms: int

    def pause_ms(self, failures: int, jitter: float) -> int:
        """Return the pause after the `failures`-th failure in a row (from 1); `jitter` lies in [0, 1)."""
        ceiling = min(self.max_ms, self.base_ms << min(failures - 1, 20))
        return int(ceiling * (0.5 + jitter / 2))
