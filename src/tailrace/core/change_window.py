"""What was published lately: shows that a change is a repeat, or older than one of its item that is published."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from tailrace.core.ports import LogRecord

CHANGE_BYTES: Final = 400
"""Memory of one change of a window, measured: two digests of 16 bytes, their places in two maps and two lists."""
_GENERATIONS: Final = 8
"""A window forgets its changes by generations: each lasts this part of it, so a window is longer by up to that part."""
_GENERATION_CHANGES: Final = 1_000
"""Most changes of a generation: so many are forgotten at a time when memory runs out."""


class Verdict(StrEnum):
    """What a change is to those before it."""

    NEW = "new"
    REPEAT = "repeat"
    LATE = "late"
    """A newer change of the item is in the window."""


@dataclass(eq=False)
class _Generation:
    """The changes of some time in a row."""

    began_ms: int
    """When its first change arrived."""
    first: str | None
    """Where the window's own shard is read again to fill it; None: it has changes of ancestors only."""
    last_ms: int = 0
    identities: list[bytes] = field(default_factory=list)
    items: list[bytes] = field(default_factory=list)


class WindowBudget:
    """Memory that windows share: when it is used up, the oldest changes are forgotten before their time.

    Not safe for several threads at once.
    """

    def __init__(self, size_bytes: int) -> None:
        self.forgotten_early = 0
        """Changes that were forgotten before their time."""
        self._changes_max = size_bytes // CHANGE_BYTES
        self._windows: dict[ChangeWindow, None] = {}
        self._changes = 0

    def add(self, window: ChangeWindow) -> None:
        """Let a window share it."""
        self._windows[window] = None

    def remove(self, window: ChangeWindow) -> None:
        """Take a window out, with what it holds."""
        if window in self._windows:
            del self._windows[window]
            self._changes -= window.changes

    def hold(self, changes: int) -> None:
        """Count changes, or with a negative number those that were forgotten, and make room."""
        self._changes += changes
        while changes > 0 and self._changes > self._changes_max and self._forget_oldest():
            pass

    def _forget_oldest(self) -> bool:
        oldest = min(self._windows, key=lambda window: window.since_ms, default=None)
        if oldest is None or not (forgotten := oldest.forget_oldest()):
            return False
        self.forgotten_early += forgotten
        return True


class ChangeWindow:
    """The changes of a shard, and of the tails of its ancestors, that arrived in the last `window_ms`.

    Time is when changes arrive in the stream, so that what a window holds follows from the stream alone, and reading
    from `first` again fills it in the same way. A repeat counts from its own arrival.
    """

    def __init__(self, window_ms: int, budget: WindowBudget) -> None:
        self.changes = 0
        """How many are counted in the budget."""
        self._window_ms = window_ms
        self._budget = budget
        self._generations: deque[_Generation] = deque()
        self._seen: dict[bytes, _Generation] = {}
        self._newest: dict[bytes, tuple[int, _Generation]] = {}
        """The newest creation time of each item, and when the item was last met."""
        budget.add(self)

    @property
    def first(self) -> str | None:
        """The first sequence number of the shard in the window; None: there is none yet."""
        return next((each.first for each in self._generations if each.first is not None), None)

    @property
    def since_ms(self) -> float:
        """When the oldest change arrived; endless without one."""
        return self._generations[0].began_ms if self._generations else float("inf")

    def see(self, record: LogRecord, page_first: str | None) -> Verdict:
        """Return what a change is to those in the window, and take it in.

        `page_first` is the first sequence number of its page, which may not be in the shard's order; None: it is of an
        ancestor.
        """
        generation = self._generation(record.arrived_ms, page_first)
        verdict = self._verdict(record)
        if not record.identity:
            return verdict
        if verdict is not Verdict.REPEAT:
            newest_us, _ = self._newest.get(record.item, (0, generation))
            self._newest[record.item] = max(newest_us, record.created_us), generation
            generation.items.append(record.item)
        self._seen[record.identity] = generation
        generation.identities.append(record.identity)
        self._count(1)
        return verdict

    def forget_oldest(self) -> int:
        """Forget the oldest generation; return how many changes that were."""
        if not self._generations:
            return 0
        oldest = self._generations.popleft()
        for identity in oldest.identities:
            if self._seen.get(identity) is oldest:
                del self._seen[identity]
        for item in oldest.items:
            newest = self._newest.get(item)
            if newest is not None and newest[1] is oldest:
                del self._newest[item]
        self._count(-len(oldest.identities))
        return len(oldest.identities)

    def _verdict(self, record: LogRecord) -> Verdict:
        if not record.identity:
            return Verdict.NEW
        if record.identity in self._seen:
            return Verdict.REPEAT
        newest = self._newest.get(record.item)
        is_late = newest is not None and 0 < record.created_us < newest[0]
        return Verdict.LATE if is_late else Verdict.NEW

    def _generation(self, arrived_ms: int, page_first: str | None) -> _Generation:
        """Return the generation of a change that arrived now, and forget those that are too old."""
        if self._generations:
            current = self._generations[-1]
            is_of_its_time = arrived_ms - current.began_ms <= self._window_ms // _GENERATIONS
            if is_of_its_time and len(current.identities) < _GENERATION_CHANGES:
                current.last_ms = max(current.last_ms, arrived_ms)
                if current.first is None:
                    current.first = page_first
                return current
            while self._generations and self._generations[0].last_ms < arrived_ms - self._window_ms:
                self.forget_oldest()
        self._generations.append(_Generation(arrived_ms, page_first, arrived_ms))
        return self._generations[-1]

    def _count(self, changes: int) -> None:
        self.changes += changes
        self._budget.hold(changes)
