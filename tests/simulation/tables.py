"""Model tables: what they hold, item by item, and how a scan shows them while they are written to."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from simulation.simulated_time import sleep
from tailrace.core.change import Change, Origin, SnapshotMark
from tailrace.core.ports import ReadError, ReadFailure, Rows, SourceRecord, TableFacts
from tailrace.errors import RecordError

if TYPE_CHECKING:
    from simulation.source import Source, Written

PAGE_ITEMS = 3
"""What a page of a scan holds at most, as 1 MB of items."""
UNITS_OF_ITEM = 0.5


@dataclass
class TableFaults:
    """Probabilities for each call that reads a table; `stop` ends all of them."""

    throttled: float = 0.2
    failed: float = 0.1
    slow: float = 0.2
    """It takes seconds, in which the table is written to."""
    short: float = 0.3
    """The page ends early."""

    @classmethod
    def drawn(cls, rng: random.Random) -> TableFaults:
        """Each fault is off, rare or frequent."""
        return cls(**{f.name: getattr(cls, f.name) * rng.choice((0.0, 0.3, 1.0)) for f in fields(cls)})

    def stop(self) -> None:
        for fault in fields(self):
            setattr(self, fault.name, 0.0)


class ModelTables:
    """The tables as Scan and BatchGetItem show them (core.ports.TableReader): an item as it was at some moment."""

    def __init__(
        self,
        source: Source,
        rng: random.Random,
        faults: TableFaults,
        *,
        table_of: Callable[[str], str],
        units_of_item: float = UNITS_OF_ITEM,
    ) -> None:
        self.table_of = table_of
        self.before_read: Callable[[str], None] = lambda _: None
        """Told of each item that a scan is about to read."""
        self.after_read: Callable[[str], None] = lambda _: None
        self._source = source
        self._rng = rng
        self._faults = faults
        self._units_of_item = units_of_item

    def writing_to(self, *_: object) -> list[str]:
        return []

    def facts(self, table: str) -> TableFacts:
        self._call("DescribeTable", table)
        count = len([item for item in self._source.present if self.table_of(item) == table])
        return TableFacts(
            table=table,
            arn=f"arn:aws:dynamodb:eu-west-1:123456789012:table/{table}",
            key_types={"id": "S"},
            item_count=count,
            size_bytes=100 * count,
            read_capacity=None,
        )

    def scan(
        self, facts: TableFacts, segment: int, total: int, cursor: str | None, *, mark: SnapshotMark, limit: int | None
    ) -> Rows:
        first = {"segment": segment, "total": total, "after": ""}
        place: dict[str, Any] = first if cursor is None else json.loads(cursor)
        assert (place["segment"], place["total"]) == (segment, total), "DynamoDB refuses another segment's cursor"
        self._call("Scan", facts.table)
        most = self._rng.randint(1, PAGE_ITEMS) if self._rng.random() < self._faults.short else PAGE_ITEMS
        most = min(most, limit or most)
        rows: list[SourceRecord] = []
        for _ in range(most):
            following = [
                (position, item)
                for item in self._source.present
                if self.table_of(item) == facts.table
                and segment_of(item, total) == segment
                and (position := position_of(item)) > place["after"]
            ]
            if not following:
                return self._rows(rows, None)
            place["after"], item = min(following)
            self.before_read(item)
            state = self._source.present.get(item)
            if state is not None:
                rows.append(self._row(facts, state, mark))
                self.after_read(item)
            self._pass("Scan goes on")
        return self._rows(rows, json.dumps(place))

    def get(self, facts: TableFacts, keys: Sequence[bytes], *, mark: SnapshotMark) -> Rows:
        self._call("BatchGetItem", facts.table)
        rows = []
        for key in keys:
            state = self._source.present.get(key.decode())
            if state is not None:
                rows.append(self._row(facts, state, mark))
            self._pass("BatchGetItem goes on")
        return self._rows(rows, None)

    def close(self) -> None:
        """Nothing to close."""

    def _rows(self, rows: list[SourceRecord], cursor: str | None) -> Rows:
        self._pass("Rows")
        return Rows(rows, cursor, 100 * len(rows), max(1, len(rows)) * self._units_of_item)

    def _row(self, facts: TableFacts, state: Written, mark: SnapshotMark) -> SourceRecord:
        now_ms = self._source.now_ms
        change = Change(
            op="r",
            table=facts.table,
            keys=state.item.encode(),
            before=None,
            after=state.text,
            created_ms=now_ms,
            event_id="",
            sequence="",
            shard_id="",
            stream_arn=facts.arn,
            region="eu-west-1",
            view_type="NEW_AND_OLD_IMAGES",
            snapshot=mark,
        )
        origin = Origin(facts.table, "", now_ms, state.text)
        if state.kind == "poison" and not self._source.is_fixed:
            return SourceRecord(origin, None, RecordError("it makes no sense"))
        return SourceRecord(origin, change)

    def _call(self, step: str, table: str) -> None:
        self._pass(step)
        if table in self._source.deleted:
            raise ReadError(f"there is no table {table}", ReadFailure.GONE)
        if self._rng.random() < self._faults.throttled:
            raise ReadError(f"{step} is throttled", ReadFailure.THROTTLED)
        if self._rng.random() < self._faults.failed:
            raise ReadError(f"{step} failed", self._rng.choice([ReadFailure.UNAVAILABLE, ReadFailure.DENIED]))

    def _pass(self, step: str) -> None:
        is_slow = self._rng.random() < self._faults.slow
        sleep(self._rng.randint(500, 6_000) if is_slow else self._rng.randint(1, 20), step)


def segment_of(item: str, total: int) -> int:
    return zlib.crc32(item.encode()[::-1]) % total


def position_of(item: str) -> str:
    """Return an item's place in the order of a scan, which has nothing to do with its name."""
    return f"{zlib.crc32(item.encode()):08x} {item}"
