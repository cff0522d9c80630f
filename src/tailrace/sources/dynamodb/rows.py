"""The wire shape of items: answers of Scan and BatchGetItem decoded into rows.

Sources: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Scan.html and
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from tailrace.core.change import Change, Origin, SnapshotMark
from tailrace.core.ports import ReadError, ReadFailure, Rows, SourceRecord, TableFacts
from tailrace.errors import RecordError, excerpt
from tailrace.sources.dynamodb.liberal_json import dumps, loads

_HINT: Final = "look at the item in the dead letters; if AWS has changed its shape, upgrade Tailrace"
_ABSENT: Final = msgspec.Raw()


class RowsOf(NamedTuple):
    """What all rows of one read have in common."""

    facts: TableFacts
    mark: SnapshotMark
    read_ms: int
    """When the items were read, milliseconds since the epoch."""

    @property
    def region(self) -> str:
        """The region in the table's ARN."""
        return self.facts.arn.split(":", 4)[3]


class ScanDecoder(Protocol):
    """Decodes the body of an answer of Scan. Safe to call from many threads at once."""

    def __call__(self, body: bytes, rows_of: RowsOf) -> Rows:
        """Return its rows in their order. Raises `ReadError` when the answer as a whole cannot be understood."""
        ...


class _Capacity(msgspec.Struct, gc=False, rename="pascal"):
    capacity_units: float = 0.0


class _Scanned(msgspec.Struct, gc=False, rename="pascal"):
    """Items stay undecoded, so that a bad one spoils only itself."""

    items: list[msgspec.Raw]
    last_evaluated_key: msgspec.Raw = _ABSENT
    consumed_capacity: msgspec.Raw = _ABSENT


class _Unprocessed(msgspec.Struct, gc=False, rename="pascal"):
    keys: list[msgspec.Raw]


class _Batch(msgspec.Struct, gc=False, rename="pascal"):
    responses: dict[str, list[msgspec.Raw]]
    unprocessed_keys: dict[str, _Unprocessed] = {}
    consumed_capacity: list[_Capacity] = []


class Got(NamedTuple):
    """An answer of BatchGetItem: the rows that it has, and the keys that are to be asked for again."""

    rows: Rows
    unprocessed: list[bytes]


_decode_scanned = msgspec.json.Decoder(_Scanned).decode
_decode_capacity = msgspec.json.Decoder(_Capacity | None).decode
_decode_batch = msgspec.json.Decoder(_Batch).decode


def decode_scan(body: bytes, rows_of: RowsOf) -> Rows:
    """Decode an answer of Scan. An item that cannot be understood becomes a record with an error.

    Raises `ReadError` UNAVAILABLE when the answer as a whole cannot be parsed.
    """
    try:
        scanned = _open_scanned(body)
        cursor = cursor_of(bytes(scanned.last_evaluated_key))
        units = units_of(bytes(scanned.consumed_capacity))
    except (ValueError, RecursionError) as error:
        raise _broken("Scan", rows_of, error) from error
    records = _decode_items(scanned.items, rows_of)
    return Rows(records, cursor, len(body), units)


def cursor_of(last_key: bytes) -> str | None:
    """Return a LastEvaluatedKey as the cursor, None when there is none. Raises ValueError for what is no key."""
    return None if last_key in {b"", b"null"} else _keys(last_key).decode()


def units_of(capacity: bytes) -> float:
    """Return the read units of a ConsumedCapacity, 0 when there is none. Raises ValueError."""
    consumed = _decode_capacity(capacity) if capacity else None
    return consumed.capacity_units if consumed else 0.0


def decode_batch(body: bytes, rows_of: RowsOf) -> Got:
    """Decode an answer of BatchGetItem about this table alone, as `decode_scan` does."""
    table = rows_of.facts.table
    try:
        batch = _open_batch(body)
        if others := (batch.responses.keys() | batch.unprocessed_keys.keys()) - {table}:
            raise ValueError(f"it is about the table {min(others)}")  # noqa: TRY301 - one sentence for all of them
        left = batch.unprocessed_keys.get(table)
        unprocessed = [_keys(bytes(key)) for key in left.keys] if left else []
    except (ValueError, RecursionError) as error:
        raise _broken("BatchGetItem", rows_of, error) from error
    rows = Rows(
        records=_decode_items(batch.responses.get(table, []), rows_of),
        next_cursor=None,
        size_bytes=len(body),
        read_units=sum(each.capacity_units for each in batch.consumed_capacity),
    )
    return Got(rows, unprocessed)


