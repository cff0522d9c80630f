"""One shard of a Kinesis stream: its records, what it is descended from, how fast it may be read. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import Final

import msgspec

from tailrace_simulator.aws_error import AwsError
from tailrace_simulator.kinesis.sequence_numbers import INDEX_LAST, sequence_number
from tailrace_simulator.settings import Settings

HASH_KEYS: Final = 2**128
"""Hash keys are below this."""


@dataclass
class ReadWindow:
    """What was read since `began_ms`, when the second before was over and all that was read had been paid for."""

    began_ms: float = 0
    reads: int = 0
    size_bytes: int = 0

    def check(self, settings: Settings, now_ms: int) -> None:
        """Count a read. Raises `AwsError` for one too many, or too soon after many bytes."""
        rate = settings.kinesis_read_bytes_per_second
        paid_ms = self.size_bytes / rate * 1000 if rate else 0
        if now_ms >= self.began_ms + max(1000, paid_ms):
            self.began_ms, self.reads, self.size_bytes = now_ms, 0, 0
        most = settings.kinesis_reads_per_second
        if (most and self.reads >= most) or (rate and self.size_bytes >= rate):
            raise AwsError("ProvisionedThroughputExceededException", "Rate exceeded for shard.")
        self.reads += 1


class RecordPage(msgspec.Struct, frozen=True):
    """Records as they are answered, and where the next page begins; `after` is None at a closed shard's end."""

    bodies: list[bytes]
    last: int
    """The sequence number after which the next page would begin."""
    is_end: bool
    behind_ms: int
    """Age of the last record, or of the first that is left; 0 only when none is left."""
    size_bytes: int


@dataclass(eq=False)
class Shard:
    """`low` to `high`, both included, are the hash keys that it owns; `opened_s` is later than its parents'."""

    shard_id: str
    ordinal: int
    parents: tuple[str, ...]
    low: int
    high: int
    opened_s: int
    opened_ms: int
    closed_ms: int | None = None
    ending: int | None = None
    children: list[Shard] = field(default_factory=list)
    trimmed_through: int = 0
    """The last sequence number that is no longer kept."""
    sequences: list[int] = field(default_factory=list)
    arrivals_ms: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    taken: int = 0
    """How many records it ever took."""
    reads: ReadWindow = field(default_factory=ReadWindow)
    iterators: ReadWindow = field(default_factory=ReadWindow)
    index: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it still takes records."""
        return self.ending is None

    @property
    def starting(self) -> int:
        """The first sequence number: smaller than every record's."""
        return sequence_number(self.opened_s, self.ordinal, 0, self.opened_s)

    @property
    def newest(self) -> int:
        """The sequence number after which nothing has come yet."""
        return self.sequences[-1] if self.sequences else max(self.starting, self.trimmed_through)

    def append(self, body: bytes, size_bytes: int, sequence: int, now_ms: int) -> None:
        """Take a record: `body` is what GetRecords answers for it, `size_bytes` what it counts."""
        self.sequences.append(sequence)
        self.arrivals_ms.append(now_ms)
        self.bodies.append(body)
        self.sizes.append(size_bytes)
        self.taken += 1

    def close(self, children: list[Shard], now_ms: int) -> None:
        """Take no more records."""
        self.ending = sequence_number(self.opened_s, self.ordinal, INDEX_LAST, max(now_ms // 1000, self.opened_s))
        self.closed_ms = now_ms
        self.children = children

    def trim(self, horizon_ms: int) -> None:
        """Drop the records that arrived before `horizon_ms`."""
        count = bisect_left(self.arrivals_ms, horizon_ms)
        if count:
            self.trimmed_through = self.sequences[count - 1]
            for kept in (self.sequences, self.arrivals_ms, self.bodies, self.sizes):
                del kept[:count]

    def before_time(self, at_ms: float) -> int:
        """Return the sequence number after which everything arrived at `at_ms` or later."""
        place = bisect_left(self.arrivals_ms, at_ms)
        return self.sequences[place - 1] if place else max(self.starting, self.trimmed_through)

    def read(self, after: int, limit: int, size_max: int, now_ms: int, *, late_end: bool = False) -> RecordPage:
        """Return at most `limit` records after a sequence number, of at most `size_max` bytes or one that is larger.

        What is no longer kept is passed over, as AWS does. With `late_end` the page with a closed shard's last record
        does not say yet that it is the last.
        """
        start = bisect_right(self.sequences, after)
        end, size = start, 0
        while end < min(start + limit, len(self.sequences)):
            if end > start and size + self.sizes[end] > size_max:
                break
            size += self.sizes[end]
            end += 1
        is_tip = end == len(self.sequences)
        return RecordPage(
            bodies=self.bodies[start:end],
            last=self.sequences[end - 1] if end > start else after,
            is_end=is_tip and not self.is_open and not (late_end and end > start),
            behind_ms=0 if is_tip else max(1, now_ms - self.arrivals_ms[max(end - 1, start)]),
            size_bytes=size,
        )
