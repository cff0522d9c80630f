"""Reads a range of a shard again, by sequence numbers, as far as its stream still keeps it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from tailrace.core.ports import ReadError, ReadFailure, ShardReader, SourcePage, SourceRecord
from tailrace.core.shard import Position, ShardRef, Tail
from tailrace.core.source_policy import SourcePolicy
from tailrace.errors import WorldError

_ATTEMPTS_MAX = 6
_BACKOFF_S = 0.2
_EMPTY_PAGES_MAX = 50
"""So many empty pages in a row are the end of a shard that is still open: one or some prove nothing."""
_PASSING = {ReadFailure.THROTTLED, ReadFailure.UNAVAILABLE}


class ShardRange(msgspec.Struct, frozen=True):
    """What was found of a range; `whole` false when it begins before what the stream still keeps."""

    records: list[SourceRecord]
    whole: bool


class PolicedReader(ShardReader, Protocol):
    """Reads shards, with its limits."""

    policy: SourcePolicy


def read_range(
    reader: PolicedReader,
    shard: ShardRef,
    first: str,
    last: str,
    *,
    tails: tuple[Tail, ...] = (),
    sleep: Callable[[float], None] = time.sleep,
) -> ShardRange:
    """Read the records from `first` to `last`, both included. Raises WorldError when the stream cannot be read.

    `tails` are read first, as for any position: the shard's own among them ends before `first`, which must be there
    for the range to be whole.
    """
    try:
        if tails:
            begins = Position("AFTER_SEQUENCE_NUMBER", str(int(first) - 1), tails=tails)
            records = _read(reader, shard, begins, first, last, sleep=sleep)
            return ShardRange(records, whole=bool(records) and int(records[0].origin.sequence) == int(first))
        begins = Position("AT_SEQUENCE_NUMBER", first)
        return ShardRange(_read(reader, shard, begins, first, last, sleep=sleep), whole=True)
    except ReadError as error:
        if error.failure is ReadFailure.GONE:
            return ShardRange([], whole=False)
        if error.failure is not ReadFailure.TRIMMED:
            raise WorldError(error.message, hint=error.hint) from error
    try:
        return ShardRange(_read(reader, shard, Position("TRIM_HORIZON"), first, last, sleep=sleep), whole=False)
    except ReadError as error:
        if error.failure in {ReadFailure.GONE, ReadFailure.TRIMMED}:
            return ShardRange([], whole=False)
        raise WorldError(error.message, hint=error.hint) from error


def read_pages(
    reader: PolicedReader, shard: ShardRef, position: Position, sleep: Callable[[float], None] = time.sleep
) -> Iterator[SourcePage]:
    """Yield the pages of a shard from `position` on, without end while it is open; failures that pass are outlasted.

    The limits of the source are kept. Raises `ReadError`.
    """
    iterator: str | None = None
    failures = 0
    while True:
        asked_s = time.monotonic()
        try:
            page = reader.read(shard, position, iterator)
        except ReadError as error:
            failures += 1
            if error.failure is ReadFailure.EXPIRED and iterator is not None:
                iterator = None
            elif error.failure not in _PASSING or failures == _ATTEMPTS_MAX:
                raise
            else:
                sleep(random.uniform(0, _BACKOFF_S * 2**failures))
            continue
        failures = 0
        yield page
        if page.records:
            position = Position("AFTER_SEQUENCE_NUMBER", page.records[-1].origin.sequence, tails=position.tails)
        if page.next_iterator is None:
            return
        iterator = page.next_iterator
        next_s = asked_s + reader.policy.next_read_ms(0, page.size_bytes) / 1000
        if (pause_s := next_s - time.monotonic()) > 0:
            sleep(pause_s)


def _read(
    reader: PolicedReader, shard: ShardRef, position: Position, first: str, last: str, *, sleep: Callable[[float], None]
) -> list[SourceRecord]:
    found: list[SourceRecord] = []
    # What repeats its changes also tells when there is more to read.
    empty_pages_max = reader.policy.caught_up_reads if position.tails else _EMPTY_PAGES_MAX
    empty_pages = 0
    last_read = None
    for page in read_pages(reader, shard, position, sleep):
        empty_pages = 0 if page.records or page.full else empty_pages + 1
        found += [each for each in page.records if int(first) <= int(each.origin.sequence) <= int(last)]
        if page.records:
            last_read = page.records[-1].origin.sequence
        if page.next_iterator is None or (page.records and int(page.records[-1].origin.sequence) >= int(last)):
            return found
        if empty_pages == empty_pages_max:
            break
    if (position.kind == "AT_SEQUENCE_NUMBER" and last_read is None) or (
        found and int(found[-1].origin.sequence) < int(last)
    ):
        raise ReadError(
            f"shard {shard.shard_id} gave {empty_pages_max} empty pages before sequence number {last}",
            ReadFailure.UNAVAILABLE,
            hint="try again",
        )
    return found
