"""A Kinesis stream: which shard takes a record, splits, merges, growth on demand, what is forgotten. Pure.

Source: https://docs.aws.amazon.com/streams/latest/dev/key-concepts.html
"""

from __future__ import annotations

import hashlib
import random
from base64 import b64encode
from bisect import bisect_right
from collections.abc import Iterable
from itertools import pairwise
from typing import Final, Literal

import msgspec

from tailrace_simulator.aws_error import AwsError
from tailrace_simulator.kinesis.sequence_numbers import sequence_number
from tailrace_simulator.kinesis.shards import HASH_KEYS, RecordPage, Shard
from tailrace_simulator.settings import Settings

StreamMode = Literal["PROVISIONED", "ON_DEMAND"]
RECORD_KIB: Final = 1024
_INDEX_STEP_MAX: Final = 1000
_HOUR_MS: Final = 3_600_000


class Stream:
    """A stream from its being created to its being deleted; times are milliseconds since the epoch."""

    def __init__(
        self,
        *,
        name: str,
        arn: str,
        mode: StreamMode,
        shards: int,
        record_kib: int,
        now_ms: int,
        seed: str,
        settings: Settings,
    ) -> None:
        self.name = name
        self.arn = arn
        self.mode: StreamMode = mode
        self.record_kib = record_kib
        """The largest record that it takes, key included."""
        self.created_ms = now_ms
        self.horizon_ms = now_ms
        """What arrived before is no longer kept."""
        self.retention_hours = 24
        self.changing: tuple[str, float] | None = ("CREATING", now_ms + settings.stream_change_s * 1000)
        """A status other than ACTIVE, and until when it is shown."""
        self.shards: dict[str, Shard] = {}
        self._settings = settings
        self._random = random.Random(seed)
        self._opened = 0
        self._open: list[Shard] = []
        edges = [HASH_KEYS * number // shards for number in range(shards + 1)]
        for low, high in pairwise(edges):
            self._open_shard((), low, high - 1, now_ms)
        self._sort()

    @property
    def open_shards(self) -> list[Shard]:
        """The open shards, by the hash keys that they own."""
        return list(self._open)

    def status(self, now_ms: int) -> str:
        """Return the stream's status."""
        return self.changing[0] if self.changing is not None and now_ms < self.changing[1] else "ACTIVE"

    def change(self, status: str, now_ms: int) -> None:
        """Show a status for `stream_change_s`; what it announces is done already."""
        self.changing = status, now_ms + self._settings.stream_change_s * 1000

    def put(self, partition_key: str, data: bytes, now_ms: int, hash_key: int | None = None) -> tuple[Shard, int]:
        """Take a record; return its shard and sequence number. `hash_key` is used instead of the partition key's."""
        if hash_key is None:
            hash_key = int.from_bytes(hashlib.md5(partition_key.encode(), usedforsecurity=False).digest(), "big")
        shard = self._open[bisect_right(self._lows, hash_key) - 1]
        every = self._settings.on_demand_split_records
        if self.mode == "ON_DEMAND" and every and shard.taken >= every and shard.high > shard.low:
            children = self.split(shard, (shard.low + shard.high + 1) // 2, now_ms)
            shard = children[hash_key >= children[1].low]
        shard.index += self._random.randint(1, _INDEX_STEP_MAX)
        sequence = sequence_number(shard.opened_s, shard.ordinal, shard.index, max(now_ms // 1000, shard.opened_s))
        body = msgspec.json.encode(
            {
                "SequenceNumber": str(sequence),
                "ApproximateArrivalTimestamp": now_ms / 1000,
                "Data": b64encode(data).decode(),
                "PartitionKey": partition_key,
            }
        )
        shard.append(body, len(data) + len(partition_key.encode()), sequence, now_ms)
        return shard, sequence

    def split(self, shard: Shard, at: int, now_ms: int) -> list[Shard]:
        """Close an open shard and open two; the second begins with the hash key `at`."""
        self._check_open(shard)
        if not shard.low < at <= shard.high:
            raise AwsError(
                "InvalidArgumentException",
                f"NewStartingHashKey {at} used in SplitShard() on shard {shard.shard_id} in stream {self.name} is not "
                "both greater than one plus the shard's StartingHashKey and less than its EndingHashKey.",
            )
        children = [
            self._open_shard((shard,), shard.low, at - 1, now_ms),
            self._open_shard((shard,), at, shard.high, now_ms),
        ]
        self._close([shard], children, now_ms)
        return children

    def merge(self, shard: Shard, other: Shard, now_ms: int) -> Shard:
        """Close two open shards next to each other and open one."""
        self._check_open(shard)
        self._check_open(other)
        low, high = sorted((shard, other), key=lambda each: each.low)
        if low.high + 1 != high.low:
            raise AwsError(
                "InvalidArgumentException",
                f"Shards {shard.shard_id} and {other.shard_id} in stream {self.name} are not an adjacent pair of "
                "shards eligible for merging",
            )
        child = self._open_shard((shard, other), low.low, high.high, now_ms)
        self._close([shard, other], [child], now_ms)
        return child

    def rescale(self, shards: int, now_ms: int) -> None:
        """Split and merge until so many shards own the hash keys evenly."""
        edges = [HASH_KEYS * number // shards for number in range(shards + 1)]
        for edge in edges[1:-1]:
            shard = self._open[bisect_right(self._lows, edge) - 1]
            if shard.low != edge:
                self.split(shard, edge, now_ms)
        for low, high in pairwise(edges):
            while len(inside := [shard for shard in self._open if low <= shard.low < high]) > 1:
                self.merge(inside[0], inside[1], now_ms)

    def neighbour(self, shard: Shard) -> Shard | None:
        """Return an open shard that an open one can be merged with: the one behind it, else the one before."""
        self._check_open(shard)
        place = self._open.index(shard)
        beside = self._open[place + 1 : place + 2] or self._open[max(place - 1, 0) : place]
        return beside[0] if beside else None

    def tick(self, now_ms: int) -> None:
        """Forget what is older than the retention."""
        self.trim(now_ms - self.retention_hours * _HOUR_MS)

    def trim(self, horizon_ms: int, shards: Iterable[Shard] | None = None) -> None:
        """Drop the records from before `horizon_ms`, and the shards that were closed before it."""
        if shards is None:
            self.horizon_ms = max(self.horizon_ms, horizon_ms)
        for shard in list(self.shards.values() if shards is None else shards):
            shard.trim(horizon_ms)
            if shard.closed_ms is not None and shard.closed_ms < horizon_ms:
                del self.shards[shard.shard_id]

    def shard(self, shard_id: str) -> Shard:
        """Return a shard. Raises `AwsError` when it does not exist, or no longer."""
        if shard_id not in self.shards:
            raise AwsError(
                "ResourceNotFoundException", f"Shard {shard_id} in stream {self.name} under account does not exist"
            )
        return self.shards[shard_id]

    def read(self, shard: Shard, after: int, limit: int, now_ms: int, *, late_end: bool = False) -> RecordPage:
        """Return the next page of a shard."""
        return shard.read(after, limit, round(self._settings.kinesis_page_bytes), now_ms, late_end=late_end)

    def _check_open(self, shard: Shard) -> None:
        if not shard.is_open:
            raise AwsError(
                "InvalidArgumentException",
                f"Shard {shard.shard_id} in stream {self.name} has already been merged or split, and thus is not "
                "eligible for merging or splitting.",
            )

    def _open_shard(self, parents: tuple[Shard, ...], low: int, high: int, now_ms: int) -> Shard:
        shard = Shard(
            shard_id=f"shardId-{self._opened:012}",
            ordinal=self._opened,
            parents=tuple(parent.shard_id for parent in parents),
            low=low,
            high=high,
            # So a child's sequence numbers are greater than its parents', however soon it follows them.
            opened_s=max([now_ms // 1000, *(parent.opened_s + 1 for parent in parents)]),
            opened_ms=now_ms,
        )
        self._opened += 1
        self.shards[shard.shard_id] = shard
        self._open.append(shard)
        return shard

    def _close(self, parents: list[Shard], children: list[Shard], now_ms: int) -> None:
        for parent in parents:
            parent.close(children, now_ms)
            self._open.remove(parent)
        self._sort()

    def _sort(self) -> None:
        self._open.sort(key=lambda shard: shard.low)
        self._lows = [shard.low for shard in self._open]
