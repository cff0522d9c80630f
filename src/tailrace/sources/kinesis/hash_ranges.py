"""Which hash keys a shard has: a record belongs to the shard that has the hash of its partition key.

Source: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_HashKeyRange.html
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tailrace.aws.ask import Call, ask_pages
from tailrace.aws.errors import Subject
from tailrace.aws.http import AwsClient
from tailrace.aws.pace import Pace
from tailrace.core.ports import ReadError, ReadFailure
from tailrace.core.shard import ShardRef
from tailrace.sources.kinesis.stream_ref import parse

_LISTINGS_PER_SECOND: Final = 1
_SHARDS_MAX: Final = 1000

_HashKey = Annotated[str, Meta(pattern=r"\A[0-9]{1,39}\Z")]


class _Range(msgspec.Struct, rename="pascal"):
    starting_hash_key: _HashKey
    ending_hash_key: _HashKey


class _Shard(msgspec.Struct, rename="pascal"):
    shard_id: str
    hash_key_range: _Range


class _Shards(msgspec.Struct, rename="pascal"):
    shards: list[_Shard]
    next_token: str | None = None

    @property
    def last(self) -> str | None:
        return self.shards[-1].shard_id if self.next_token and self.shards else None


class HashRanges:
    """Lists a stream's shards when it is first asked about one of them. Safe to call from many threads at once."""

    def __init__(
        self,
        client: AwsClient,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._sleep = sleep
        self._pace = Pace(_LISTINGS_PER_SECOND, clock, sleep)
        self._lock = threading.Lock()
        self._known: dict[ShardRef, range] = {}

    def of(self, shard: ShardRef) -> range:
        """Return the hash keys of a shard, which never change. Raises `ReadError`."""
        with self._lock:
            if shard not in self._known:
                self._list(shard.stream)
            found = self._known.get(shard)
        if found is None:
            raise ReadError(
                f"shard {shard.shard_id} of stream {parse(shard.stream).name} is not listed, so its hash keys are "
                "not known",
                ReadFailure.UNAVAILABLE,
                hint="it is tried again",
            )
        return found

    def _list(self, stream: str) -> None:
        ref = parse(stream)
        call = Call(self._client, "ListShards", Subject(f"stream {ref.name}", ref.arn), self._pace)
        request = {"StreamARN": ref.arn, "MaxResults": _SHARDS_MAX}
        for page in ask_pages(call, request, "ExclusiveStartShardId", _Shards, self._sleep):
            for each in page.shards:
                keys = each.hash_key_range
                self._known[ShardRef(stream, each.shard_id)] = range(
                    int(keys.starting_hash_key), int(keys.ending_hash_key) + 1
                )
