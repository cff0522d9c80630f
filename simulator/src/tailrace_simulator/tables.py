"""Tables and their items: keys, writes, scans, Time to Live. Pure: the time is passed in.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.CoreComponents.html
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left, bisect_right, insort
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from tailrace_simulator.attribute_values import AttributeValue, Item, item_size, normal_value, sort_key
from tailrace_simulator.aws_error import AwsError, invalid, invalid_parameter, not_found
from tailrace_simulator.change_records import Change
from tailrace_simulator.read_capacity import ReadCapacity
from tailrace_simulator.replication import Destination, Replication
from tailrace_simulator.settings import Settings
from tailrace_simulator.streams import HASHES, Stream, ViewType

_TTL_AGE_MAX_S: Final = 5 * 365 * 24 * 3600
"""Items that expired longer ago than this stay (AWS's guard against wrong units)."""
_KEY_BYTES_MAX: Final = {"HASH": 2048, "RANGE": 1024}
_SCAN_BYTES: Final = 1024 * 1024
_is_table_name = re.compile(r"[a-zA-Z0-9_.-]{3,255}").fullmatch


class Key(NamedTuple):
    """An item's place in its table: items are kept in this order."""

    hash: int
    partition: bytes
    sort: bytes | Decimal | None


class KeyAttribute(NamedTuple):
    """One attribute of a table's primary key: `role` HASH or RANGE, `kind` S, N or B."""

    name: str
    role: str
    kind: str


class ScanPage(NamedTuple):
    """Some items in their order; `last` is where the next page continues after, None at the end."""

    items: list[Item]
    last: Item | None


class Table:
    """One table. `stream` is its present stream, `latest_stream` the last one that it had."""

    def __init__(
        self,
        name: str,
        arn: str,
        key_attributes: tuple[KeyAttribute, ...],
        now_ms: int,
        *,
        read_capacity: ReadCapacity,
        write_units: int,
        replication: Replication,
    ) -> None:
        self.name = name
        self.arn = arn
        self.key_attributes = key_attributes
        self.created_ms = now_ms
        self.read_capacity = read_capacity
        self.write_units = write_units
        """Provisioned capacity; 0 for a table that pays per request."""
        self.stream: Stream | None = None
        self.latest_stream: Stream | None = None
        self.destinations: dict[str, Destination] = {}
        """The Kinesis streams that its changes go to, or went to, by their ARNs."""
        self.ttl_attribute: str | None = None
        self.tags: dict[str, str] = {}
        self.tags_before: dict[str, str] = {}
        """The tags until the last change of them."""
        self.tagged_ms = 0
        """When its tags were last changed."""
        self.writes = 0
        """How many items were put, updated or deleted so far."""
        self.size_bytes = 0
        self._replication = replication
        self._items: dict[Key, Item] = {}
        self._order: list[Key] = []

    @property
    def key_names(self) -> tuple[str, ...]:
        """The attributes of the primary key."""
        return tuple(attribute.name for attribute in self.key_attributes)

    def count(self) -> int:
        """Count the items."""
        return len(self._items)

    def key_of_item(self, item: Item) -> Key:
        """Return an item's key. Raises `AwsError` when its key attributes are not as they must be."""
        for attribute in self.key_attributes:
            if attribute.name not in item:
                raise invalid_parameter(f"Missing the key {attribute.name} in the item")
            self._check_key_value(attribute, item[attribute.name])
        partition, *sort = (item[name] for name in self.key_names)
        ((kind, content),) = partition.items()
        text = f"{kind}{content}".encode("utf-8", "surrogatepass")
        key_hash = int.from_bytes(hashlib.md5(text, usedforsecurity=False).digest()[:4], "big")
        return Key(key_hash, text, sort_key(sort[0]) if sort else None)

    def key_of(self, keys: Any) -> tuple[Key, Item]:
        """Return the key that a request names, and its attributes as they are stored."""
        if not isinstance(keys, dict) or {*keys} != {*self.key_names}:
            raise invalid("The provided key element does not match the schema")
        stored = {name: normal_value(value) for name, value in keys.items()}
        return self.key_of_item(stored), stored

    def get(self, key: Key) -> Item | None:
        """Return the item with this key."""
        return self._items.get(key)

    def set_tags(self, tags: dict[str, str], now_ms: int) -> None:
        """Replace all tags."""
        self.tags_before, self.tags, self.tagged_ms = self.tags, tags, now_ms

    def write(self, key: Key, after: Item | None, now_ms: int, *, expired: bool = False) -> None:
        """Put an item in place of what has its key, or delete it; a change that changes nothing is not streamed."""
        self.writes += 1
        before = self._items.get(key)
        if before == after:
            return
        self.size_bytes += item_size(after or {}) - item_size(before or {})
        if after is None:
            del self._items[key]
            del self._order[bisect_left(self._order, key)]
        else:
            self._items[key] = after
            if before is None:
                insort(self._order, key)
        changed = after or before or {}
        keys = {name: changed[name] for name in self.key_names}
        if self.stream is not None:
            self.stream.append(key.hash, keys, before, after, now_ms, expired=expired)
        if self.destinations:
            change = Change(self.name, keys, before, after, expired)
            self._replication.send(change, self.destinations.values(), now_ms)

    def scan(self, limit: int | None, start_after: Item | None, segment: int, segments: int) -> ScanPage:
        """Return the next items of one segment of the table: at most `limit`, at most 1 MB. Raises `AwsError`."""
        low, high = (Key(HASHES * edge // segments, b"", None) for edge in (segment, segment + 1))
        start, end = bisect_left(self._order, low), bisect_left(self._order, high)
        if start_after is not None:
            after = self.key_of(start_after)[0]
            if not low <= after < high:
                raise invalid(
                    "The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey "
                    f"with correct Segment. TotalSegments: {segments} Segment: {segment}"
                )
            start = bisect_right(self._order, after)
        items: list[Item] = []
        size = 0
        for key in self._order[start:end]:
            items.append(self._items[key])
            size += item_size(items[-1])
            if len(items) == limit or size > _SCAN_BYTES:
                return ScanPage(items, {name: items[-1][name] for name in self.key_names})
        return ScanPage(items, None)

    def expire(self, now_ms: int) -> int:
        """Delete the items whose time to live is over; give their number."""
        if self.ttl_attribute is None:
            return 0
        now_s = now_ms / 1000
        over = [
            key
            for key in self._order
            if (at_s := _seconds(self._items[key].get(self.ttl_attribute))) is not None
            and now_s - _TTL_AGE_MAX_S <= at_s <= now_s
        ]
        for key in over:
            self.write(key, None, now_ms, expired=True)
        return len(over)

    def _check_key_value(self, attribute: KeyAttribute, value: AttributeValue) -> None:
        ((kind, content),) = value.items()
        if kind != attribute.kind:
            raise invalid_parameter(f"Type mismatch for key {attribute.name} expected: {attribute.kind} actual: {kind}")
        if content == "":
            raise invalid(
                "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an "
                f"empty {'string' if kind == 'S' else 'binary'} value. Key: {attribute.name}"
            )
        if item_size({"": value}) > _KEY_BYTES_MAX[attribute.role]:
            raise invalid_parameter(
                "Size of hashkey has exceeded the maximum size limit of2048 bytes"
                if attribute.role == "HASH"
                else "Aggregated size of all range keys has exceeded the size limit of 1024 bytes"
            )


class Database:
    """The tables and streams of one account and region."""

    def __init__(self, *, region: str, account: str, seed: int, settings: Settings, replication: Replication) -> None:
        self.tables: dict[str, Table] = {}
        self.streams: dict[str, Stream] = {}
        self._region = region
        self._account = account
        self._seed = seed
        self._settings = settings
        self._replication = replication
        self._streams_made = 0

    def table(self, name: str) -> Table:
        """Return a table. Raises `AwsError` when there is none."""
        check_table_name(name)
        if name not in self.tables:
            raise not_found(f"Requested resource not found: Table: {name} not found")
        return self.tables[name]

    def create_table(
        self, name: str, key_attributes: tuple[KeyAttribute, ...], now_ms: int, units: tuple[int, int] = (0, 0)
    ) -> Table:
        """Make an empty table; `units` are the read and write capacity units a second that it is provisioned with."""
        check_table_name(name)
        if name in self.tables:
            raise AwsError("ResourceInUseException", f"Table already exists: {name}")
        arn = f"arn:aws:dynamodb:{self._region}:{self._account}:table/{name}"
        read_units, write_units = units
        read_capacity = ReadCapacity(self._settings, read_units, now_ms)
        self.tables[name] = Table(
            name,
            arn,
            key_attributes,
            now_ms,
            read_capacity=read_capacity,
            write_units=write_units,
            replication=self._replication,
        )
        return self.tables[name]

    def delete_table(self, name: str, now_ms: int) -> Table:
        """Drop a table; its stream can be read until its retention ends."""
        table = self.table(name)
        if table.stream is not None:
            self.switch_off(table, now_ms)
        return self.tables.pop(name)

    def switch_on(self, table: Table, view_type: ViewType, now_ms: int) -> Stream:
        """Return a table a new stream."""
        created_ms = now_ms
        while (arn := f"{table.arn}/stream/{_label(created_ms)}") in self.streams:
            created_ms += 1
        self._streams_made += 1
        stream = Stream(
            arn=arn,
            table=table.name,
            label=_label(created_ms),
            view_type=view_type,
            region=self._region,
            key_names=table.key_names,
            now_ms=created_ms,
            seed=f"{self._seed}/{table.name}/{self._streams_made}",
            settings=self._settings,
        )
        self.streams[arn] = table.stream = table.latest_stream = stream
        return stream

    def switch_off(self, table: Table, now_ms: int) -> None:
        """Close a table's stream."""
        if table.stream is not None:
            table.stream.disable(now_ms)
            table.stream = None

    def stream(self, arn: str) -> Stream:
        """Return a stream. Raises `AwsError` when there is none, or no longer."""
        if arn not in self.streams:
            raise not_found(f"Requested resource not found: Stream: {arn} not found")
        return self.streams[arn]

    def tick(self, now_ms: int) -> None:
        """Do what the time asks for in every stream, and forget those whose retention has ended."""
        for stream in self.streams.values():
            stream.tick(now_ms)
        self.forget_streams(now_ms - round(self._settings.retention_s * 1000))

    def forget_streams(self, horizon_ms: int, table: str | None = None) -> None:
        """Forget the streams, of one table or of all, that were switched off before `horizon_ms`."""
        over = [
            arn
            for arn, stream in self.streams.items()
            if table in {None, stream.table} and stream.disabled_ms is not None and stream.disabled_ms < horizon_ms
        ]
        for arn in over:
            del self.streams[arn]


def check_table_name(name: str) -> None:
    """Raise `AwsError` for what cannot be a table's name."""
    if not _is_table_name(name):
        raise invalid(
            "Invalid table/index name.  Table/index names must be between 3 and 255 characters long, and may contain "
            "only the characters a-z, A-Z, 0-9, '_', '-', and '.'"
        )


def _label(now_ms: int) -> str:
    return datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{now_ms % 1000:03}"


def _seconds(value: AttributeValue | None) -> Decimal | None:
    return Decimal(value["N"]) if value and "N" in value else None
