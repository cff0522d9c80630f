"""What the histories have reached: the lane's states and events, the phases of reading, where hosts slept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tailrace.core.lane import LaneState
from tailrace.core.lane_messages import Event
from tailrace.core.reading import Phase


class Coverage:
    """Counts, which can be added up."""

    def __init__(self) -> None:
        self.transitions: Counter[tuple[str, str, str]] = Counter()
        """State before, event, state after."""
        self.phases: Counter[tuple[str, str]] = Counter()
        self.naps: Counter[str] = Counter()
        """Steps before which a host slept past its session."""
        self.events: Counter[str] = Counter()

    def handled(self, before: LaneState, event: Event, after: LaneState) -> None:
        self.transitions[before.value, type(event).__name__, after.value] += 1

    def phase_changed(self, before: Phase | None, after: Phase) -> None:
        self.phases[before.value if before else "-", after.value] += 1

    def napped(self, step: str) -> None:
        self.naps[step] += 1

    def happened(self, what: str) -> None:
        self.events[what] += 1

    def add(self, other: Coverage) -> None:
        self.transitions += other.transitions
        self.phases += other.phases
        self.naps += other.naps
        self.events += other.events

    @property
    def pairs(self) -> set[tuple[str, str]]:
        """The states, with the events that came in them."""
        return {(before, event) for before, event, _ in self.transitions}

    def lines(self) -> Iterable[str]:
        """Tell it readably."""
        yield "lane: state, event -> state"
        for (before, event, after), count in sorted(self.transitions.items()):
            yield f"  {before:13} {event:15} -> {after:13} {count:9,}"
        yield "phases of reading"
        for (before, after), count in sorted(self.phases.items()):
            yield f"  {before:13} -> {after:13} {count:9,}"
        yield "slept past the session before"
        for step, count in sorted(self.naps.items()):
            yield f"  {step:30} {count:9,}"
        yield "happened"
        for what, count in sorted(self.events.items()):
            yield f"  {what:30} {count:9,}"
