"""The wire shape of DynamoDB Streams: an answer of GetRecords, or a Lambda event, decoded into changes.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetRecords.html
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal

import msgspec

from tailrace.core.change import Change, Op, Origin, ViewType
from tailrace.core.ports import ReadError, ReadFailure, SourcePage, SourceRecord
from tailrace.core.shard import ShardRef, misplaced
from tailrace.errors import RecordError, excerpt
from tailrace.sources.dynamodb.liberal_json import dumps, loads

_RECORDS_MAX: Final = 1000
"""GetRecords never gives more records than this."""
_FULL_BYTES: Final = 900_000
"""An answer of this size met the limit of about 1 MB: the next record did not fit."""
PAGE_RECORDS_MAX: Final = 10_000
"""More than GetRecords ever gives, and the most of a Lambda event; each record costs memory, however small."""
SEQUENCE_DIGITS_MAX: Final = 40
"""The most digits of a sequence number of DynamoDB Streams."""
CREATED_MS_MAX: Final = (2**63 - 1) // 1_000_000
"""The latest time whose nanoseconds fit in 64 bits (the year 2262)."""
HINT: Final = "look at the record in the dead letters; if AWS has changed its shape, upgrade Tailrace"
OPS: Final[dict[str, Op]] = {"INSERT": "c", "MODIFY": "u", "REMOVE": "d"}
_ABSENT: Final = msgspec.Raw()


class UserIdentity(
    msgspec.Struct,
    gc=False,
    rename={
        "lambda_type": "type",
        "lambda_principal": "principalId",
        "streams_type": "Type",
        "streams_principal": "PrincipalId",
    },
):
    """Who made the change: Lambda writes the names with a small first letter, the Streams API with a capital."""

    lambda_type: str = ""
    lambda_principal: str = ""
    streams_type: str = ""
    streams_principal: str = ""

    def is_time_to_live(self) -> bool:
        """Return whether Time to Live deleted the item."""
        kind = self.lambda_type or self.streams_type
        return kind == "Service" and (self.lambda_principal or self.streams_principal) == "dynamodb.amazonaws.com"


class _StreamRecord(
    msgspec.Struct,
    gc=False,
    rename={
        "keys": "Keys",
        "before": "OldImage",
        "after": "NewImage",
        "sequence": "SequenceNumber",
        "created": "ApproximateCreationDateTime",
        "view_type": "StreamViewType",
    },
):
    """https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_StreamRecord.html"""

    keys: msgspec.Raw
    sequence: str
    view_type: ViewType
    before: msgspec.Raw = _ABSENT
    after: msgspec.Raw = _ABSENT
    created: int | float | str | None = None


class _Record(
    msgspec.Struct,
    gc=False,
    rename={
        "stream_record": "dynamodb",
        "event_id": "eventID",
        "event_name": "eventName",
        "identity": "userIdentity",
    },
):
    """https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_Record.html"""

    event_id: str
    event_name: Literal["INSERT", "MODIFY", "REMOVE"]
    stream_record: _StreamRecord
    identity: UserIdentity | None = None


class _Page(msgspec.Struct, gc=False, rename={"records": "Records", "next_iterator": "NextShardIterator"}):
    """The answer's envelope; records stay undecoded, so that a bad one spoils only itself."""

    records: list[msgspec.Raw]
    next_iterator: str | None = None


_decode_page = msgspec.json.Decoder(_Page).decode
_decode_record = msgspec.json.Decoder(_Record).decode


def decode_page(body: bytes, *, shard: ShardRef, table: str, region: str) -> SourcePage:
    """Decode the body of a GetRecords answer, or a Lambda event of one shard, into changes in their order.

    A record that cannot be understood becomes one with an error; its sequence number is its own when it can
    be read, else that of the record before it, or at the head of the page of the one behind it. Raises `ReadError`
    UNAVAILABLE when the envelope itself cannot be parsed, or the records have no sequence number or no order: a
    position among them would not tell what was read.
    """
    try:
        page = _open_page(body)
    except (ValueError, RecursionError) as error:
        raise _broken_page(shard, table, f"cannot be parsed: {excerpt(str(error))}") from error
    if len(page.records) > PAGE_RECORDS_MAX:
        raise _broken_page(shard, table, f"has more than {PAGE_RECORDS_MAX} records")
    records: list[SourceRecord] = []
    sequence = ""
    for raw in page.records:
        record = decode_record(bytes(raw), sequence, shard, table, region)
        sequence = record.origin.sequence
        records.append(record)
    return source_page(records, page.next_iterator, len(body), shard, table)


def source_page(
    records: list[SourceRecord], next_iterator: str | None, size_bytes: int, shard: ShardRef, table: str
) -> SourcePage:
    """Make the page of its decoded records. Raises `ReadError` when they have no sequence number or no order."""
    _place_the_head(records, shard, table)
    if found := misplaced([each.origin.sequence for each in records]):
        raise _broken_page(shard, table, f"is out of order: {found[0]} stands behind {found[1]}")
    return SourcePage(
        records=records,
        next_iterator=next_iterator,
        size_bytes=size_bytes,
        full=len(records) >= _RECORDS_MAX or size_bytes >= _FULL_BYTES,
    )


