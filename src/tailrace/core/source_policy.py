"""What the protocol must know about a kind of source; each kind defines its own beside its reader (`sources/`)."""

from __future__ import annotations

import math

import msgspec


class SourcePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The promises and limits of a source that decide what the protocol may conclude."""

    retention_ms: int
    """How long a change can be read: the source may trim what is older, read or not. Where streams differ, the least.
    """
    page_bytes: int
    """Estimated memory of a page while it is being read, as Kafka records."""
    caught_up_reads: int
    """Number of empty pages in a row that prove that a shard is read to its end.

    For a source that pushes, the pauses between them must be longer than a change's delivery takes.
    """
    gone_after_ms: int
    """How long the source must deny a shard, each time it is asked, before the shard counts as gone."""
    clock_skew_ms: int
    """How far this host's clock may run ahead of the source's before `start: latest` could drop a change."""
    shards_per_call: int
    """How many shards one call of a listing returns at most. A stream is listed whole where that takes fewer calls than
    asking for each shard's children."""
    children_tries: int
    """How many times an ended shard's children are asked for again while none shows."""
    children_pause_ms: int
    """Pause before they are first asked for again; it doubles each time."""
    second_child_ms: int
    """How long listings may take from one child of a shard, or one first shard of a stream, to all: a listing that is
    asked for so long after one was found shows the others."""
    settle_ms: int
    """How long after a moment of this host's clock a shard must have been read for that moment to be surely covered:
    what a clock may be off from the source's and another worker's, and what creation times are rounded by."""
    time_steps_ms: tuple[int, ...]
    """Creation times are rounded down to one of these, ascending: each to the largest that divides it."""

    shard_life_ms: int = 48 * 3_600_000
    """How long after its last checkpoint a shard may still be in its stream."""
    read_interval_ms: int = 0
    """Least time between two reads of a shard."""
    read_bytes_per_second: int = 0
    """How much of a shard may be read in a second: after a large page the next one has to wait. 0: no limit."""
    carries_tables: bool = False
    """A stream may carry several tables, and a table may be in several streams."""
    delivery_ms: int = 0
    """How long after it was made a change may come into the source. 0: it is there at once."""
    replaced_is_gone: bool = False
    """Once another stream has replaced one, nothing of the former can be read any more."""
    window_ms: int = 0
    """The source may repeat a change within this time of its arrival. 0: it never does."""

    def next_read_ms(self, asked_ms: int, size_bytes: int) -> int:
        """Return when a shard may be read again after a page of `size_bytes` that was requested at `asked_ms`."""
        waits_ms = size_bytes * 1000 // self.read_bytes_per_second if self.read_bytes_per_second else 0
        return asked_ms + max(self.read_interval_ms, waits_ms)

    def created_before_ms(self, created_ms: int) -> float:
        """Return the end of the time in which a change was created; 0 stands for a time that is unknown."""
        if created_ms == 0:
            return math.inf
        return created_ms + max((step for step in self.time_steps_ms if created_ms % step == 0), default=1)
