"""Kinesis Data Streams: lists streams and their shards, and reads them.

Source: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from urllib3 import PoolManager

from tailrace.aws.ask import Call, ask_pages
from tailrace.aws.errors import Subject
from tailrace.aws.http import AwsClient, Crc32, open_pool
from tailrace.aws.lineage import check_lineage
from tailrace.aws.pace import Pace
from tailrace.aws.service import Service
from tailrace.aws.session import AwsSession
from tailrace.core.change import ViewType
from tailrace.core.ports import (
    ReadError,
    ReadFailure,
    Source,
    SourcePage,
    StreamListing,
    TableStream,
)
from tailrace.core.shard import ListedShard, Position, ShardRef
from tailrace.core.source_policy import SourcePolicy
from tailrace.core.tags import WantedTags
from tailrace.sources.kinesis.description import Descriptions
from tailrace.sources.kinesis.fan_out import FanOut
from tailrace.sources.kinesis.hash_ranges import HashRanges
from tailrace.sources.kinesis.iterators import ShardIterators
from tailrace.sources.kinesis.log_page import LogDecoder
from tailrace.sources.kinesis.polling import Polling
from tailrace.sources.kinesis.services import KINESIS
from tailrace.sources.kinesis.stream_ref import StreamRef, parse
from tailrace.sources.windowed import WindowedReader

_STREAMS_MAX: Final = 1000
_LIST_STREAMS_PER_SECOND: Final = 2
_LIST_SHARDS_PER_SECOND: Final = 50

_ShardId = Annotated[str, Meta(pattern=r"\A[a-zA-Z0-9_.-]{1,128}\Z")]


class _StreamNames(msgspec.Struct, rename="pascal"):
    stream_names: list[Annotated[str, Meta(pattern=r"\A[a-zA-Z0-9_.-]{1,128}\Z")]]
    has_more_streams: bool = False

    @property
    def last(self) -> str | None:
        return self.stream_names[-1] if self.has_more_streams and self.stream_names else None


class _SequenceNumberRange(msgspec.Struct, rename="pascal"):
    ending_sequence_number: str | None = None


class _Shard(msgspec.Struct, rename="pascal"):
    shard_id: _ShardId
    parent_shard_id: _ShardId | None = None
    adjacent_parent_shard_id: _ShardId | None = None
    sequence_number_range: _SequenceNumberRange = msgspec.field(default_factory=_SequenceNumberRange)

    def listed(self) -> ListedShard:
        parents = (self.parent_shard_id, self.adjacent_parent_shard_id)
        closed = self.sequence_number_range.ending_sequence_number is not None
        return ListedShard(self.shard_id, tuple(each for each in parents if each is not None), closed)


class _Shards(msgspec.Struct, rename="pascal"):
    shards: list[_Shard]
    next_token: str | None = None

    @property
    def last(self) -> str | None:
        return self.shards[-1].shard_id if self.next_token is not None and self.shards else None


class KinesisClients:
    """The calls to Kinesis of one account and region. Raises `WorldError` when the endpoint is not known."""

    def __init__(
        self,
        session: AwsSession,
        *,
        readers: int,
        connect_timeout_s: float = 3,
        read_timeout_s: float = 10,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        make_client: Callable[[AwsSession, PoolManager, str, Service, Crc32], AwsClient] = AwsClient,
    ) -> None:
        """Open no connection yet; `readers` bounds the connections."""
        endpoint = session.endpoint(KINESIS.endpoint_name)
        self._pool = open_pool(
            session,
            endpoint,
            connections=readers,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
        )
        self._to_close: list[FanOut] = []
        self.region = session.region
        self.clock = clock
        self.sleep = sleep
        self.calls = make_client(session, self._pool, endpoint, KINESIS, zlib.crc32)
        self.descriptions = Descriptions(self.calls, session.region, clock=clock, sleep=sleep)
        self.hash_ranges = HashRanges(self.calls, clock=clock, sleep=sleep)

    def polling(self, decode: LogDecoder) -> Polling:
        """Make the reader that polls shards."""
        return Polling(self.calls, self.descriptions, decode)

    def fan_out(self, decode: LogDecoder, consumer: str) -> FanOut:
        """Make the reader to which shards are pushed."""
        made = FanOut(
            self.polling(decode),
            self.calls,
            decode,
            consumer,
            open_stream=self.calls.open_stream,
            clock=self.clock,
            sleep=self.sleep,
        )
        self._to_close.append(made)
        return made

    def close(self) -> None:
        """Close all connections."""
        for fan_out in self._to_close:
            fan_out.close()
        self._pool.clear()


class KinesisStreams(Source):
    """Lists the streams of one account and region, and reads them with the reader that it is given.

    What the ports call a table is a stream here. Safe to call from many threads at once.
    """

    def __init__(
        self,
        clients: KinesisClients,
        reader: WindowedReader,
        policy: SourcePolicy,
        *,
        arns: Mapping[str, str] | None = None,
    ) -> None:
        """`arns` are those of streams that are named by ARN, by their names."""
        self.policy = policy
        self._clients = clients
        self._reader = reader
        self._arns = dict(arns or {})
        self._iterators = ShardIterators(clients.calls, clients.descriptions)
        self._list_streams_pace = Pace(_LIST_STREAMS_PER_SECOND, clients.clock, clients.sleep)
        self._list_shards_pace = Pace(_LIST_SHARDS_PER_SECOND, clients.clock, clients.sleep)

    @property
    def forgotten_early(self) -> int:
        """Return how many changes left the windows for want of memory."""
        return self._reader.forgotten_early

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> SourcePage:
        """Read the next page; without an iterator, begin at `position`. Raises `ReadError`."""
        return self._reader.read(shard, position, iterator)

    def table_names(self, patterns: list[str]) -> list[str]:
        """Return the streams that match, sorted: names as they stand (listed or not), `*` and `?` expanded."""
        wild = [pattern for pattern in patterns if "*" in pattern or "?" in pattern]
        names = set(patterns) - set(wild)
        if wild:
            subject = Subject(f"region {self._clients.region}", "*")
            call = Call(self._clients.calls, "ListStreams", subject, self._list_streams_pace)
            for page in ask_pages(
                call, {"Limit": _STREAMS_MAX}, "ExclusiveStartStreamName", _StreamNames, self._clients.sleep
            ):
                names.update(name for name in page.stream_names if any(fnmatchcase(name, each) for each in wild))
        return sorted(names)

    def table_stream(self, table: str) -> TableStream:
        """Describe one stream. Raises `ReadError`: GONE when there is none, UNAVAILABLE while it is created."""
        description = self._clients.descriptions.of(self._arns.get(table, table))
        return TableStream(table, description.ref.text, None)

    def enable_stream(self, table: str, view_type: ViewType) -> None:
        """Fail: a stream is not switched on."""
        raise ReadError(f"stream {table} cannot be switched on", ReadFailure.UNAVAILABLE)

    def tables_with(self, tags: WantedTags) -> frozenset[str] | None:
        """Return None: streams are not chosen by tags."""
        return None

    def tags_of(self, table: str) -> dict[str, str]:
        """Return nothing: streams are not chosen by tags."""
        return {}

    def shards(self, stream: str) -> StreamListing:
        """List every shard of a stream; a listing that breaks off raises `ReadError`, GONE if it was created again."""
        ref = parse(stream)
        description = self._clients.descriptions.of(ref.arn)
        if description.ref != ref:
            raise ReadError(f"stream {ref.name} was deleted and created again", ReadFailure.GONE)
        return StreamListing(stream, ref.created_ms, tuple(self._list_shards(ref, {})), description.retention_ms)

    def children(self, shard: ShardRef) -> tuple[ListedShard, ...]:
        """Ask for the child shards of one shard: they are listed behind it."""
        ref = parse(shard.stream)
        self._clients.descriptions.check(ref)
        behind = self._list_shards(ref, {"ExclusiveStartShardId": shard.shard_id})
        return tuple(each for each in behind if shard.shard_id in each.parent_ids)

    def exists(self, shard: ShardRef) -> bool:
        """Return whether the shard can be read, by asking for an iterator at its start."""
        return self._iterators.exists(shard)

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._clients.close()

    def _list_shards(self, ref: StreamRef, options: dict[str, Any]) -> Iterable[ListedShard]:
        subject = Subject(f"stream {ref.name}", ref.arn)
        call = Call(self._clients.calls, "ListShards", subject, self._list_shards_pace)
        request = {"StreamARN": ref.arn, "MaxResults": self.policy.shards_per_call} | options
        shards: dict[str, ListedShard] = {}
        for page in ask_pages(call, request, "ExclusiveStartShardId", _Shards, self._clients.sleep):
            shards.update((each.shard_id, each.listed()) for each in page.shards)
        check_lineage(call.operation, subject, shards)
        return shards.values()
