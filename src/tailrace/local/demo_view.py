"""What the demo shows while it runs: counts, rates, times, the snapshot, workers and the latest records."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from confluent_kafka import Message

from tailrace.local.checker import FoundChange, Written
from tailrace.local.committed import LiveReader
from tailrace.local.fleet import Fleet, WorkerState

LATEST_MAX = 8
_RATE_WINDOW_S = 2.0
_TIMES_WINDOW_S = 3.0


@dataclass(frozen=True)
class Times:
    """Write-to-visible times in milliseconds: from sending a write until a `read_committed` consumer has it."""

    p50_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, times_ms: Iterable[float]) -> Self | None:
        """Sum up; None when there are none."""
        ordered = sorted(times_ms)
        if not ordered:
            return None
        return cls(_percentile(ordered, 50), _percentile(ordered, 99), ordered[-1])


@dataclass(frozen=True)
class DemoView:
    """The demo at a moment."""

    elapsed_s: float
    phase: str
    done: float
    """How much of the writing is done, 0 to 1."""
    written: int
    visible: int
    write_rate: float
    visible_rate: float
    """Changes per second over the last seconds."""
    rows: int
    """Items of the snapshot of which a row is visible."""
    loaded: float
    """How many of the items of the snapshot are visible, by a row or a newer change, 0 to 1."""
    times: Times | None
    """Of the changes that became visible in the last seconds."""
    workers: tuple[WorkerState, ...]
    latest: tuple[Message, ...]
    """The last records but for tombstones, the newest last."""

    @property
    def is_complete(self) -> bool:
        """Whether all that was written, and all items of the snapshot, are visible."""
        return not self.waiting and self.loaded == 1

    @property
    def waiting(self) -> int:
        """Changes written that no consumer has seen yet."""
        return max(0, self.written - self.visible)


class Observation:
    """Follows the topics as a consumer would, and counts what becomes visible. A context manager as its reader is."""

    def __init__(
        self,
        kafka: Mapping[str, str],
        topics: Sequence[str],
        *,
        history: Sequence[Written],
        loaded: Sequence[Written],
        fleet: Fleet,
    ) -> None:
        """Follow `topics`; `history` grows as changes are made, `loaded` is what the snapshot is to publish."""
        self.visible = 0
        self.rows = 0
        self.reader = LiveReader(kafka, topics, self._see)
        self._history = history
        self._loaded = len(loaded)
        self._unloaded = {(item.table, item.key) for item in loaded}
        self._fleet = fleet
        self._began_s = time.monotonic()
        self._latest: deque[Message] = deque(maxlen=LATEST_MAX)
        self._times: deque[tuple[int, float]] = deque()
        self._counts: deque[tuple[float, int, int]] = deque()

    @property
    def is_loaded(self) -> bool:
        """Whether all items of the snapshot are visible."""
        return not self._unloaded

    def view(self, elapsed_s: float, phase: str, done: float) -> DemoView:
        """Return the present state; the rates are those since the calls of the last seconds."""
        now_s, written, visible = time.monotonic(), len(self._history), self.visible
        self._counts.append((now_s, written, visible))
        while self._counts[0][0] < now_s - _RATE_WINDOW_S:
            self._counts.popleft()
        then_s, then_written, then_visible = self._counts[0]
        span_s = max(now_s - then_s, 0.001)
        return DemoView(
            elapsed_s=elapsed_s,
            phase=phase,
            done=done,
            written=written,
            visible=visible,
            write_rate=(written - then_written) / span_s,
            visible_rate=(visible - then_visible) / span_s,
            rows=self.rows,
            loaded=1 - len(self._unloaded) / self._loaded,
            times=self._recent_times(),
            workers=tuple(self._fleet.states()),
            latest=tuple(self._latest),
        )

    def _recent_times(self) -> Times | None:
        since_ns = time.time_ns() - int(_TIMES_WINDOW_S * 1e9)
        while self._times and self._times[0][0] < since_ns:
            self._times.popleft()
        return Times.of(time_ms for _, time_ms in list(self._times))

    def _see(self, change: FoundChange, message: Message) -> None:
        """Count a record (the reader's thread)."""
        if change.op == "tombstone":
            return
        self._latest.append(message)
        item = change.table, change.key
        self.rows += change.op == "r" and item in self._unloaded
        self._unloaded.discard(item)
        if change.op == "r":
            return
        self.visible += 1
        if change.written_ns is not None:
            self._times.append((change.seen_ns, (change.seen_ns - change.written_ns) / 1e6))


def _percentile(ordered: Sequence[float], percent: int) -> float:
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
