"""What was published lately: shows that a change is a repeat, or older than one of its item that is published."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Final

from tailrace.core.ports import LogRecord

CHANGE_BYTES: Final = 300
"""Memory of one change of a window, measured: two digests of 15 bytes, and their places in three maps and a list."""
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


@dataclass(eq=False, slots=True)
class _Generation:
    """The changes of some time in a row."""

    owner: object
    """What stands for the window that filled it: those that take it over leave it as it is."""
    began_ms: int
    """When its first change arrived."""
    first: str | None
    """Where the window's own shard is read again to fill it; None: it has changes of ancestors only."""
    last_ms: int = 0
    identities: list[bytes] = field(default_factory=list)
    newest_us: dict[bytes, int] = field(default_factory=dict)
    """The newest creation time of each of its items, of earlier generations, too."""


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
        self._own = object()
        self._generations: deque[_Generation] = deque()
        self._seen: dict[bytes, _Generation] = {}
        self._met: dict[bytes, _Generation] = {}
        """When each item was last met."""
        budget.add(self)

    @property
    def first(self) -> str | None:
        """The first sequence number of the shard in the window; None: there is none yet."""
        own = (each.first for each in self._generations if each.owner is self._own)
        return next((first for first in own if first is not None), None)

    @property
    def since_ms(self) -> float:
        """When the oldest change arrived; endless without one."""
        return self._generations[0].began_ms if self._generations else float("inf")

    def see(self, records: Sequence[LogRecord], page_first: str | None) -> list[Verdict]:
        """Return what each change of a page is to those in the window and before it in the page, and take it in.

        `page_first` is the first sequence number of the page, which may not be in the shard's order; None: it is of an
        ancestor.
        """
        verdicts: list[Verdict] = []
        while len(verdicts) < len(records):
            generation = self._generation(records[len(verdicts)].arrived_ms, page_first)
            self._count(self._take_in(generation, records, verdicts))
        return verdicts

    def take_over(self, ended: Sequence[ChangeWindow]) -> None:
        """Begin with all that the windows of ancestors hold, as after reading these to their ends."""
        generations = dict.fromkeys(each for window in ended for each in window._generations)
        self._generations.extend(sorted(generations, key=lambda each: each.began_ms))
        for generation in self._generations:
            self._seen.update(dict.fromkeys(generation.identities, generation))
            self._met.update(dict.fromkeys(generation.newest_us, generation))
        self._count(sum(len(each.identities) for each in self._generations))

    def forget_oldest(self) -> int:
        """Forget the oldest generation; return how many changes that were."""
        if not self._generations:
            return 0
        oldest = self._generations.popleft()
        for identity in oldest.identities:
            if self._seen.get(identity) is oldest:
                del self._seen[identity]
        for item in oldest.newest_us:
            if self._met.get(item) is oldest:
                del self._met[item]
        self._count(-len(oldest.identities))
        return len(oldest.identities)

    def _take_in(self, generation: _Generation, records: Sequence[LogRecord], verdicts: list[Verdict]) -> int:
        """Judge the records behind those that have a verdict, as far as they are of a generation.

        Return how many changes that were. Every change passes this loop: it calls nothing that it need not.
        """
        seen, met = self._seen, self._met
        identities, newest_us = generation.identities, generation.newest_us
        ends_ms = generation.began_ms + self._window_ms // _GENERATIONS
        begins_with = len(identities)
        new = Verdict.NEW
        for record in islice(records, len(verdicts), None):
            arrived_ms = record.arrived_ms
            if arrived_ms > ends_ms or len(identities) >= _GENERATION_CHANGES:
                break
            if arrived_ms != generation.last_ms:
                generation.last_ms = max(generation.last_ms, arrived_ms)
            verdict = new
            if identity := record.identity:
                if identity in seen:
                    verdict = Verdict.REPEAT
                else:
                    item, item_us = record.item, record.created_us
                    if (last := met.get(item)) is not None and item_us < (known_us := last.newest_us[item]):
                        if item_us:
                            verdict = Verdict.LATE
                        item_us = known_us
                    newest_us[item] = item_us
                    met[item] = generation
                seen[identity] = generation
                identities.append(identity)
            verdicts.append(verdict)
        return len(identities) - begins_with

    def _generation(self, arrived_ms: int, page_first: str | None) -> _Generation:
        """Return the generation of a change that arrived now, and forget those that are too old."""
        if self._generations:
            current = self._generations[-1]
            is_of_its_time = arrived_ms - current.began_ms <= self._window_ms // _GENERATIONS
            if is_of_its_time and len(current.identities) < _GENERATION_CHANGES and current.owner is self._own:
                if current.first is None:
                    current.first = page_first
                return current
            while self._generations and self._generations[0].last_ms < arrived_ms - self._window_ms:
                self.forget_oldest()
        self._generations.append(_Generation(self._own, arrived_ms, page_first, arrived_ms))
        return self._generations[-1]

    def _count(self, changes: int) -> None:
        self.changes += changes
        self._budget.hold(changes)
