"""Which faults a history has, and how often: each seed draws its own (swarm testing)."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from typing import Self


@dataclass
class Faults:
    """Probabilities and rates; zero is off. `stop` ends all of them."""

    late_ms = (1_000, 40_000)
    """How long a late request is under way: mostly longer than its sender waits. Not drawn."""

    handed_over_late_ms = (10, 8_000)
    """How long the enumerator's writes wait, when they do. Not drawn."""

    # For each step of a worker
    nap: float = 0.012
    """It sleeps, mostly past the session's time-out."""
    # For each request to the broker
    request_lost: float = 0.03
    answer_lost: float = 0.03
    request_late: float = 0.04
    # For each commit
    sent_twice: float = 0.15
    """The client sends it again by itself; the first copy comes late."""
    # For each read
    read_failed: float = 0.15
    read_slow: float = 0.1
    wrongly_gone: float = 0.03
    """A shard that exists is said to be gone, for some seconds, or for so long that it is a gap; nothing is lost."""
    empty_page: float = 0.3
    repeats: float = 0.5
    # For each call of the enumerator
    listing_failed: float = 0.15
    hole: float = 0.4
    """For each shard of a listing."""
    shown_late: float = 0.7
    """For each shard."""
    handed_over_late: float = 0.2
    """For each time that the enumerator has something to publish."""
    # For each change
    huge: float = 0.03
    colossal: float = 0.02
    """Even its dead letter is too large."""
    poison: float = 0.03
    """It cannot be converted."""
    # For each rebalance
    abrupt: float = 0.7
    """The lane is given away before its owner knows."""
    late: float = 0.5
    """What a member is told comes late, or never until the faults stop."""
    # For each fetch of the follower
    slow_follower: float = 0.3
    stalled_partition: float = 0.03
    """For each partition: it shows nothing new for some seconds."""
    stopped_follower: float = 0.005
    """Its client fetches nothing more, for good."""
    # For each second
    rebalance: float = 0.25
    kill: float = 0.06
    stop_worker: float = 0.06
    compaction: float = 0.4
    split: float = 0.25
    merge: float = 0.1
    topic_refused: float = 0.04
    buffer_full: float = 0.1
    quarter_of_an_hour: float = 0.03
    half_a_day: float = 0.02
    a_day: float = 0.02
    newer_version: float = 0.5
    """For each worker that starts: it writes the next version's records, which this version can read."""
    upgrade: float = 0.02
    """From now on workers write records that this version cannot read."""

    @classmethod
    def drawn(cls, rng: random.Random) -> Self:
        """Each fault is off, rare or frequent."""
        return cls(**{f.name: getattr(cls, f.name) * rng.choice((0.0, 0.3, 1.0)) for f in fields(cls)})

    def stop(self) -> None:
        for fault in fields(self):
            setattr(self, fault.name, 0.0)

    def __str__(self) -> str:
        on = {f.name: getattr(self, f.name) for f in fields(self)}
        return ", ".join(f"{name} {rate:.3g}" for name, rate in on.items() if rate) or "none"


@dataclass
class RepeatingFaults(Faults):
    """Those of a source that repeats changes and gives them out of order."""

    # For each change
    repeated: float = 0.3
    """It comes again, some time later."""
    delayed: float = 0.3
    """It comes behind later ones."""