def decode_item(item: bytes, rows_of: RowsOf) -> SourceRecord:
    """Return the row of one item, a DynamoDB JSON object; one that cannot be understood has an error instead."""
    return _decode_items([item], rows_of)[0]


def _decode_items(items: Iterable[bytes | msgspec.Raw], rows_of: RowsOf) -> list[SourceRecord]:
    """Return the row of each item: the loop in which the time goes, so what they have in common is looked up once."""
    facts, mark, read_ms = rows_of
    table, arn, region = facts.table, facts.arn, rows_of.region
    keys_of = _keys_of(tuple(facts.key_types))
    records: list[SourceRecord] = []
    for each in items:
        item = bytes(each)
        origin = Origin(table, "", read_ms, item)
        try:
            keys = keys_of(item)
        except (ValueError, RecursionError) as error:
            reason = f"an item of table {table} cannot be understood: {excerpt(str(error))}"
            records.append(SourceRecord(origin, None, RecordError(reason, hint=_HINT)))
            continue
        change = Change(
            op="r",
            table=table,
            keys=keys,
            before=None,
            after=item,
            created_ms=read_ms,
            event_id="",
            sequence="",
            shard_id="",
            stream_arn=arn,
            region=region,
            view_type="NEW_IMAGE",
            snapshot=mark,
        )
        records.append(SourceRecord(origin, change))
    return records


@lru_cache(maxsize=256)
def _keys_of(names: tuple[str, ...]) -> Callable[[bytes], bytes]:
    """Make what returns the key attributes of an item, their values as sent, or raises ValueError: one is missing."""
    values_of = _values_of(names)
    members = (msgspec.json.encode(name).replace(b"%", b"%%") + b":%b" for name in names)
    template = b"{" + b",".join(members) + b"}"
    return lambda item: template % values_of(item)


def _values_of(names: tuple[str, ...]) -> Callable[[bytes], tuple[msgspec.Raw, ...]]:
    """Make what returns the values of these attributes of an item."""
    fields = [f"key_{place}" for place in range(len(names))]
    try:
        kind = msgspec.defstruct(
            "_Keys",
            [(field, msgspec.Raw) for field in fields],
            gc=False,
            rename=dict(zip(fields, names, strict=True)),
        )
    except ValueError:  # a name with a quote, backslash or control character
        decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

        def values_of(item: bytes) -> tuple[msgspec.Raw, ...]:
            attributes = decode(item)
            if missing := [name for name in names if name not in attributes]:
                raise ValueError(f"it has no attribute {missing[0]}")
            return tuple(attributes[name] for name in names)

        return values_of
    decode_keys = msgspec.json.Decoder(kind).decode
    return lambda item: msgspec.structs.astuple(decode_keys(item))


def _open_scanned(body: bytes) -> _Scanned:
    """Split an answer into its items.

    One item can be broken so that msgspec refuses the whole answer (half a surrogate pair, a bare control character);
    the liberal parser separates it from the others.
    """
    try:
        return _decode_scanned(body)
    except msgspec.DecodeError:
        answer = loads(body)
        match answer:
            case {"Items": list(items)}:
                scanned = _decode_scanned(dumps(answer | {"Items": []}))
                scanned.items = _raws(items)
                return scanned
        raise


def _open_batch(body: bytes) -> _Batch:
    """Split an answer into its items, as `_open_scanned` does."""
    try:
        return _decode_batch(body)
    except msgspec.DecodeError:
        answer = loads(body)
        match answer:
            case {"Responses": dict(responses)} if all(isinstance(items, list) for items in responses.values()):
                batch = _decode_batch(dumps(answer | {"Responses": {}}))
                batch.responses = {table: _raws(items) for table, items in responses.items()}
                return batch
        raise


def _raws(items: list[Any]) -> list[msgspec.Raw]:
    return [msgspec.Raw(dumps(item)) for item in items]


def _keys(text: bytes) -> bytes:
    """Return key attributes as sent. What the service must be sent again has to be valid text."""
    msgspec.json.decode(text, type=dict[str, dict[str, str]])
    return text


def _broken(operation: str, rows_of: RowsOf, error: Exception) -> ReadError:
    return ReadError(
        f"the answer of {operation} for table {rows_of.facts.table} cannot be parsed: {excerpt(str(error))}",
        ReadFailure.UNAVAILABLE,
        hint="it is asked for again; if it goes on, check that the endpoint is DynamoDB itself",
    )
