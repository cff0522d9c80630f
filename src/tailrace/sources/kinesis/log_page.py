"""An answer of GetRecords, decoded: DynamoDB's change records become changes, all other data is carried as it is.

Source: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Annotated, Final, Literal, NoReturn, Protocol

import msgspec
from msgspec import Meta

from tailrace.core.change import Change, Origin
from tailrace.core.ports import LogPage, LogRecord, ReadError, ReadFailure, SourceRecord
from tailrace.core.shard import SequenceNumber, ShardRef, misplaced
from tailrace.errors import RecordError, excerpt
from tailrace.sources.dynamodb.stream_record import HINT
from tailrace.sources.kinesis import kpl
from tailrace.sources.kinesis.change_record import broken_identity, decode_change, table_meant
from tailrace.sources.kinesis.raw_record import raw_message
from tailrace.sources.kinesis.stream_ref import parse

RecordKind = Literal["auto", "dynamodb", "raw"]
"""What a stream's records are: DynamoDB's change records, any bytes, or either, decided record by record."""

HashKeys = Callable[[ShardRef], Container[int]]
"""Which hash keys a shard has. Raises `ReadError`."""

PAGE_RECORDS_MAX: Final = 10_000
"""GetRecords never gives more records than this; each costs memory, however small."""
_SECONDS_MAX: Final = 9_223_372_036
"""The latest time whose nanoseconds fit in 64 bits (the year 2262)."""


class StreamRecord(msgspec.Struct, rename="pascal", omit_defaults=True, gc=False):
    """https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Record.html

    A record that was taken out of an aggregate has the same shape, and two members more: where it stood in it, from 0
    on, and its explicit hash key.
    """

    approximate_arrival_timestamp: Annotated[float, Meta(ge=0, le=_SECONDS_MAX)]
    data: bytes
    partition_key: str
    sequence_number: SequenceNumber
    sub_sequence_number: int | None = None
    explicit_hash_key: str | None = None

    @property
    def arrived_ms(self) -> int:
        """When it arrived in the stream, milliseconds since the epoch."""
        return round(self.approximate_arrival_timestamp * 1000)


class _Answer(msgspec.Struct, rename="pascal", gc=False):
    records: list[msgspec.Raw]
    next_shard_iterator: str | None = None
    millis_behind_latest: int | None = None


_Place = tuple[bytes] | tuple[bytes, int, int]
"""The JSON of a record: all of some bytes, or those from one place to another. A slice would cost a copy."""

_decode_answer: Final = msgspec.json.Decoder(_Answer).decode
_decode_record: Final = msgspec.json.Decoder(StreamRecord).decode
_encode_record: Final = msgspec.json.Encoder().encode


class LogDecoder(Protocol):
    """Decodes the answers of GetRecords of one pipeline's streams. Safe to call from many threads at once."""

    def __call__(self, body: bytes, *, shard: ShardRef) -> LogPage:
        """Return its records in their order. Raises `ReadError` when the answer as a whole cannot be understood."""
        ...


class LogPageDecoder(LogDecoder):
    """Decodes in pure Python."""

    def __init__(
        self, kind: RecordKind = "auto", *, deaggregate: bool = False, hash_keys: HashKeys | None = None
    ) -> None:
        """`deaggregate`: take the aggregates of the Kinesis Producer Library apart.

        Of their records those are passed over that do not belong to the shard by its `hash_keys`; None: none are.
        """
        self._kind = kind
        self._deaggregate = deaggregate
        self._hash_keys = hash_keys

    def __call__(self, body: bytes, *, shard: ShardRef) -> LogPage:
        """Decode an answer into records in their order; those of an aggregate share its sequence number.

        Data that cannot be understood becomes a record with an error. Raises `ReadError` UNAVAILABLE when the answer
        itself is not one of Kinesis.
        """
        try:
            answer = _decode_answer(body)
        except (ValueError, RecursionError) as error:
            broken_page(shard, f"cannot be parsed: {excerpt(str(error))}")
        if len(answer.records) > PAGE_RECORDS_MAX:
            broken_page(shard, f"has more than {PAGE_RECORDS_MAX} records")
        records: list[LogRecord] = []
        end = 0
        for raw in answer.records:
            start = body.index(raw, end)  # only a comma and blanks are before it
            end = start + len(memoryview(raw))
            records += self.decode_record(body, start, end, shard)
        return log_page(
            records,
            next_iterator=answer.next_shard_iterator,
            size_bytes=len(body),
            full=bool(answer.millis_behind_latest),
            shard=shard,
        )

    def decode_record(self, body: bytes, start: int, end: int, shard: ShardRef) -> list[LogRecord]:
        """Decode one record of an answer, an aggregate into its own. Raises `ReadError` when it is none of Kinesis."""
        try:
            record = _decode_record(memoryview(body)[start:end])
        except (ValueError, RecursionError) as error:
            broken_page(shard, f"has a record that cannot be parsed: {excerpt(str(error))}")
        if not self._deaggregate or not kpl.is_aggregate(record.data):
            return [self._decode(record, (body, start, end), shard)]
        try:
            parts = kpl.take_apart(record.data)
        except ValueError as error:
            why = f"is a broken aggregate of the Kinesis Producer Library: {excerpt(str(error))}"
            hint = "`deaggregate: false` carries aggregates as they are"
            return [_failed(record, (body, start, end), shard, why, hint=hint)]
        own = self._hash_keys(shard) if self._hash_keys is not None else None
        records: list[LogRecord] = []
        for part, as_record in zip(parts, _records_of(record, parts), strict=True):
            decoded = self._decode(as_record, (_encode_record(as_record),), shard)
            if own is not None and part.hashed not in own:
                # It was sent before a split of its shard, and its producer sends it to the right one again.
                passed_over = msgspec.structs.replace(decoded.record, skipped="misplaced")
                decoded = LogRecord(passed_over, decoded.arrived_ms)
            records.append(decoded)
        return records

    def _decode(self, record: StreamRecord, place: _Place, shard: ShardRef) -> LogRecord:
        """Decode a record that is no aggregate."""
        if self._kind == "raw":
            return _raw(record, place, shard)
        stream = parse(shard.stream)
        try:
            decoded = decode_change(record.data, record.sequence_number, shard, stream.region)
        except (ValueError, RecursionError) as error:
            table = table_meant(record.data)
            if table is None and self._kind == "auto":
                return _raw(record, place, shard)
            why = f"is not a change record of DynamoDB that can be understood: {excerpt(str(error))}"
            hint = HINT if table else "if the stream carries other records, too, use `records: auto`"
            failed = _failed(record, place, shard, why, table=table, hint=hint)
            if table is None:
                return failed  # the same bytes twice may be two records
            identity = broken_identity(record.data)
            return LogRecord(failed.record, failed.arrived_ms, identity, item=identity)
        origin = Origin(decoded.change.table, record.sequence_number, decoded.change.created_ms, *place)
        return LogRecord(
            SourceRecord(origin, decoded.change),
            record.arrived_ms,
            decoded.identity,
            decoded.item,
            decoded.created_us,
        )


