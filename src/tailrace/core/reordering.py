"""Holds changes back for a while, so that those that come out of order can take their places."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from tailrace.core.ports import LogRecord

_PATIENCE: Final = 3
"""After this many times the wait a change goes, even if an older one of its item is behind it."""


class _Held(NamedTuple):
    record: LogRecord
    read_ms: int
    size_bytes: int


class Reordering:
    """The changes of a shard that were read and wait.

    Only a whole beginning of the shard goes, so that one position says what is published: those that have waited, and
    of whose items no older change is held behind them. Among them the changes of each item go by their creation times.
    """

    def __init__(self, wait_ms: int, bytes_max: int) -> None:
        """Hold nothing yet.

        A change goes when another one arrived `wait_ms` after it, or it was read so long ago; or when more than
        `bytes_max` wait.
        """
        self.size_bytes = 0
        self._wait_ms = wait_ms
        self._bytes_max = bytes_max
        self._held: deque[_Held] = deque()
        self._newest_ms = 0

    def __len__(self) -> int:
        """Return how many changes wait."""
        return len(self._held)

    def add(self, record: LogRecord, now_ms: int) -> None:
        """Hold a change back that was read at `now_ms`."""
        origin = record.record.origin
        size_bytes = (len(origin.body) if origin.end is None else origin.end) - origin.start
        self._held.append(_Held(record, now_ms, size_bytes))
        self.size_bytes += size_bytes
        self._newest_ms = max(self._newest_ms, record.arrived_ms)

    def released(self, now_ms: int, *, at_end: bool) -> list[LogRecord]:
        """Return what goes now, in its order: at the end of the shard all."""
        count = len(self._held) if at_end else self._count(now_ms)
        gone = [self._held.popleft() for _ in range(count)]
        self.size_bytes -= sum(each.size_bytes for each in gone)
        return _in_order([each.record for each in gone])

    def _count(self, now_ms: int) -> int:
        """Return how many changes go."""
        held = list(self._held)
        ready = next((place for place, each in enumerate(held) if not self._has_waited(each, now_ms, 1)), len(held))
        oldest_us: dict[bytes, int] = {}  # of each item, of what stays

        def stays(first: int, end: int) -> None:
            for each in held[first:end]:
                if created_us := each.record.created_us:
                    oldest_us[each.record.item] = min(created_us, oldest_us.get(each.record.item, created_us))

        cut = ready
        stays(ready, len(held))
        for place in range(ready - 1, -1, -1):
            record = held[place].record
            if record.created_us > oldest_us.get(record.item, record.created_us):
                stays(place, cut)
                cut = place
        while cut < ready and self._has_waited(held[cut], now_ms, _PATIENCE):
            cut += 1
        spared_bytes = self.size_bytes - sum(each.size_bytes for each in held[:cut])
        while spared_bytes > self._bytes_max:
            spared_bytes -= held[cut].size_bytes
            cut += 1
        return cut

    def _has_waited(self, each: _Held, now_ms: int, times: int) -> bool:
        waited_ms = max(self._newest_ms - each.record.arrived_ms, now_ms - each.read_ms)
        return waited_ms >= times * self._wait_ms


def _in_order(records: list[LogRecord]) -> list[LogRecord]:
    """Let the changes of each item take their places by creation time, those without one where they are."""
    places: dict[bytes, list[int]] = {}
    for place, record in enumerate(records):
        if record.created_us:
            places.setdefault(record.item, []).append(place)
    ordered = list(records)
    for of_item in places.values():
        for place, source in zip(of_item, sorted(of_item, key=lambda each: records[each].created_us), strict=True):
            ordered[place] = records[source]
    return ordered
