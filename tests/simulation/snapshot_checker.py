"""What must hold of snapshots, looked at from outside: the tables as they truly are, and what Kafka shows as committed.

Nothing of the product's code is used here; the records of the checkpoint topic are read as JSON.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from simulation.broker import Broker, Entry, Message, Partition
from simulation.checkers import require
from simulation.source import DELETED_WORD, Source, Written, incarnation_of, table_of

SNAPSHOT = "tailrace.snapshot"
SHARD = "tailrace.shard"
IsLost = Callable[[str, int], bool]


@dataclass
class Segment:
    """What is committed of one segment."""

    state: str
    cursor: str
    rows: int


@dataclass
class Snapshot:
    """What is committed of one snapshot."""

    id: str
    table: str
    finds_deletes: bool
    began_ms: int
    is_whole: bool = False
    """It reads the whole table, not some keys."""
    segments: dict[str, Segment] = field(default_factory=dict)
    incarnation: int | None = None
    """Of the table that its rows are of; None: it has none yet."""
    keys: set[bytes] = field(default_factory=set)
    """The keys of its rows and deletes."""
    outcome: str | None = None
    """`done`, `cancelled`, or `replaced` by another one."""


def snapshot_of(message: Message) -> str | None:
    """Return the id of the snapshot that published a record, or its dead letter; None when it is of a change."""
    headers = dict(message.headers)
    if SNAPSHOT in headers:
        return headers[SNAPSHOT].decode()
    kind, _, snapshot_id = headers.get(SHARD, b"").decode().partition(" ")
    return snapshot_id if kind == "snapshot" else None


class SnapshotChecker:
    """Looks at every committed transaction as it is committed, and at the topics at the end."""

    def __init__(self, source: Source, *, checkpoint_topic: str, dead_letters_topic: str) -> None:
        self.snapshots: dict[str, Snapshot] = {}
        """By id; those that are not started yet too."""
        self.current: dict[str, Snapshot] = {}
        """The last snapshot of each table."""
        self.rows = 0
        self.deletes = 0
        self.set_aside: set[str] = set()
        """The items of which a row or a change became a dead letter."""
        self._newest: defaultdict[str, int] = defaultdict(int)
        """Of each table: the newest incarnation that a row or a change was published of."""
        self._source = source
        self._checkpoint_topic = checkpoint_topic
        self._dead_letters_topic = dead_letters_topic

    # Told as it happens

    def committed(self, written: list[tuple[Partition, Message]]) -> None:
        """See what one transaction committed."""
        published: defaultdict[str, int] = defaultdict(int)
        for (topic, _), message in written:
            if topic == self._checkpoint_topic:
                continue
            snapshot_id = snapshot_of(message)
            if topic == self._dead_letters_topic:
                self.set_aside.add(_item_of(message.value or message.key))
            elif snapshot_id is not None:
                self._see_row(snapshot_id, message)
            else:
                self._see_incarnation(message.value)
            if snapshot_id is not None:
                published[snapshot_id] += 1
        for (topic, _), message in written:
            if topic == self._checkpoint_topic:
                self._see_record(json.loads(message.key or b""), message.value, published)
        for snapshot_id, count in published.items():
            require(count == 0, f"{count} rows of {snapshot_id} are published, and no segment says so")

    def _see_row(self, snapshot_id: str, message: Message) -> None:
        snapshot = self.snapshots[snapshot_id]
        require(snapshot.outcome is None, f"{snapshot_id} is {snapshot.outcome}, and publishes {message.value!r}")
        require(message.key not in snapshot.keys, f"{snapshot_id} publishes {message.key!r} twice")
        snapshot.keys.add(message.key or b"")
        item = _item_of(message.value)
        require(table_of(item) == snapshot.table, f"a row of {item} belongs to {snapshot.table}")
        is_delete = (message.value or b"").endswith(DELETED_WORD)
        if not is_delete:
            self._see_incarnation_of_row(snapshot, message.value)
        require(not is_delete or snapshot.finds_deletes, f"{snapshot_id} looks for no deletes, and publishes one")
        self.deletes += is_delete
        self.rows += not is_delete

    def _see_incarnation(self, value: bytes | None) -> int:
        """Return of which incarnation of its table a row or a change is: of no older one than those before it."""
        item, _, _, shard_id, *_ = (value or b"").decode().split(" ")
        incarnation = 1 if shard_id == "-" else incarnation_of(self._source.stream_of(shard_id))
        newest = self._newest[table_of(item)]
        require(incarnation >= newest, f"{value!r} is of a table that was deleted, and follows what is of the next")
        self._newest[table_of(item)] = incarnation
        return incarnation

    def _see_incarnation_of_row(self, snapshot: Snapshot, value: bytes | None) -> None:
        incarnation = self._see_incarnation(value)
        is_of_another = snapshot.incarnation not in {None, incarnation}
        require(not is_of_another, f"{snapshot.id} has rows of two tables of the same name, one is {value!r}")
        snapshot.incarnation = incarnation

    def _see_record(self, key: list[Any], value: bytes | None, published: dict[str, int]) -> None:
        record = None if value is None else json.loads(value)
        match key:
            case ["?segment", [table, snapshot_id, name]] if record is not None:
                self._see_segment(table, snapshot_id, name, record, published)
            case ["?snapshot", table] if record is not None:
                self._see_snapshot(table, record)
            case ["?snapshot-result", table] if record is not None:
                snapshot = self.snapshots[record["id"]]
                if snapshot.outcome is None:
                    snapshot.outcome = record["outcome"]
                final = {"done"} if record["outcome"] == "done" else {"done", "cancelled"}
                unended = [name for name, segment in snapshot.segments.items() if segment.state not in final]
                require(not unended, f"{snapshot.id} has ended without its segments {unended}")

    def _see_snapshot(self, table: str, record: dict[str, Any]) -> None:
        before, snapshot = self.current.get(table), self._snapshot(table, record["id"])
        if before is not None and before.outcome is None and before is not snapshot:
            before.outcome = "replaced"
        snapshot.finds_deletes = record["finds_deletes"] or record["reason"] == "repair"
        snapshot.is_whole = record["source"] == "scan"
        if before is not snapshot:
            snapshot.began_ms = self._source.now_ms
        self.current[table] = snapshot

    def _see_segment(
        self, table: str, snapshot_id: str, name: str, record: dict[str, Any], published: dict[str, int]
    ) -> None:
        snapshot = self._snapshot(table, snapshot_id)
        before = snapshot.segments.get(name) or Segment("running", "", 0)
        after = Segment(record["state"], record["cursor"] or "", record["rows"] + record["deletes"])
        require(before.state not in {"done", "cancelled"}, f"segment {name} of {snapshot_id} goes on after its end")
        is_further = after.state == "done" or _place(after.cursor) >= _place(before.cursor)
        require(is_further, f"segment {name} of {snapshot_id} steps back from {before.cursor} to {after.cursor}")
        counted = after.rows - before.rows
        require(counted >= 0, f"segment {name} of {snapshot_id} counts back from {before.rows} to {after.rows}")
        if counted or published.get(snapshot_id):
            require(
                counted == published[snapshot_id],
                f"segment {name} of {snapshot_id} counts {counted} rows and publishes {published[snapshot_id]}",
            )
            published[snapshot_id] = 0
        snapshot.segments[name] = after

    def _snapshot(self, table: str, snapshot_id: str) -> Snapshot:
        return self.snapshots.setdefault(snapshot_id, Snapshot(snapshot_id, table, finds_deletes=False, began_ms=0))

    # Asked at the end

    def unfinished(self) -> list[str]:
        """Return the snapshots that have not ended."""
        return [snapshot.id for snapshot in self.current.values() if snapshot.outcome is None]

    def check_the_tables(self, broker: Broker, is_lost: IsLost) -> None:
        """Compare the tables with the topics, when all is published and every snapshot has ended.

        `is_lost(item, number)`: that change need not be published, as it was trimmed or is older than the stream.
        """
        shown: dict[str, bytes] = {}
        for (topic, _), log in broker.logs.items():
            if topic not in {self._checkpoint_topic, self._dead_letters_topic}:
                for entry in log.committed(0, log.next_offset)[0]:
                    shown[_item_of(entry.message.value)] = entry.message.value or b""
        for item, last in self._source.last.items():
            if item not in self.set_aside:
                self._check_item(last, shown.get(item), is_lost=is_lost(item, last.number))

    def _check_item(self, last: Written, shown: bytes | None, *, is_lost: bool) -> None:
        dropped_ms = self._source.dropped_ms.get(last.item, 0)
        since = [
            snapshot
            for snapshot in self.snapshots.values()
            if snapshot.table == table_of(last.item)
            and snapshot.outcome == "done"
            and snapshot.is_whole
            and snapshot.began_ms > max(last.written_ms, dropped_ms)
        ]
        if not (is_lost or dropped_ms) or (since and last.item in self._source.present):
            require(shown == last.text, f"the last of {last.item} is {last.text!r}, and its topic shows {shown!r}")
        elif any(snapshot.finds_deletes for snapshot in since):
            is_gone = shown is None or shown.endswith(DELETED_WORD)
            require(is_gone, f"{last.item} is deleted, and its topic shows {shown!r}")


def check_the_order(log_entries: list[Entry], topic: str) -> None:
    """Read one partition: per key no older state after a newer one, no change twice, and deletes of what was there."""
    last: dict[bytes | None, tuple[float, bytes]] = {}
    for entry in log_entries:
        key, value = entry.message.key, entry.message.value or b""
        number = float(value.split(b" ")[1])
        before, shown = last.get(key, (-1.0, b""))
        is_row = snapshot_of(entry.message) is not None
        if is_row and value.endswith(DELETED_WORD):
            require(value == shown + b" " + DELETED_WORD, f"{value!r} of {key!r} in {topic} deletes {shown!r}")
            number += 0.5
        is_newer = number >= before if is_row else number > before
        require(is_newer, f"{key!r} in {topic}: {value!r} after {shown!r}")
        last[key] = number, value


def _place(cursor: str) -> tuple[int, str]:
    """Return what compares as cursors do: those of deletes are offsets."""
    return (int(cursor), "") if cursor.isdecimal() else (0, cursor)


def _item_of(value: bytes | None) -> str:
    return (value or b"").split(b" ")[0].decode()
