"""DynamoDB Streams: reading shards page by page, and listing tables and shards.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Operations_Amazon_DynamoDB_Streams.html
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import cached_property, partial
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from urllib3 import PoolManager

from tailrace.aws.ask import Call, ask, ask_once, ask_pages
from tailrace.aws.errors import RefusedRequestError, Subject, broken
from tailrace.aws.http import BODY_BYTES_MAX, AwsClient, Crc32, open_pool
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
from tailrace.core.tags import WantedTags
from tailrace.sources.dynamodb.page_decoder import PageDecoder
from tailrace.sources.dynamodb.policy import POLICY
from tailrace.sources.dynamodb.services import STREAMS, TABLES
from tailrace.sources.dynamodb.stream_arn import is_stream_of
from tailrace.sources.dynamodb.stream_arn import parse as parse_arn
from tailrace.sources.dynamodb.stream_record import decode_page
from tailrace.sources.dynamodb.streams_log import StreamsLog, without_published
from tailrace.sources.dynamodb.table_description import ACTIVE, UpdatedTable, describe_table, table_subject
from tailrace.sources.dynamodb.table_names import list_tables
from tailrace.sources.dynamodb.table_tags import TableTags
from tailrace.sources.page_limit import ask_for_page
from tailrace.sources.windowed import WindowedReader

_RECORDS_MAX: Final = 1000
_GROWS_BELOW: Final = 4
"""A page of less than this part of the largest lets the next one have twice as many records."""


_ShardId = Annotated[str, Meta(pattern=r"\A[a-zA-Z0-9_.-]{1,128}\Z")]
_Seconds = Annotated[float, Meta(ge=0, le=9_223_372_036)]
"""Seconds since the epoch; the latest is the last whose nanoseconds fit in 64 bits (the year 2262)."""


class _Iterator(msgspec.Struct, rename="pascal"):
    shard_iterator: str


class _SequenceNumberRange(msgspec.Struct, rename="pascal"):
    ending_sequence_number: str | None = None


class _Shard(msgspec.Struct, rename="pascal"):
    shard_id: _ShardId
    parent_shard_id: _ShardId | None = None
    sequence_number_range: _SequenceNumberRange = msgspec.field(default_factory=_SequenceNumberRange)

    def listed(self) -> ListedShard:
        parent_ids = (self.parent_shard_id,) if self.parent_shard_id else ()
        closed = self.sequence_number_range.ending_sequence_number is not None
        return ListedShard(self.shard_id, parent_ids, closed)


class _Stream(msgspec.Struct, rename="pascal"):
    shards: list[_Shard] = []
    creation_request_date_time: _Seconds = 0
    last_evaluated_shard_id: str | None = None


class _StreamDescription(msgspec.Struct, rename="pascal"):
    stream_description: _Stream

    @property
    def last(self) -> str | None:
        return self.stream_description.last_evaluated_shard_id


class DynamoDBStreams(Source):
    """Reads and lists the DynamoDB streams of one account and region.

    Safe to call from many threads at once. A read is tried once: the lane decides what follows. A page of a
    listing is tried up to three times, since a whole listing would otherwise begin again.
    """

    policy = POLICY

    def __init__(
        self,
        session: AwsSession,
        *,
        decode: PageDecoder = decode_page,
        crc32: Crc32 = zlib.crc32,
        readers: int = 16,
        connect_timeout_s: float = 3,
        read_timeout_s: float = 10,
        describe_stream_per_second: float = 5,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        make_client: Callable[[AwsSession, PoolManager, str, Service, Crc32], AwsClient] = AwsClient,
    ) -> None:
        """Open no connection yet. `readers` bounds the connections; AWS allows an account 10 DescribeStream a second.

        Raises `WorldError` when the endpoints are not known.
        """
        streams_endpoint, tables_endpoint = (session.endpoint(service.endpoint_name) for service in (STREAMS, TABLES))
        self._pool = open_pool(
            session,
            streams_endpoint,
            connections=readers,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
        )
        self._streams = make_client(session, self._pool, streams_endpoint, STREAMS, crc32)
        self._tables = make_client(session, self._pool, tables_endpoint, TABLES, zlib.crc32)
        self._limits: dict[ShardRef, int] = {}
        """How many records to ask for at most, of shards where the usual number made too large a page."""
        self._decode = decode
        self.log = StreamsLog(partial(self._read, decode_page))
        """The streams as `core.handover` compares them."""
        self._without_published = without_published(self.log, POLICY.gone_after_ms)
        self._region = session.region
        self._sleep = sleep
        self._pace = Pace(describe_stream_per_second, clock, sleep)
        self._make_tags = partial(
            TableTags, session, self._pool, self._tables, make_client=make_client, clock=clock, sleep=sleep
        )

    @cached_property
    def _tags(self) -> TableTags:
        """Made when it is needed: most pipelines ask for no tags."""
        return self._make_tags()

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> SourcePage:
        """Read the next page; without an iterator, get one for `position` first. Raises `ReadError`."""
        if position.handover is not None and (iterator is None or WindowedReader.returned(iterator)):
            return self._without_published.read(shard, position, iterator)
        return self._read(self._decode, shard, position, iterator)

    def _read(self, decode: PageDecoder, shard: ShardRef, position: Position, iterator: str | None) -> SourcePage:
        table, region = parse_arn(shard.stream)
        subject = _shard_subject(shard)
        if iterator is None:
            iterator = self._iterator(shard, position)
        body = self._get_records(shard, iterator, subject)
        page = decode(body, shard=shard, table=table, region=region)
        if page.next_iterator is None:
            self._limits.pop(shard, None)
        return page if position.since_ms is None else _since(page, position.since_ms)

    def _get_records(self, shard: ShardRef, iterator: str, subject: Subject) -> bytes:
        """Ask for a page, of as many records as fit.

        AWS keeps a page to 1 MB of items; DynamoDB Local keeps to the number of records alone.
        """

        def ask(limit: int) -> bytes:
            payload = msgspec.json.encode({"ShardIterator": iterator, "Limit": limit})
            return self._streams.call("GetRecords", payload, subject)

        body, limit = ask_for_page(shard, self._limits, _RECORDS_MAX, ask)
        if limit < _RECORDS_MAX and len(body) <= BODY_BYTES_MAX // _GROWS_BELOW:
            self._limits[shard] = limit * 2
            if limit * 2 >= _RECORDS_MAX:
                del self._limits[shard]
        return body

    def table_names(self, patterns: list[str]) -> list[str]:
        """Return the tables that match, sorted: names as they stand (listed or not), `*` and `?` expanded."""
        wild = [pattern for pattern in patterns if "*" in pattern or "?" in pattern]
        names = set(patterns) - set(wild)
        if wild:
            listed = list_tables(self._tables, self._region, self._sleep)
            names.update(name for name in listed if any(fnmatchcase(name, each) for each in wild))
        return sorted(names)

    def table_stream(self, table: str) -> TableStream:
        """Describe one table. Raises `ReadError` GONE when there is none."""
        found = describe_table(self._tables, table, self._region, self._sleep)
        key_names = tuple(key.attribute_name for key in found.key_schema)
        is_active = found.table_status == ACTIVE
        specification = found.stream_specification
        if specification is None or not specification.stream_enabled:
            return TableStream(table, None, None, key_names, is_active)
        arn = found.latest_stream_arn
        if arn is None or not is_stream_of(arn, table):
            subject = table_subject(table, self._region)
            raise broken("DescribeTable", subject, f"{arn} is not the ARN of a stream of this table")
        return TableStream(table, arn, specification.stream_view_type, key_names, is_active)

    def enable_stream(self, table: str, view_type: ViewType) -> None:
        """Switch a table's stream on, unless it is on already."""
        specification = {"StreamEnabled": True, "StreamViewType": view_type}
        try:
            call = Call(self._tables, "UpdateTable", table_subject(table, self._region))
            ask(call, {"TableName": table, "StreamSpecification": specification}, UpdatedTable, self._sleep)
        except RefusedRequestError:
            if self.table_stream(table).stream is None:  # else an earlier request, whose answer was lost, did it
                raise

    def tables_with(self, tags: WantedTags) -> frozenset[str] | None:
        """List the tables that have tags; None when the endpoint cannot."""
        return self._tags.tables_with(tags)

    def tags_of(self, table: str) -> dict[str, str]:
        """Return the tags of a table. Raises `ReadError` GONE when there is none."""
        return self._tags.of(table)

    def shards(self, stream_arn: str) -> StreamListing:
        """List every shard of a stream, switched on or off; a listing that breaks off raises `ReadError`."""
        shards: dict[str, ListedShard] = {}
        created_s = 0.0
        for page in self._describe(stream_arn, {}):
            created_s = page.creation_request_date_time
            for shard in page.shards:
                known = shards.get(shard.shard_id)
                if known is None or not known.closed:  # a shard shown twice, closed once, is closed
                    shards[shard.shard_id] = shard.listed()
        check_lineage("DescribeStream", _stream_subject(stream_arn), shards)
        return StreamListing(stream_arn, round(created_s * 1000), tuple(shards.values()))

    def children(self, shard: ShardRef) -> tuple[ListedShard, ...]:
        """Ask for the child shards of one shard, also where the endpoint does not know ShardFilter."""
        only_children = {"ShardFilter": {"Type": "CHILD_SHARDS", "ShardId": shard.shard_id}}
        try:
            listed = [each.listed() for page in self._describe(shard.stream, only_children) for each in page.shards]
        except RefusedRequestError:
            listed = list(self.shards(shard.stream).shards)
        return tuple({each.shard_id: each for each in listed if shard.shard_id in each.parent_ids}.values())

    def exists(self, shard: ShardRef) -> bool:
        """Return whether the shard can be read, by asking for an iterator at its start."""
        try:
            call = Call(self._streams, "GetShardIterator", _shard_subject(shard))
            ask(call, _iterator_request(shard, Position("TRIM_HORIZON")), _Iterator, self._sleep)
        except ReadError as error:
            if error.failure in {ReadFailure.GONE, ReadFailure.TRIMMED}:
                return False
            raise
        return True

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._pool.clear()

    def _iterator(self, shard: ShardRef, position: Position) -> str:
        call = Call(self._streams, "GetShardIterator", _shard_subject(shard))
        return ask_once(call, _iterator_request(shard, position), _Iterator).shard_iterator

    def _describe(self, stream_arn: str, options: dict[str, Any]) -> Iterator[_Stream]:
        call = Call(self._streams, "DescribeStream", _stream_subject(stream_arn), self._pace)
        request = {"StreamArn": stream_arn, "Limit": POLICY.shards_per_call} | options
        for page in ask_pages(call, request, "ExclusiveStartShardId", _StreamDescription, self._sleep):
            yield page.stream_description


def _iterator_request(shard: ShardRef, position: Position) -> dict[str, str]:
    request = {"StreamArn": shard.stream, "ShardId": shard.shard_id, "ShardIteratorType": position.kind}
    return request if position.sequence is None else request | {"SequenceNumber": position.sequence}


def _since(page: SourcePage, since_ms: int) -> SourcePage:
    """Drop the records created before `since_ms`, as far as their rounded times tell; the doubtful ones stay.

    A page of which some were dropped does not end the shard, however empty it is now: there is more to read.
    """
    records = [record for record in page.records if POLICY.created_before_ms(record.origin.created_ms) > since_ms]
    return msgspec.structs.replace(page, records=records, full=page.full or len(records) < len(page.records))


def _stream_subject(stream_arn: str) -> Subject:
    return Subject(f"the stream of table {parse_arn(stream_arn).table}", stream_arn)


def _shard_subject(shard: ShardRef) -> Subject:
    table, _ = parse_arn(shard.stream)
    return Subject(f"shard {shard.shard_id} of table {table}", shard.stream)
