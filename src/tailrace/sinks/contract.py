"""What the runner asks of a target: it keeps the records and how far it has them, and refuses all writers but one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from confluent_kafka import Message

from tailrace.kafka.watched_consumer import Place
from tailrace.sinks.progress import Position


class FencedError(Exception):
    """Another writer has claimed the partition, or committed to it: nothing of the open batch is in the target."""


class LaterError(Exception):
    """The target does not take more at the moment. What it has taken, its position says; the rest is read again."""


class Sink(Protocol):
    """A target as one process writes to it. Only the process that claimed a partition last can commit to it.

    Calls come from one thread. Whatever fails otherwise than told here is a WorldError.
    """

    @property
    def identity(self) -> str:
        """A name that the target itself keeps: whoever writes to it finds the same, and no other target has it."""
        ...

    def claim(self, place: Place, topic_id: str) -> Position | None:
        """Fence whoever wrote to the partition before, then return how far the target has it; None: nothing yet.

        What another writer committed after that is refused to this one at its next commit, so that of two writers who
        both believe that the partition is theirs, at most one continues from each position. `topic_id` is kept with
        a partition that the target does not have yet. A position with a bound is followed by a commit at just that
        bound. Raises FencedError when another writer claims it meanwhile.
        """
        ...

    def position(self, place: Place) -> Position | None:
        """Return how far the target has a partition, without claiming it."""
        ...

    def write(self, place: Place, records: Sequence[Message]) -> None:
        """Add records to the open batch of a claimed partition, in the order of their offsets. Raises FencedError."""
        ...

    def is_full(self, place: Place) -> bool:
        """Return whether the open batch is large enough to be committed now."""
        ...

    def commit(self, ends: Mapping[Place, int]) -> set[Place]:
        """Make the open batch of each partition and the position behind it visible, both or neither.

        Return the partitions that another writer has, of which nothing was committed. An end may lie behind offsets
        that hold no committed record; without records only the position moves. A target may take several partitions
        in one commit, or one after the other. Raises LaterError.
        """
        ...

    def release(self, places: Iterable[Place]) -> None:
        """Drop the open batches of partitions, and forget that they were claimed."""
        ...


def commit_each(commit: Callable[[Place, int], None], ends: Mapping[Place, int]) -> set[Place]:
    """Commit one partition after the other; return those for which `commit` raises FencedError."""
    fenced: set[Place] = set()
    for place, end in ends.items():
        try:
            commit(place, end)
        except FencedError:
            fenced.add(place)
    return fenced