def _broken_page(shard: ShardRef, table: str, why: str) -> ReadError:
    return ReadError(
        f"the answer of GetRecords for shard {shard.shard_id} of table {table} {why}",
        ReadFailure.UNAVAILABLE,
        hint="it is asked for again; if it goes on, check that the endpoint is DynamoDB Streams itself",
    )


def _place_the_head(records: list[SourceRecord], shard: ShardRef, table: str) -> None:
    """Return records at the head of a page that have no sequence number that of the first behind them that has one.

    Raises `ReadError` when none has: a position in the shard cannot be told then.
    """
    head = next((index for index, record in enumerate(records) if record.origin.sequence), len(records))
    if head == len(records) > 0:
        raise ReadError(
            f"no record of a page of shard {shard.shard_id} of table {table} has a sequence number: {records[0].error}",
            ReadFailure.UNAVAILABLE,
            hint=HINT,
        )
    for index in range(head):
        origin = msgspec.structs.replace(records[index].origin, sequence=records[head].origin.sequence)
        records[index] = msgspec.structs.replace(records[index], origin=origin)


def _open_page(body: bytes) -> _Page:
    """Split the answer into its records.

    One record can be broken so that msgspec gives up the whole answer (half a surrogate pair, a bare control
    character); the liberal parser tells it from its neighbours.
    """
    try:
        return _decode_page(body)
    except msgspec.DecodeError:
        page = loads(body)
        if isinstance(page, dict):
            match {"NextShardIterator": None, **page}:
                case {"Records": list(records), "NextShardIterator": (str() | None) as next_iterator}:
                    # What the service must be sent again has to be text: this refuses half a surrogate pair.
                    (next_iterator or "").encode()
                    return _Page([msgspec.Raw(dumps(record)) for record in records], next_iterator)
        raise


def decode_record(raw: bytes, previous_sequence: str, shard: ShardRef, table: str, region: str) -> SourceRecord:
    """Decode one record; one that cannot be understood and has no sequence number takes that of the one before it."""
    try:
        record = _decode_record(raw)
        change = _change(record, shard, table, region)
    except (ValueError, OverflowError, RecursionError) as error:
        sequence, created_ms = _place(raw)
        name = f"record {sequence}" if sequence else f"the record after {previous_sequence or 'the start of the page'}"
        reason = RecordError(
            f"{name} of shard {shard.shard_id} of table {table} cannot be understood: {excerpt(str(error))}",
            hint=HINT,
        )
        return SourceRecord(Origin(table, sequence or previous_sequence, created_ms, raw), None, reason)
    return SourceRecord(Origin(table, change.sequence, change.created_ms, raw), change)


def _change(record: _Record, shard: ShardRef, table: str, region: str) -> Change:
    """Make the change, or raise ValueError saying which field of the record is wrong."""
    body = record.stream_record
    keys = image(body.keys, "Keys")
    if keys is None:
        raise ValueError("Keys is empty")
    op = OPS[record.event_name]
    return Change(
        op=op,
        table=table,
        keys=keys,
        before=image(body.before, "OldImage"),
        after=image(body.after, "NewImage"),
        created_ms=_milliseconds(body.created),
        event_id=record.event_id,
        sequence=_digits(body.sequence),
        sequence_digits=SEQUENCE_DIGITS_MAX,
        shard_id=shard.shard_id,
        stream_arn=shard.stream,
        region=region,
        view_type=body.view_type,
        expired=op == "d" and record.identity is not None and record.identity.is_time_to_live(),
    )


def image(raw: msgspec.Raw, name: str) -> bytes | None:
    """Return an image's own bytes, so that it does not keep the whole page in memory; None when there is none."""
    image = bytes(raw)
    if image[:1] == b"{":
        return image
    if image in {b"", b"null"}:
        return None
    raise ValueError(f"{name} is not a JSON object")


def _digits(sequence: str) -> str:
    if len(sequence) <= SEQUENCE_DIGITS_MAX and sequence.isascii() and sequence.isdigit():
        return sequence
    raise ValueError(f"SequenceNumber is not a number of at most {SEQUENCE_DIGITS_MAX} digits")


@lru_cache(maxsize=16)  # most records of a page are of one second, and share its number
def _milliseconds(created: int | float | str | None) -> int:
    """Return ApproximateCreationDateTime (seconds since the epoch, or ISO 8601 text) in milliseconds; absent is 0."""
    if created is None:
        return 0
    if isinstance(created, str):
        moment = datetime.fromisoformat(created)
        created = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    milliseconds = round(created * 1000)
    if 0 <= milliseconds <= CREATED_MS_MAX:
        return milliseconds
    raise ValueError("ApproximateCreationDateTime is not a time in seconds since the epoch")


def _place(raw: bytes) -> tuple[str, int]:
    """Return the sequence number ("" if none) and time (0 if none) of a record that cannot be understood."""
    try:
        record = loads(raw)
    except (ValueError, RecursionError):
        return "", 0
    body = record.get("dynamodb") if isinstance(record, dict) else None
    if not isinstance(body, dict):
        return "", 0
    try:
        sequence = _digits(str(body.get("SequenceNumber", "")))
    except ValueError:
        sequence = ""
    try:
        created_ms = _milliseconds(body.get("ApproximateCreationDateTime"))
    except (TypeError, ValueError, OverflowError):
        created_ms = 0
    return sequence, created_ms
