"""Bounds and pauses of a lane."""

from __future__ import annotations

import msgspec

from tailrace.core.pacing import Backoff, Pacing
from tailrace.core.source_policy import SourcePolicy


class LaneOptions(msgspec.Struct, frozen=True):
    """What a lane may hold, how long it waits, and how it treats bad records."""

    source: SourcePolicy
    batch_changes: int = 5_000
    batch_bytes: int = 8 << 20
    linger_ms: int = 50
    buffer_bytes: int = 16 << 20
    """Bound of the pages that a lane holds, those being read counted as the source's `page_bytes` each."""
    memory_bytes: int = 48 << 20
    """Bound of the pages that all lanes of a worker hold together."""
    pacing: Pacing = Pacing()
    errors_fail: bool = False
    """A record that cannot be published stops its shard instead of becoming a dead letter."""
    read_backoff: Backoff = Backoff(base_ms=200, max_ms=20_000)
    reclaim_backoff: Backoff = Backoff(base_ms=200, max_ms=20_000)
    fenced_pause_ms: int = 5_000
    """Pause before a fenced lane is claimed again: long enough to learn from the group that another worker has it."""
    refused_backoff: Backoff = Backoff(base_ms=15_000, max_ms=300_000)
    """Pause before a shard is read again whose topic the broker refuses: each attempt costs the lane a claim."""
    catch_up_timeout_ms: int = 30_000
