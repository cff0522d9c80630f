"""What shows from outside that a worker works: when it last read and committed, and which reads do not end."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tailrace.core.ports import ReadFailure
from tailrace.core.shard import ShardRef

OVERDUE_S = 60.0
"""A read, its conversion included, that takes longer is reported: GetRecords is given up after less."""
FAILING_S = 60.0
"""A worker all of whose reads fail for longer is not ready."""
_NO_ANSWER = {ReadFailure.THROTTLED, ReadFailure.DENIED, ReadFailure.UNAVAILABLE}


@dataclass(frozen=True)
class OverdueRead:
    """A read that has been under way for longer than `OVERDUE_S`."""

    shard: ShardRef
    table: str
    for_s: float
    converting: bool
    """The page was read and is being converted, by the user's function if the table has one."""
    at: str
    """Where in the code it is: file, line and function."""


@dataclass
class ReadUnderWay:
    """A read from its start to the end of its conversion."""

    shard: ShardRef
    table: str
    started_s: float
    thread: int = field(default_factory=threading.get_ident)
    converting: bool = False


class Vitals:
    """Told by the worker's threads what they do. Times are this host's: in seconds since the epoch, or monotonic."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self.last_read_s = time.time()
        """When a read last succeeded; the start before the first."""
        self.last_commit_s = time.time()
        """When a transaction was last committed; the start before the first."""
        self.kafka_fault: str | None = None
        """Why Kafka did not answer when it was last asked, in a sentence with its remedy; None: it did."""
        self._under_way: dict[int, ReadUnderWay] = {}
        self._failing_since_s: float | None = None
        self._failure = ""

    def read_began(self, shard: ShardRef, table: str) -> ReadUnderWay:
        """Note a read that this thread begins."""
        read = ReadUnderWay(shard, table, self._monotonic_s())
        self._under_way[read.thread] = read
        return read

    def read_succeeded(self) -> None:
        """Note that this thread's read gave a page."""
        self.last_read_s = time.time()
        self._failing_since_s = None
        self.read_ended()

    def read_failed(self, failure: ReadFailure, reason: str) -> None:
        """Note that this thread's read failed. An answer about the shard itself shows that the source answers."""
        if failure in _NO_ANSWER:
            self._failure = reason
            self._failing_since_s = self._failing_since_s or self._monotonic_s()
        self.read_ended()

    def read_ended(self) -> None:
        """Note that this thread's read is over."""
        self._under_way.pop(threading.get_ident(), None)

    def committed(self) -> None:
        """Note a transaction that was committed."""
        self.last_commit_s = time.time()

    def overdue(self) -> list[OverdueRead]:
        """Return the reads that have been under way for too long, the longest first."""
        now_s = self._monotonic_s()
        under_way = list(self._under_way.values())
        return [
            OverdueRead(read.shard, read.table, now_s - read.started_s, read.converting, _place_of(read.thread))
            for read in sorted(under_way, key=lambda read: read.started_s)
            if now_s - read.started_s > OVERDUE_S
        ]

    def reads_fail_why(self) -> str | None:
        """Return for how long all reads have failed, and why the last did, in a sentence; None unless for too long."""
        since_s = self._failing_since_s
        for_s = 0.0 if since_s is None else self._monotonic_s() - since_s
        return f"no read has succeeded for {for_s:.0f} s: {self._failure}" if for_s > FAILING_S else None


def _place_of(thread: int) -> str:
    frame = sys._current_frames().get(thread)
    if frame is None:
        return "an unknown place"
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
