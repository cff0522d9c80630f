"""DynamoDB tables: describing them, reading all of one in segments, and reading items by their keys.

Sources: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Scan.html and
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
"""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, get_args

import msgspec

from tailrace.aws.errors import RefusedRequestError, TooLargeError, broken
from tailrace.aws.http import AwsClient, Crc32, open_pool
from tailrace.aws.session import AwsSession
from tailrace.core.change import SnapshotMark
from tailrace.core.ports import KeyType, ReadError, ReadFailure, Rows, SourceRecord, TableFacts, TableReader
from tailrace.errors import excerpt
from tailrace.sources.dynamodb.rows import Got, RowsOf, ScanDecoder, decode_batch, decode_scan
from tailrace.sources.dynamodb.services import ITEMS
from tailrace.sources.dynamodb.stream_arn import is_table
from tailrace.sources.dynamodb.table_description import describe_table, table_subject
from tailrace.sources.dynamodb.table_names import list_tables, writes_to

_KEYS_MAX: Final = 100
"""BatchGetItem takes no more."""
_FRUITLESS_MAX: Final = 6
"""After so many calls in a row that returned nothing of what they asked for, the table has no capacity left."""
_BACKOFF_MAX_S: Final = 0.1
"""Longest pause before the first repetition; it doubles for each that follows."""
_KEY_TYPES: Final = get_args(KeyType)

_decode_key: Final = msgspec.json.Decoder(dict[str, dict[str, str]]).decode


