"""Records of snapshots, made short, and a table that can be described."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from support.checkpoints import BORN_MS, stream
from tailrace.core.checkpoint import (
    SegmentKey,
    SegmentRecord,
    SegmentRef,
    SnapshotControl,
    SnapshotControlKey,
    SnapshotKey,
    SnapshotRecord,
    SnapshotResult,
    SnapshotResultKey,
    Write,
)
from tailrace.core.ports import KeyType, ReadError, ReadFailure, Rows, TableFacts, TableReader

ID = "s1"


def snapshot(table: str = "orders", **fields: Any) -> Write:
    """A scan of four segments, started by hand, unless told otherwise."""
    said: dict[str, Any] = {"id": ID, "source": "scan", "reason": "manual", "segments": 4, "at_ms": BORN_MS}
    said["stream"] = stream(table)
    return Write(0, SnapshotKey(table), SnapshotRecord(**(said | fields)))


def segment(name: int | str, lanes: int, table: str = "orders", snapshot_id: str = ID, **fields: Any) -> Write:
    """How far a segment is; running unless told otherwise."""
    ref = SegmentRef(table, snapshot_id, str(name))
    said: dict[str, Any] = {"table": table, "state": "running", "at_ms": BORN_MS}
    return Write(ref.lane(lanes), SegmentKey(ref), SegmentRecord(**(said | fields)))


def segments(lanes: int, count: int = 4, **fields: Any) -> list[Write]:
    """The segments of a snapshot, all alike."""
    return [segment(number, lanes, **fields) for number in range(count)]


def control(order: Any, table: str = "orders", snapshot_id: str = ID, at_ms: int = BORN_MS) -> Write:
    """What an operator ordered."""
    return Write(0, SnapshotControlKey(table), SnapshotControl(id=snapshot_id, order=order, at_ms=at_ms))


def result(table: str = "orders", **fields: Any) -> Write:
    """How a snapshot ended; done unless told otherwise."""
    said: dict[str, Any] = {
        "id": ID,
        "outcome": "done",
        "at_ms": BORN_MS,
        "rows": 0,
        "stale": 0,
        "deletes": 0,
        "size_bytes": 0,
        "read_units": 0.0,
    }
    return Write(0, SnapshotResultKey(table), SnapshotResult(**(said | fields)))


def facts(name: str = "orders", key_types: Mapping[str, KeyType] | None = None, **fields: Any) -> TableFacts:
    """A table with provisioned capacity, unless told otherwise."""
    said: dict[str, Any] = {"item_count": 0, "size_bytes": 0, "read_capacity": 100}
    arn = f"arn:aws:dynamodb:us-east-1:000000000000:table/{name}"
    return TableFacts(table=name, arn=arn, key_types=key_types or {"id": "S"}, **(said | fields))


class DescribedTables(TableReader):
    """Describes tables, and reads none."""

    def __init__(self, *tables: TableFacts) -> None:
        self._tables = {table.table: table for table in tables}

    def facts(self, table: str) -> TableFacts:
        """Describe a table. Raises ReadError GONE for one that is not there."""
        if table not in self._tables:
            raise ReadError(f"there is no table {table}", ReadFailure.GONE)
        return self._tables[table]

    def writing_to(self, *_: object) -> list[str]:
        """Find none."""
        return []

    def scan(self, *_: object, **__: object) -> Rows:
        """Read nothing."""
        raise NotImplementedError

    def get(self, *_: object, **__: object) -> Rows:
        """Read nothing."""
        raise NotImplementedError

    def close(self) -> None:
        """There is nothing to close."""
