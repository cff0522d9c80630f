"""Reads shards of Kinesis page by page with GetRecords.

Kinesis does not say when a position was trimmed: it goes on with the oldest record that is left. So a position is
never taken on trust: reading begins *at* the last record that was read, which must still be there.
Source: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec

from tailrace.aws.http import AwsClient
from tailrace.core.ports import LogPage, LogReader, LogRecord
from tailrace.core.shard import Position, ShardRef
from tailrace.sources.kinesis.description import Descriptions
from tailrace.sources.kinesis.iterators import ShardIterators, subject_of, trimmed
from tailrace.sources.kinesis.log_page import LogDecoder
from tailrace.sources.kinesis.policy import HOUR_MS, PAGE_BYTES
from tailrace.sources.kinesis.stream_ref import parse
from tailrace.sources.page_limit import ask_for_page

_RECORDS_MAX: Final = 10_000
_RECORDS_FIRST: Final = 400
"""What a shard is asked for first, before the size of its records is known."""
_EMPTY_PAGES_MAX: Final = 3
"""So many empty pages in a row show that there is nothing: one may come in a shard's middle."""
_RETENTION_LEAST_MS: Final = 24 * HOUR_MS


class _Cursor(msgspec.Struct, array_like=True):
    """Where a shard is read on: what this reader calls an iterator."""

    iterator: str
    last: str | None
    """The last record read, or the one to read on behind."""
    is_unproved: bool
    """`last` has not been met yet: it is the next record, unless it was trimmed."""
    drops: bool
    """`last` itself was read before."""
    as_of_ms: int
    """When nothing behind it was trimmed yet."""
    empty_pages: int = 0
    """How many pages in a row held nothing, and had nothing behind them, while `last` was looked for."""


class Polling(LogReader):
    """Reads shards with GetRecords. Safe to call from many threads at once. A read is tried once."""

    def __init__(
        self,
        client: AwsClient,
        descriptions: Descriptions,
        decode: LogDecoder,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._client = client
        self._iterators = ShardIterators(client, descriptions)
        self._descriptions = descriptions
        self._decode = decode
        self._now_ms = now_ms
        self._limits: dict[ShardRef, int] = {}
        """How many records to ask a shard for, by the size of its last page."""

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> LogPage:
        """Read the next page; without an iterator, begin at `position`. Raises `ReadError`."""
        asked_ms = self._now_ms()
        if iterator is None:
            cursor = self._at(shard, position, asked_ms)
        else:
            cursor = msgspec.json.decode(iterator, type=_Cursor)
            if cursor.last is not None and not cursor.is_unproved and self._may_be_trimmed(shard, cursor, asked_ms):
                cursor = self._at(shard, Position("AFTER_SEQUENCE_NUMBER", cursor.last), asked_ms)
        body = self._get_records(shard, cursor.iterator)
        page = self._decode(body, shard=shard)
        self._adapt_limit(shard, len(body), is_cut=page.full)
        records = self._proved(shard, cursor, page) if cursor.is_unproved else page.records
        if page.next_iterator is None:
            self._limits.pop(shard, None)
            return msgspec.structs.replace(page, records=records)
        is_unproved = cursor.is_unproved and not page.records
        empty_pages = cursor.empty_pages + 1 if is_unproved and not page.full else 0
        last = page.records[-1].record.origin.sequence if page.records else cursor.last
        # What is behind a page is younger than the page, and at the shard's end nothing is.
        arrived_ms = page.records[-1].arrived_ms if page.records and page.full else None
        as_of_ms = asked_ms if not page.full else arrived_ms or cursor.as_of_ms
        following = _Cursor(page.next_iterator, last, is_unproved, cursor.drops, as_of_ms, empty_pages)
        return msgspec.structs.replace(
            page,
            records=records,
            next_iterator=msgspec.json.encode(following).decode(),
            full=page.full or is_unproved,
        )

    def read_up_to(self, page: LogPage) -> str | None:
        """Return the last record that is read with a page of this reader, and proved; None when there is none."""
        if page.next_iterator is None:
            return None
        cursor = msgspec.json.decode(page.next_iterator, type=_Cursor)
        return None if cursor.is_unproved else cursor.last

    def check(self, shard: ShardRef) -> None:
        """Raise `ReadError`, GONE, if the shard's stream was deleted or created again."""
        self._descriptions.check(parse(shard.stream))

    def _at(self, shard: ShardRef, position: Position, asked_ms: int) -> _Cursor:
        """Return where to begin for a position. Raises `ReadError`, GONE when the stream was created again."""
        iterator = self._iterators.at(shard, position)
        drops = position.kind == "AFTER_SEQUENCE_NUMBER"
        return _Cursor(iterator, position.sequence, position.sequence is not None, drops, asked_ms)

    def _proved(self, shard: ShardRef, cursor: _Cursor, page: LogPage) -> list[LogRecord]:
        """Return the records of a page that must begin with the cursor's. Raises `ReadError` TRIMMED if it does not."""
        assert cursor.last is not None
        if not page.records:
            is_end = page.next_iterator is None or cursor.empty_pages + 1 == _EMPTY_PAGES_MAX
            if is_end and not page.full:
                raise trimmed(shard, cursor.last)
            return []
        if int(page.records[0].record.origin.sequence) != int(cursor.last):
            raise trimmed(shard, cursor.last)
        if not cursor.drops:
            return page.records
        # The records of an aggregated one share its number.
        return [each for each in page.records if int(each.record.origin.sequence) != int(cursor.last)]

    def _may_be_trimmed(self, shard: ShardRef, cursor: _Cursor, now_ms: int) -> bool:
        """Return whether what is behind the cursor may be older than what the stream keeps."""
        age_ms = now_ms - cursor.as_of_ms
        if age_ms < _RETENTION_LEAST_MS - HOUR_MS:
            return False
        return age_ms > self._descriptions.check(parse(shard.stream)).retention_ms - HOUR_MS

    def _get_records(self, shard: ShardRef, iterator: str) -> bytes:
        """Ask for a page, of as many records as fit."""
        stream = parse(shard.stream)

        def ask(limit: int) -> bytes:
            request = {"ShardIterator": iterator, "Limit": limit, "StreamARN": stream.arn}
            return self._client.call("GetRecords", msgspec.json.encode(request), subject_of(shard))

        body, _ = ask_for_page(shard, self._limits, _RECORDS_FIRST, ask)
        return body

    def _adapt_limit(self, shard: ShardRef, size_bytes: int, *, is_cut: bool) -> None:
        """Ask for fewer records after a large page, and for more after a small one that was not all there is."""
        limit = self._limits.get(shard, _RECORDS_FIRST)
        if size_bytes > PAGE_BYTES:
            self._limits[shard] = max(1, limit * PAGE_BYTES // size_bytes)
        elif is_cut and size_bytes < PAGE_BYTES // 2 and limit < _RECORDS_MAX:
            self._limits[shard] = min(_RECORDS_MAX, limit * 2)
