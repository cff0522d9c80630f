"""Reads a whole table, or some of its items, no faster than so many read capacity units a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from queue import Empty, SimpleQueue
from typing import Final

from tailrace.aws.errors import RefusedRequestError
from tailrace.core.ports import ReadError, ReadFailure, Rows, SourceRecord, TableFacts, TableReader
from tailrace.core.read_rate import ReadRate

SEGMENTS: Final = 4
"""Read at the same time, each a page of 1 MB: what converts them takes longer than the reading."""
KEYS_AT_ONCE: Final = 100
_ATTEMPTS_MAX: Final = 8
_BACKOFF_S: Final = 0.2
_BACKOFF_MAX_S: Final = 5.0
_HEARD_S: Final = 0.2
"""How often progress is reported."""
_PASSING: Final = {ReadFailure.THROTTLED, ReadFailure.UNAVAILABLE}


class TableScan:
    """Reads one table, strongly consistent. Not to be used by several threads."""

    def __init__(self, reader: TableReader, facts: TableFacts, units_per_s: float) -> None:
        self.facts = facts
        self.items = 0
        """Items read by `scan` so far."""
        self.read_units = 0.0
        self._reader = reader
        self._lock = threading.Lock()
        self._ended = threading.Event()
        """The scan has failed, or its caller gives up."""
        self._under_way = 0
        self._rate = ReadRate(_now_ms())
        self._rate.allow(units_per_s, _now_ms())

    def first(self, count: int) -> list[SourceRecord]:
        """Return some items."""
        return self._paced(lambda: self._reader.scan(self.facts, 0, 1, None, mark="incremental", limit=count)).records

    def scan(self, take: Callable[[Sequence[SourceRecord]], None], heard: Callable[[int], None]) -> None:
        """Hand all items to `take`, in several threads; `heard` is called several times a second with their number.

        Raises ReadError, and what `take` or `heard` raises.
        """
        segments: SimpleQueue[int] = SimpleQueue()
        for segment in range(SEGMENTS):
            segments.put(segment)
        with ThreadPoolExecutor(SEGMENTS, thread_name_prefix="scan") as pool:
            running = {pool.submit(self._scan_segments, segments, take) for _ in range(SEGMENTS)}
            try:
                while running:
                    done, running = wait(running, timeout=_HEARD_S)
                    for each in done:
                        each.result()
                    heard(self.items)
            except BaseException:
                self._ended.set()
                raise

    def get(self, keys: Sequence[bytes]) -> list[SourceRecord]:
        """Read items by their keys, at most `KEYS_AT_ONCE`; those that do not exist are left out. Raises ReadError."""
        try:
            return self._paced(lambda: self._reader.get(self.facts, keys, mark="incremental")).records
        except RefusedRequestError:
            if len(keys) == 1:
                return []  # such as an empty text: no item can have this key
            return [record for key in keys for record in self.get([key])]

    def _scan_segments(self, segments: SimpleQueue[int], take: Callable[[Sequence[SourceRecord]], None]) -> None:
        while True:
            try:
                segment = segments.get_nowait()
            except Empty:
                return
            cursor: str | None = None
            while not self._ended.is_set():
                rows = self._page(segment, cursor)
                take(rows.records)
                with self._lock:
                    self.items += len(rows.records)
                cursor = rows.next_cursor
                if cursor is None:
                    break

    def _page(self, segment: int, cursor: str | None) -> Rows:
        return self._paced(
            lambda: self._reader.scan(self.facts, segment, SEGMENTS, cursor, mark="incremental", limit=None)
        )

    def _paced(self, read: Callable[[], Rows]) -> Rows:
        """Read once the rate allows; again, more slowly, while the table throttles or does not answer."""
        failures = 0
        while True:
            if not self._begin():
                continue
            try:
                rows = self._end(read)
            except ReadError as error:
                failures += 1
                is_lasting = error.failure not in _PASSING or isinstance(error, RefusedRequestError)
                if is_lasting or (failures >= _ATTEMPTS_MAX and error.failure is not ReadFailure.THROTTLED):
                    raise
                if error.failure is ReadFailure.THROTTLED:
                    with self._lock:
                        self._rate.throttled(_now_ms())
                self._ended.wait(min(_BACKOFF_S * 2**failures, _BACKOFF_MAX_S))
                continue
            return rows

    def _begin(self) -> bool:
        """Return whether a read may begin now; wait for a while if not, unless the scan has ended."""
        with self._lock:
            wait_ms = 0 if self._ended.is_set() else self._rate.wait_ms(_now_ms(), under_way=self._under_way)
            self._under_way += not wait_ms
        self._ended.wait(min(wait_ms / 1000, _BACKOFF_MAX_S))
        return not wait_ms

    def _end(self, read: Callable[[], Rows]) -> Rows:
        """Carry out a read that has begun. Raises ReadError."""
        try:
            rows = read()
            with self._lock:
                self._rate.used(rows.read_units, _now_ms())
                self.read_units += rows.read_units
            return rows
        finally:
            with self._lock:
                self._under_way -= 1


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
