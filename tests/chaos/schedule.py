"""Which fault comes when: drawn from a seed, the same for the same seed, length and number of kills. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What is done. `Step.seconds` is how long it lasts, where it lasts."""

    KILL = "SIGKILL of a worker"
    """Another is started after `seconds`."""
    STOP = "SIGTERM of a worker"
    """Another is started after `seconds`."""
    FREEZE = "SIGSTOP past the session time-out"
    DOZE = "SIGSTOP for a moment"
    JOIN = "one worker more for a while"
    CLOCK = "clock jump of a worker"
    """By `seconds`, forward or backward."""
    BROKER_KILL = "SIGKILL of a broker"
    BROKER_RESTART = "restart of a broker"
    BROKER_HUNGER = "restart of a broker while other programs take the CPU"
    """They go on for `seconds` after it has come back."""
    BROKER_FREEZE = "SIGSTOP of a broker"
    LEADERS = "election of preferred leaders"
    CUT = "connection cut"
    DELAY = "connection slowed"
    HOLE = "connection silenced"
    SLOW_BROKERS = "all answers to producers slowed"
    """So that the clients' buffers fill."""
    COMMIT_UNHEARD = "answer to a commit lost"
    COMMIT_LATE = "commit sent again, its first copy late"
    """The first copy reaches the broker `seconds` later."""
    SPLIT = "shard split"
    ROLLOVER = "shard rolled over"
    MERGE = "shards merged"
    TRIM = "oldest records forgotten"
    SNAPSHOT = "snapshot started"
    SNAPSHOT_PAUSE = "snapshot paused for a while"
    SNAPSHOT_CANCEL = "snapshot cancelled"


class SourceKind(StrEnum):
    """What the workers read, as the pipeline file calls it."""

    STREAMS = "dynamodb-streams"
    KINESIS = "kinesis"


@dataclass(frozen=True)
class Step:
    """One fault of the schedule."""

    at_s: float
    """Since the beginning."""
    kind: Kind
    which: float
    """From 0 to below 1: which of the candidates it meets."""
    seconds: float

    def __str__(self) -> str:
        lasting = f", {self.seconds:+.1f} s" if self.kind is Kind.CLOCK else f", {self.seconds:.1f} s"
        return f"{self.at_s:7.1f} s  {self.kind} ({self.which:.3f}{lasting if self.seconds else ''})"


@dataclass(frozen=True)
class _Often:
    every_s: float
    """Mean time between two."""
    shortest_s: float = 0.0
    longest_s: float = 0.0


SESSION_TIMEOUT_S = 6.0
_FAULTS = {
    Kind.STOP: _Often(75, 0, 5),
    Kind.FREEZE: _Often(60, SESSION_TIMEOUT_S + 1, SESSION_TIMEOUT_S + 7),
    Kind.DOZE: _Often(45, 0.3, 4),
    Kind.JOIN: _Often(150, 10, 30),
    Kind.CLOCK: _Often(40, 0.1, 1),
    Kind.BROKER_KILL: _Often(180, 1, 10),
    Kind.BROKER_RESTART: _Often(240),
    Kind.BROKER_HUNGER: _Often(240, 1, 10),
    Kind.BROKER_FREEZE: _Often(240, 1, 8),
    Kind.LEADERS: _Often(60),
    Kind.CUT: _Often(6),
    Kind.DELAY: _Often(20, 2, 10),
    Kind.HOLE: _Often(20, 1, 12),
    Kind.SLOW_BROKERS: _Often(120, 2, 6),
    Kind.COMMIT_UNHEARD: _Often(20),
    Kind.COMMIT_LATE: _Often(10, 0, 1),
}
_FAULTS_OF_SOURCE = {
    SourceKind.STREAMS: {Kind.ROLLOVER: _Often(3)},
    SourceKind.KINESIS: {Kind.MERGE: _Often(10), Kind.TRIM: _Often(60)},
}
_FAULTS_WITH_SNAPSHOTS = {
    Kind.SNAPSHOT: _Often(8),
    Kind.SNAPSHOT_PAUSE: _Often(20, 1, 8),
    Kind.SNAPSHOT_CANCEL: _Often(45),
}
_FAULTS_WITHOUT_SNAPSHOTS = {Kind.CLOCK: _Often(40, 1, 1800)}


def source_of(seed: int) -> SourceKind:
    """Return what a run reads unless it is told: four seeds in a row each."""
    return SourceKind.KINESIS if seed // 4 % 2 else SourceKind.STREAMS


def has_snapshots(seed: int) -> bool:
    """Return whether a run plays snapshots. The order of rows needs clocks that are right within a second: one run in
    four goes without, and its clocks jump by up to half an hour."""
    return seed % 4 != 3


def draw(seed: int, source: SourceKind, *, seconds: float, kills: int, splits: int) -> list[Step]:
    """Return the steps of a run, in their order. Each kind of its faults comes at least once, however short it is.

    A kind has randomness of its own: more kills do not make other faults come at other times.
    """
    steps = [*_evenly(seed, Kind.KILL, kills, seconds, longest_s=3.0), *_evenly(seed, Kind.SPLIT, splits, seconds)]
    more = _FAULTS_WITH_SNAPSHOTS if has_snapshots(seed) else _FAULTS_WITHOUT_SNAPSHOTS
    for kind, often in (_FAULTS | _FAULTS_OF_SOURCE[source] | more).items():
        steps += _now_and_then(random.Random(f"{seed}/{kind.name}"), kind, often, seconds)
    return sorted(steps, key=lambda step: (step.at_s, step.kind))


def _evenly(seed: int, kind: Kind, count: int, seconds: float, *, longest_s: float = 0.0) -> Iterator[Step]:
    rng = random.Random(f"{seed}/{kind.name}")
    for number in range(count):
        yield Step((number + rng.uniform(0.1, 0.9)) / count * seconds, kind, rng.random(), rng.uniform(0, longest_s))


def _now_and_then(rng: random.Random, kind: Kind, often: _Often, seconds: float) -> Iterator[Step]:
    times: list[float] = []
    at_s = rng.uniform(0.2, 1.2) * often.every_s
    while at_s < seconds:
        times.append(at_s)
        at_s += rng.uniform(0.5, 1.5) * often.every_s
    for each_s in times or [rng.uniform(0.1, 0.8) * seconds]:
        lasting_s = rng.uniform(often.shortest_s, often.longest_s)
        if kind is Kind.CLOCK:  # as often little as much, forward as backward
            lasting_s = rng.choice([-1, 1]) * often.shortest_s * (often.longest_s / often.shortest_s) ** rng.random()
        yield Step(each_s, kind, rng.random(), lasting_s)
