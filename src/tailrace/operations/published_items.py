"""What a pipeline publishes of items: their keys and states in each of the table's topics."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from tailrace.config import Pipeline
from tailrace.convert.converter import Converter
from tailrace.core.page import Outgoing, Page
from tailrace.core.ports import SourcePage, SourceRecord, TableFacts
from tailrace.core.shard import ShardRef
from tailrace.errors import RecordError
from tailrace.formats import FORMATS
from tailrace.formats.item_state import ItemStates, attributes
from tailrace.formats.keys import key_attributes, message_key
from tailrace.operations.spill import RowId
from tailrace.transform.change import read
from tailrace.transform.rows import row_condition

_VARIED: Final[tuple[dict[str, object], ...]] = (
    {},
    {"op": "c", "created_ms": 1_000, "event_id": "1", "sequence": "1"},
    {"op": "u", "created_ms": 2_000, "event_id": "2", "sequence": "2"},
)
"""Changes of the same item: what differs between their records does not depend on the item alone."""


class PublishedItem(msgspec.Struct, frozen=True):
    """What becomes of one item."""

    table_key: bytes | None
    """DynamoDB JSON of its key attributes; None where the Kafka key tells it."""
    states: dict[RowId, bytes]
    """By Kafka key and number of the topic; empty when nothing is published of it."""
    plain_key: bytes | None
    """The Kafka key that it has unless a transformation changes it."""
    is_refused: bool = False
    """It cannot be converted, or is too large: the pipeline publishes a dead letter."""
    is_left_out: bool = False
    """The filter of the file's snapshots leaves it out: it is published once it changes."""


class PublishedItems:
    """Makes states of one table's rows, and keys of its changes. Safe for many threads, if the user's functions are."""

    def __init__(self, pipeline: Pipeline, facts: TableFacts, converter: Converter, *, keeps_keys: bool) -> None:
        """`keeps_keys`: every Kafka key tells the key attributes."""
        self.topics = pipeline.topics_of(facts.table)
        self.facts = facts
        self.keeps_keys = keeps_keys
        self.leaving_out: frozenset[str] = frozenset()
        """Attributes of the published items that do not depend on the item alone: they do not count."""
        self._numbers = pipeline.numbers
        self._numbers_of_topics = {topic: number for number, topic in enumerate(self.topics)}
        self._format = FORMATS[pipeline.format.type]
        self._converter = converter
        self._shard = ShardRef(facts.arn, "verify")
        self._filter = row_condition(pipeline.snapshot.filter) if pipeline.snapshot.filter else None

    @property
    def states(self) -> ItemStates:
        """What reads the states of the topics' values."""
        return ItemStates(self._format, self.leaving_out)

    def of(self, rows: Sequence[SourceRecord]) -> Iterator[PublishedItem]:
        """Return what the pipeline publishes of each row."""
        page = self._page(self._shard, rows)
        records = _by_change(page)
        states = self.states
        for row in rows:
            made = records.get(id(row.origin), [])
            is_refused = any(index in page.set_aside or record.is_dead_letter for index, record in made)
            found = {}
            for _, record in [] if is_refused else made:
                if record.key is not None:
                    found[RowId(record.key, self._numbers_of_topics[record.topic])] = states.of(record.value)
            plain_key = self._plain_key(row)
            table_key = row.change.keys if row.change is not None and not self.keeps_keys else None
            yield PublishedItem(table_key, found, plain_key, is_refused, self._is_left_out(row))

    def keys_of(self, shard: ShardRef, changes: Sequence[SourceRecord]) -> set[bytes]:
        """Return the Kafka keys that changes are published under, or would be if they were not dropped or refused."""
        keys = {record.key for record in self._page(shard, changes).records if record.key and not record.is_dead_letter}
        return keys | {key for change in changes if (key := self._plain_key(change))}

    def table_key(self, kafka_key: bytes) -> bytes | None:
        """Return the key attributes that a Kafka key tells, as DynamoDB JSON; None when it tells none."""
        return key_attributes(kafka_key, self.facts.key_types) if self.keeps_keys else None

    def plain_key(self, table_key: bytes) -> bytes | None:
        """Return the Kafka key of an item's key attributes, unless a transformation changes it."""
        try:
            return message_key(table_key, self._numbers)
        except RecordError:
            return None

    def learn(self, rows: Iterable[SourceRecord]) -> bool:
        """Try rows as different changes of the same items, and leave out the attributes that differ between them.

        Return whether the keys and topics were the same.
        """
        same = True
        for row in rows:
            if row.change is None:
                continue
            shown: list[dict[tuple[str, bytes | None], dict[str, object] | None]] = []
            for varied in _VARIED:
                change = msgspec.structs.replace(row.change, **varied)
                change = msgspec.structs.replace(change, before=change.after if change.op == "u" else None)
                page = self._page(self._shard, [SourceRecord(row.origin, change)])
                shown.append(
                    {
                        (each.topic, each.key): attributes(self._format, each.value)
                        for each in page.records
                        if each.value
                    }
                )
            first, *others = shown
            for other in others:
                same = same and first.keys() == other.keys()
                for place in first.keys() & other.keys():
                    one, two = first[place] or {}, other[place] or {}
                    names = {name for name in one.keys() | two.keys() if one.get(name) != two.get(name)}
                    self.leaving_out |= names
        return same

    def _page(self, shard: ShardRef, records: Sequence[SourceRecord]) -> Page:
        source = SourcePage(list(records), next_iterator=None, size_bytes=0, full=False)
        return self._converter.convert(shard, source, time.time_ns())

    def _is_left_out(self, row: SourceRecord) -> bool:
        if self._filter is None or row.change is None:
            return False
        try:
            return not self._filter.is_true(read(row.change))
        except RecordError:
            return False

    def _plain_key(self, record: SourceRecord) -> bytes | None:
        if record.change is not None:
            return self.plain_key(record.change.keys)
        return record.message.key if record.message is not None else None


def _by_change(page: Page) -> dict[int, list[tuple[int, Outgoing]]]:
    """Return the records of each change, with their places, by the identity of the origin."""
    records: defaultdict[int, list[tuple[int, Outgoing]]] = defaultdict(list)
    for index, record in enumerate(page.records):
        records[id(record.origin)].append((index, record))
    return records