class DynamoDBTables(TableReader):
    """Reads the tables of one account and region, always strongly consistent. Safe to call from many threads at once.

    A page of a scan is tried once: the caller decides what follows.
    """

    def __init__(
        self,
        session: AwsSession,
        *,
        decode: ScanDecoder = decode_scan,
        crc32: Crc32 = zlib.crc32,
        readers: int = 16,
        connect_timeout_s: float = 3,
        read_timeout_s: float = 10,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open no connection yet. `readers` bounds the connections; `clock` returns seconds since the epoch.

        Raises `WorldError` when the endpoint is not known.
        """
        endpoint = session.endpoint(ITEMS.endpoint_name)
        self._pool = open_pool(
            session,
            endpoint,
            connections=readers,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
        )
        self._client = AwsClient(session, self._pool, endpoint, ITEMS, crc32)
        self._decode = decode
        self._region = session.region
        self._clock = clock
        self._sleep = sleep

    def facts(self, table: str) -> TableFacts:
        """Describe a table; up to three attempts. Raises `ReadError`, GONE when there is none."""
        found = describe_table(self._client, table, self._region, self._sleep)
        types = {each.attribute_name: each.attribute_type for each in found.attribute_definitions}
        key_types: dict[str, Any] = {key.attribute_name: types.get(key.attribute_name) for key in found.key_schema}
        if not 1 <= len(key_types) <= 2 or not all(kind in _KEY_TYPES for kind in key_types.values()):
            subject = table_subject(table, self._region)
            raise broken(
                "DescribeTable", subject, f"the key is {key_types}: not one or two attributes of type S, N or B"
            )
        if not is_table(found.table_arn, table):
            subject = table_subject(table, self._region)
            raise broken("DescribeTable", subject, f"{found.table_arn} is not the ARN of this table")
        is_on_demand = (
            found.billing_mode_summary is not None and found.billing_mode_summary.billing_mode != "PROVISIONED"
        )
        provisioned = found.provisioned_throughput.read_capacity_units if found.provisioned_throughput else 0
        return TableFacts(
            table=table,
            arn=found.table_arn,
            key_types=key_types,
            item_count=found.item_count,
            size_bytes=found.table_size_bytes,
            read_capacity=None if is_on_demand else provisioned or None,
            warm_read_capacity=found.warm_throughput.read_units_per_second if found.warm_throughput else None,
        )

    def writing_to(self, stream_arn: str, is_wanted: Callable[[str], bool]) -> list[str]:
        """Return the tables that write their changes into a Kinesis stream, of those that are wanted, by name.

        Raises `ReadError`.
        """
        wanted = [name for name in list_tables(self._client, self._region, self._sleep) if is_wanted(name)]
        return [name for name in wanted if writes_to(self._client, name, stream_arn, self._region, self._sleep)]

    def scan(
        self, facts: TableFacts, segment: int, total: int, cursor: str | None, *, mark: SnapshotMark, limit: int | None
    ) -> Rows:
        """Read the next page of a segment. Raises `ReadError`."""
        request: dict[str, Any] = {
            "TableName": facts.table,
            "ConsistentRead": True,
            "ReturnConsumedCapacity": "TOTAL",
            "Segment": segment,
            "TotalSegments": total,
        }
        if cursor is not None:
            request["ExclusiveStartKey"] = msgspec.Raw(cursor)
        if limit is not None:
            request["Limit"] = limit
        rows_of = self._rows_of(facts, mark)
        body = self._client.call("Scan", msgspec.json.encode(request), table_subject(facts.table, self._region))
        return self._decode(body, rows_of)

    def get(self, facts: TableFacts, keys: Sequence[bytes], *, mark: SnapshotMark) -> Rows:
        """Read items by their keys. What the table has no capacity for at once is asked for again, after a pause.

        Raises `ReadError`, THROTTLED when several calls in a row return nothing.
        """
        waiting = _distinct(facts.table, keys)
        records: list[SourceRecord] = []
        size_bytes, read_units = 0, 0.0
        limit, fruitless = _KEYS_MAX, 0
        while waiting:
            asked = waiting[:limit]
            try:
                rows, unprocessed = self._get_batch(facts, asked, mark)
            except TooLargeError:
                if len(asked) == 1:
                    raise
                limit = len(asked) // 2
                continue
            waiting = unprocessed + waiting[limit:]
            records += rows.records
            size_bytes += rows.size_bytes
            read_units += rows.read_units
            fruitless = fruitless + 1 if len(unprocessed) >= len(asked) else 0
            if fruitless == _FRUITLESS_MAX:
                raise ReadError(
                    f"BatchGetItem of table {facts.table} returned none of {len(asked)} items in {fruitless} attempts",
                    ReadFailure.THROTTLED,
                    hint=ITEMS.hints[ReadFailure.THROTTLED],
                )
            if unprocessed:
                self._sleep(random.uniform(0, _BACKOFF_MAX_S * 2**fruitless))
        return Rows(records, None, size_bytes, read_units)

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._pool.clear()

    def _get_batch(self, facts: TableFacts, keys: list[bytes], mark: SnapshotMark) -> Got:
        request = {
            "RequestItems": {facts.table: {"Keys": [msgspec.Raw(key) for key in keys], "ConsistentRead": True}},
            "ReturnConsumedCapacity": "TOTAL",
        }
        rows_of = self._rows_of(facts, mark)
        subject = table_subject(facts.table, self._region)
        try:
            body = self._client.call("BatchGetItem", msgspec.json.encode(request), subject)
        except ReadError as error:
            if error.failure is ReadFailure.THROTTLED:  # what AWS answers when it could read none of the items
                return Got(Rows([], None, 0, 0.0), keys)
            raise
        return decode_batch(body, rows_of)

    def _rows_of(self, facts: TableFacts, mark: SnapshotMark) -> RowsOf:
        """Note the time before the request: each item is at least as new."""
        return RowsOf(facts, mark, round(self._clock() * 1000))


def _distinct(table: str, keys: Sequence[bytes]) -> list[bytes]:
    """Return each key once, however it is written: AWS refuses a call that names an item twice."""
    try:
        return list({_identity(key): key for key in keys}.values())
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise RefusedRequestError(
            f"a key of table {table} cannot be read: {excerpt(str(error))}",
            ReadFailure.UNAVAILABLE,
            hint='a key is a DynamoDB JSON object, for example {"id":{"S":"a"}}',
        ) from error


def _identity(key: bytes) -> frozenset[tuple[str, str, str | Decimal]]:
    """Return what is the same for keys of the same item: 1 and 1.0 are one number."""
    return frozenset(
        (name, tag, Decimal(value) if tag == "N" else value)
        for name, typed in _decode_key(key).items()
        for tag, value in typed.items()
    )
