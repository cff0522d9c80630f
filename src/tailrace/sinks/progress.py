"""Decides where a partition is resumed, what of it is missing, and when its batch is committed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Position(NamedTuple):
    """How far the target has a partition, as the target itself answers."""

    next_offset: int
    """Every committed record before it is in the target, and none from it on."""
    topic_id: str
    """Kafka's id of the records' topic: a topic that is created again under the same name has another id."""
    bound: int | None = None
    """Where the batch that begins here must end: an interrupted writer has written some of that batch already."""


class Extent(NamedTuple):
    """What Kafka holds of a partition at a moment."""

    start: int
    """The oldest offset that retention has left."""
    end: int
    """The offset behind the newest record, committed or not (the high watermark)."""
    topic_id: str


class Obstacle(Enum):
    """Why a partition cannot be resumed; the value completes a sentence that begins with the partition."""

    DELETED = "no longer has the records that come next"
    BEYOND_END = "ends before the position of the target"
    RECREATED = "is of a topic that was deleted and made again"


def resume_offset(position: Position | None, extent: Extent) -> int | Obstacle:
    """Return the offset to read from, or why there is none. A target without the partition begins with the oldest."""
    if position is None:
        return extent.start
    if position.topic_id != extent.topic_id:
        return Obstacle.RECREATED
    if position.next_offset < extent.start:
        return Obstacle.DELETED
    if position.next_offset > extent.end:
        return Obstacle.BEYOND_END
    return position.next_offset


def has_all(position: Position | None, extent: Extent) -> bool:
    """Return whether the target holds all that the partition held at that moment."""
    return extent.end <= max(extent.start, position.next_offset if position else 0)


@dataclass(frozen=True)
class Limits:
    """When a batch is committed."""

    size_bytes: int = 64_000_000
    """As soon as its keys and values are so large; what was read together with the last of them is in it too."""
    age_ms: int = 60_000
    """At the latest so long after its first record was read."""


class OpenBatch:
    """What was written of a partition and is not committed yet."""

    def __init__(self, next_offset: int, bound: int | None = None) -> None:
        self.committed: int = next_offset
        """The position that the target holds."""
        self.bound = bound
        """Where it must end, if an earlier writer has decided that."""
        self.count = 0
        self.size_bytes = 0
        self._opened_ms: int | None = None

    def add(self, count: int, size_bytes: int) -> None:
        """Note records that were written."""
        self.count += count
        self.size_bytes += size_bytes

    def is_due(self, position: int, limits: Limits, now_ms: int) -> bool:
        """Return whether to commit now, having read up to `position`.

        A position that moved over aborted records and markers alone is due too: once retention deletes those, the
        target would seem to lack records.
        """
        if self.bound is not None:
            return self.is_bound_by(position)
        if position <= self.committed:
            return False
        if self._opened_ms is None:
            self._opened_ms = now_ms
        return self.size_bytes >= limits.size_bytes or self.has_waited(limits, now_ms)

    def has_waited(self, limits: Limits, now_ms: int) -> bool:
        """Return whether it is as old as it may become."""
        return self._opened_ms is not None and now_ms - self._opened_ms >= limits.age_ms

    def is_bound_by(self, position: int) -> bool:
        """Return whether it has a bound that was read up to."""
        return self.bound is not None and position >= self.bound

    def end(self, position: int) -> int | None:
        """Return where to commit now, having read up to `position`; None: there is nothing that may be committed."""
        if self.bound is not None:
            return self.bound if self.is_bound_by(position) else None
        return position if position > self.committed else None

    def committed_to(self, position: int) -> None:
        """Note a commit, and begin the next batch."""
        self.committed = position
        self.bound = None
        self.count = self.size_bytes = 0
        self._opened_ms = None