def late(record: SourceRecord, shard: ShardRef) -> SourceRecord:
    """Return a change record as a late one; what is a message already is decoded again, for its value says so, too."""
    change = change_of(record, shard)
    assert change is not None, "what is late is a change"
    return SourceRecord(record.origin, msgspec.structs.replace(change, late=True))


def change_of(record: SourceRecord, shard: ShardRef) -> Change | None:
    """Return the change of a record, also when it is a message already; None if it is none."""
    if record.change is not None or record.is_raw or record.error is not None:
        return record.change
    raw = _decode_record(record.origin.raw)
    return decode_change(raw.data, raw.sequence_number, shard, parse(shard.stream).region).change


def log_page(
    records: list[LogRecord], *, next_iterator: str | None, size_bytes: int, full: bool, shard: ShardRef
) -> LogPage:
    """Make the page of its decoded records. Raises `ReadError` when they are out of order."""
    if found := misplaced([each.record.origin.sequence for each in records]):
        broken_page(shard, f"is out of order: {found[0]} stands behind {found[1]}")
    return LogPage(records=records, next_iterator=next_iterator, size_bytes=size_bytes, full=full)


def broken_page(shard: ShardRef, why: str) -> NoReturn:
    """Refuse an answer. Raises `ReadError` UNAVAILABLE."""
    raise ReadError(
        f"the answer of GetRecords for shard {shard.shard_id} of stream {parse(shard.stream).name} {why}",
        ReadFailure.UNAVAILABLE,
        hint="it is asked for again; if it goes on, check that the endpoint is Kinesis itself",
    )


def _records_of(aggregate: StreamRecord, parts: list[kpl.UserRecord]) -> list[StreamRecord]:
    return [
        StreamRecord(
            approximate_arrival_timestamp=aggregate.approximate_arrival_timestamp,
            data=part.data,
            partition_key=part.partition_key,
            sequence_number=aggregate.sequence_number,
            sub_sequence_number=place,
            explicit_hash_key=part.hash_key,
        )
        for place, part in enumerate(parts)
    ]


def _raw(record: StreamRecord, place: _Place, shard: ShardRef) -> LogRecord:
    stream = parse(shard.stream).name
    message = raw_message(
        record.data,
        partition_key=record.partition_key,
        sequence=record.sequence_number,
        arrived_ms=record.arrived_ms,
        shard=shard,
        stream=stream,
        sub_sequence=record.sub_sequence_number,
        hash_key=record.explicit_hash_key,
    )
    origin = Origin(stream, record.sequence_number, record.arrived_ms, *place)
    return LogRecord(SourceRecord(origin, None, message=message, is_raw=True), record.arrived_ms)


def _failed(
    record: StreamRecord, place: _Place, shard: ShardRef, why: str, *, table: str | None = None, hint: str
) -> LogRecord:
    stream = parse(shard.stream).name
    reason = RecordError(
        f"record {record.sequence_number} of shard {shard.shard_id} of stream {stream} {why}", hint=hint
    )
    origin = Origin(table or stream, record.sequence_number, record.arrived_ms, *place)
    return LogRecord(SourceRecord(origin, None, reason), record.arrived_ms)
