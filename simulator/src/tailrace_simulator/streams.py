"""Streams and their shards: splits, rollovers, trimming, listings that lag. Pure: the time is passed in.

A shard owns a range of key hashes. Splitting it closes it and opens two children; a rollover opens one.
Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Literal

import msgspec

from tailrace_simulator.attribute_values import Item, item_size
from tailrace_simulator.aws_error import AwsError, not_found
from tailrace_simulator.settings import Settings

ViewType = Literal["NEW_AND_OLD_IMAGES", "NEW_IMAGE", "OLD_IMAGE", "KEYS_ONLY"]
"""StreamViewType: which images a stream's records carry."""

HASHES: Final = 2**32
"""Key hashes are below this."""
_SEQUENCE_FIRST: Final = 10**20
_SEQUENCE_MAX: Final = 10**39
"""From here on sequence numbers have 40 digits and gain none."""
_SEQUENCE_STEP_MAX: Final = 1_000_000
_RECORDS_MAX: Final = 1000
_EXPIRED_BY: Final = {"PrincipalId": "dynamodb.amazonaws.com", "Type": "Service"}


@dataclass(eq=False)
class Shard:
    """One shard. Sequence numbers are integers; `low` to below `high` are the key hashes that it owns."""

    shard_id: str
    ordinal: int
    """The shard's number in its stream: the same whenever a seed's calls are repeated."""
    parent_id: str | None
    low: int
    high: int
    starting: int
    opened_ms: int
    skew_ms: int
    shown_from: int
    """The number of the DescribeStream call that shows it first."""
    hidden_until: int = 0
    """It is missing from listings before this DescribeStream call."""
    ending: int | None = None
    closed_ms: int = 0
    closed_from: int = 0
    """The number of the DescribeStream call that first shows it closed."""
    trimmed_through: int = 0
    """The last sequence number that is no longer kept."""
    sequences: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    arrivals_ms: list[int] = field(default_factory=list)
    readers: dict[int, int] = field(default_factory=dict)
    """When each reader last asked for records, by its number."""

    @property
    def is_open(self) -> bool:
        """Whether it still takes changes."""
        return self.ending is None

    @property
    def is_divisible(self) -> bool:
        """Whether it owns enough key hashes to be split."""
        return self.high - self.low > 1

    def trim(self, horizon_ms: int) -> None:
        """Drop the records that arrived before `horizon_ms`."""
        count = bisect_left(self.arrivals_ms, horizon_ms)
        if count:
            self.trimmed_through = self.sequences[count - 1]
            for kept in (self.sequences, self.bodies, self.arrivals_ms):
                del kept[:count]


class RecordPage(msgspec.Struct, frozen=True):
    """What one GetRecords call finds: records, and the sequence number to continue after (None at the shard's end)."""

    bodies: list[bytes]
    after: int | None


class ListingPage(msgspec.Struct, frozen=True):
    """One page of DescribeStream: each shard and whether it is shown as closed; `last` names where the next begins."""

    shards: list[tuple[Shard, bool]]
    last: str | None


