"""What the histories have reached: the lane's states and events, the phases of reading, where hosts slept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import get_args

from tailrace.core.lane import LaneState
from tailrace.core.lane_messages import Event
from tailrace.core.shard_state import Phase

STATES = {state.value for state in LaneState}
EVENTS = {event.__name__ for event in get_args(Event)}
"""What a worker tells its lanes: it makes a lane when it is assigned one, and so need not tell it."""


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


_ANSWERED_ONCE = "a producer call has one answer, and the lane waits for it in another state"
_NOT_WOKEN = "the lane asks to be woken in no such state"
_NO_WORK = "a lane is idle only without shards, and then has neither reads nor a enumerator"

IMPOSSIBLE_EVENTS: dict[tuple[str, str], str] = {
    **{("released", event): "the worker drops a released lane at once" for event in EVENTS},
    **{(state, "ProducerOpened"): _ANSWERED_ONCE for state in STATES - {"opening", "releasing"}},
    **{(state, "Committed"): _ANSWERED_ONCE for state in STATES - {"taking", "active", "releasing"}},
    **{(state, "ProducerLost"): _ANSWERED_ONCE for state in STATES - {"opening", "taking", "active", "releasing"}},
    **{(state, "Tick"): _NOT_WOKEN for state in ("idle", "opening", "taking", "releasing")},
    **{("idle", event): _NO_WORK for event in ("PageRead", "ReadFailed", "PublishLineage")},
}
"""What no lane meets in a state, and why."""

PHASE_CHANGES: dict[str, set[str]] = {
    "-": {"waiting", "ready", "reading", "drained", "ended", "paused", "gap"},
    "waiting": {"ready", "reading", "drained", "paused", "gap"},
    "ready": {"reading", "paused"},
    "reading": {"ready", "drained", "paused", "gap", "failed"},
    "drained": {"ended", "paused"},
    "paused": {"waiting", "ready", "reading", "drained", "ended", "gap"},
    "gap": {"reading", "ready"},
}
"""How a shard's phase changes from one event to the next (`-`: it was not there). The rest is impossible: ended and
failed are left only with the lane; a shard drains, fails or meets a gap while it is read, or before it is read first;
a gap is left by an acceptance alone."""

STEPS = {
    "AddPartitions answered", "Assigned", "CloseProducer", "Commit", "Committed", "DescribeStream", "DescribeTable",
    "EndTxn answered", "Follow", "InitProducerId answered", "Lost", "OpenProducer", "PageRead", "Produce answered",
    "ProducerLost", "ProducerOpened", "PublishLineage", "Read", "ReadFailed", "Revoked", "Start", "Tick", "Wait",
    "answer", "message", "start of lane", "start of enumerator", "stop",
}  # fmt: skip
"""Steps of a worker: before each of them some host slept past its session."""