class Stream:
    """The stream of a table, from its being switched on to the end of its retention."""

    def __init__(
        self,
        *,
        arn: str,
        table: str,
        label: str,
        view_type: ViewType,
        region: str,
        key_names: tuple[str, ...],
        now_ms: int,
        seed: str,
        settings: Settings,
    ) -> None:
        self.arn = arn
        self.table = table
        self.label = label
        self.view_type: ViewType = view_type
        self.key_names = key_names
        self.created_ms = now_ms
        self.disabled_ms: int | None = None
        self.shards: dict[str, Shard] = {}
        self.describe_calls = 0
        self._region = region
        self._settings = settings
        self._random = random.Random(seed)
        self._sequence = _SEQUENCE_FIRST + self._random.randrange(_SEQUENCE_FIRST)
        self._changes = 0
        self._opened = 0
        self._open: list[Shard] = []
        self._lows: list[int] = []
        edges = [HASHES * number // settings.shards for number in range(settings.shards + 1)]
        for low, high in pairwise(edges):
            self._open_shard(None, low, high, now_ms)

    @property
    def open_shards(self) -> list[Shard]:
        """The open shards, by the key hashes that they own."""
        return list(self._open)

    def append(
        self, key_hash: int, keys: Item, before: Item | None, after: Item | None, now_ms: int, *, expired: bool = False
    ) -> None:
        """Write the change of an item to the shard that owns its key."""
        shard = self._open[bisect_right(self._lows, key_hash) - 1]
        sequence = self._next_sequence()
        change: dict[str, Any] = {
            "ApproximateCreationDateTime": max(0, now_ms + shard.skew_ms) // 1000,
            "Keys": keys,
        }
        size = item_size(keys)
        for name, image, views in (
            ("NewImage", after, ("NEW_IMAGE", "NEW_AND_OLD_IMAGES")),
            ("OldImage", before, ("OLD_IMAGE", "NEW_AND_OLD_IMAGES")),
        ):
            if image is not None and self.view_type in views:
                change[name] = image
                size += item_size(image)
        change |= {"SequenceNumber": str(sequence), "SizeBytes": size, "StreamViewType": self.view_type}
        record: dict[str, Any] = {
            "eventID": self._random.randbytes(16).hex(),
            "eventName": "INSERT" if before is None else "REMOVE" if after is None else "MODIFY",
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": self._region,
            "dynamodb": change,
        }
        if expired:
            record["userIdentity"] = _EXPIRED_BY
        shard.sequences.append(sequence)
        shard.bodies.append(msgspec.json.encode(record))
        shard.arrivals_ms.append(now_ms)

    def split(self, shard: Shard, at: float, now_ms: int) -> list[Shard]:
        """Close an open shard and give its key hashes to two children; `at` is the first one's part."""
        if not shard.is_divisible:
            raise AwsError("InvalidAction", f"shard {shard.shard_id} owns one key hash and cannot be split")
        width = shard.high - shard.low
        middle = shard.low + min(max(round(width * at), 1), width - 1)
        self._close(shard, now_ms)
        return [
            self._open_shard(shard, shard.low, middle, now_ms),
            self._open_shard(shard, middle, shard.high, now_ms),
        ]

    def roll_over(self, shard: Shard, now_ms: int) -> list[Shard]:
        """Close an open shard and give its key hashes to one child."""
        self._close(shard, now_ms)
        return [self._open_shard(shard, shard.low, shard.high, now_ms)]

    def disable(self, now_ms: int) -> None:
        """Close every shard; the stream can be read until its retention ends."""
        for shard in self.open_shards:
            self._close(shard, now_ms)
        self.disabled_ms = now_ms

    def tick(self, now_ms: int) -> None:
        """Do what the time asks for: roll over old shards, trim old records."""
        life_ms = round(self._settings.rollover_s * 1000)
        while life_ms and (old := [shard for shard in self._open if shard.opened_ms + life_ms <= now_ms]):
            for shard in old:
                self.roll_over(shard, shard.opened_ms + life_ms)
        self.trim(now_ms - round(self._settings.retention_s * 1000))

    def trim(self, horizon_ms: int, shards: Iterable[Shard] | None = None) -> None:
        """Drop the records from before `horizon_ms`, and the shards that were closed before it."""
        for shard in list(self.shards.values() if shards is None else shards):
            shard.trim(horizon_ms)
            if not shard.is_open and shard.closed_ms < horizon_ms:
                del self.shards[shard.shard_id]

    def shard(self, shard_id: str) -> Shard:
        """Return a shard. Raises `AwsError` when it does not exist, or no longer."""
        if shard_id not in self.shards:
            raise not_found("Requested resource not found: Shard does not exist")
        return self.shards[shard_id]

    def read(self, shard: Shard, after: int, limit: int, *, late_end: bool = False) -> RecordPage:
        """Return the records after a sequence number: at most `limit` of them, at most a page of bytes.

        `late_end`: the page with the last record of a closed shard does not say yet that it is the last.
        Raises `AwsError` when records in between are no longer kept.
        """
        if after < shard.trimmed_through:
            raise trimmed()
        start = bisect_right(shard.sequences, after)
        end = start
        room = self._settings.page_bytes
        for body in shard.bodies[start : start + min(limit, _RECORDS_MAX)]:
            room -= len(body)
            if room < 0 and end > start:
                break
            end += 1
        found = end > start
        is_end = not shard.is_open and end == len(shard.sequences) and not (late_end and found)
        last = shard.sequences[end - 1] if found else after
        return RecordPage(shard.bodies[start:end], None if is_end else last)

    def describe(self, limit: int, start_after: str | None, wanted: Callable[[Shard], bool]) -> ListingPage:
        """Return one page of the listing, in the order of the shards' names, as far as it is up to date."""
        self.describe_calls += 1
        shown = [
            shard
            for shard_id, shard in sorted(self.shards.items())
            if (start_after is None or shard_id > start_after) and self._is_shown(shard) and wanted(shard)
        ]
        page = [(shard, not shard.is_open and shard.closed_from <= self.describe_calls) for shard in shown[:limit]]
        return ListingPage(page, page[-1][0].shard_id if len(shown) > limit else None)

    def hide(self, rng: random.Random) -> None:
        """Leave one of the shards out of the next listings."""
        shown = [shard for _, shard in sorted(self.shards.items()) if self._is_shown(shard)]
        if shown:
            hidden = rng.choice(shown)
            hidden.hidden_until = self.describe_calls + 2 + rng.randint(0, self._settings.listing_lag_calls)

    def _is_shown(self, shard: Shard) -> bool:
        return self.describe_calls >= max(shard.shown_from, shard.hidden_until)

    def _open_shard(self, parent: Shard | None, low: int, high: int, now_ms: int) -> Shard:
        skew_ms = round(self._settings.skew_s * 1000)
        shard = Shard(
            shard_id=f"shardId-{now_ms:020}-{self._random.getrandbits(32):08x}",
            ordinal=self._opened,
            parent_id=parent.shard_id if parent else None,
            low=low,
            high=high,
            starting=self._next_sequence(),
            opened_ms=now_ms,
            skew_ms=self._random.randint(-skew_ms, skew_ms),
            shown_from=self._lagged(),
        )
        self._opened += 1
        self.shards[shard.shard_id] = shard
        place = bisect_left(self._lows, low)
        self._open.insert(place, shard)
        self._lows.insert(place, low)
        return shard

    def _close(self, shard: Shard, now_ms: int) -> None:
        shard.ending = self._next_sequence()
        shard.closed_ms = now_ms
        shard.closed_from = self._lagged()
        place = self._open.index(shard)
        del self._open[place]
        del self._lows[place]

    def _lagged(self) -> int:
        """Draw the DescribeStream call that first shows what happens now; the next one is the earliest."""
        return self.describe_calls + 1 + self._random.randint(0, self._settings.listing_lag_calls)

    def _next_sequence(self) -> int:
        self._sequence += self._random.randint(1, _SEQUENCE_STEP_MAX)
        self._changes += 1
        every = self._settings.digit_every
        if every and self._changes % every == 0 and self._sequence < _SEQUENCE_MAX:
            self._sequence *= 10
        return self._sequence


def trimmed() -> AwsError:
    """Return the error for a position that is no longer kept."""
    return AwsError(
        "TrimmedDataAccessException", "The operation attempted to read past the oldest stream record in a shard."
    )
