"""Compares what was written to DynamoDB with what is found in Kafka, item by item. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

EXAMPLES_MAX = 5
"""Faults of one kind that a verdict names."""

WrittenOp = Literal["c", "u", "d"]
FoundOp = Literal["c", "u", "d", "r", "tombstone"]


@dataclass(frozen=True, slots=True)
class Written:
    """A change that DynamoDB acknowledged."""

    table: str
    key: str
    """The item's key as the record's key has it: canonical JSON."""
    op: WrittenOp
    version: int
    """Counts the changes of one item from 1; deletes count too."""
    time_ns: int
    """When the write was sent, nanoseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class FoundChange:
    """A record that a consumer with `read_committed` was given."""

    table: str
    key: str
    op: FoundOp
    version: int | None
    """None when the record does not say: a tombstone, or an image that the stream leaves out."""
    topic: str
    partition: int
    offset: int
    seen_ns: int
    """When the consumer was given it, nanoseconds since the epoch."""
    written_ns: int | None = None
    """When the item says that it was written; None for a delete, which leaves no item to say so."""
    snapshot: str | None = None
    """The snapshot that published the record; None for a change."""
    late: bool = False
    """Whether the record says that a newer change of its item precedes it."""


class FaultKind(StrEnum):
    """What may be wrong with a record."""

    LOST = "lost"
    REPEATED = "repeated"
    OUT_OF_ORDER = "out of order"
    NOT_LATE = "said to be late"
    """A change that says so although no newer one precedes it."""
    UNEXPECTED = "unexpected"
    MISPLACED = "misplaced"
    """A key with records in more than one partition."""
    NO_TOMBSTONE = "without tombstone"
    STALE = "stale"
    """A key whose last record does not show what the table holds, which the fault names."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. `offset` is that of the record; None for a lost one."""

    kind: FaultKind
    table: str
    key: str
    op: str
    version: int | None
    partition: int | None = None
    offset: int | None = None

    def __str__(self) -> str:
        version = "" if self.version is None else f" version {self.version}"
        place = "" if self.partition is None else f", partition {self.partition} offset {self.offset}"
        return f"{self.kind}: {self.table} {self.key} {self.op}{version}{place}"


@dataclass(frozen=True)
class Verdict:
    """What the comparison gave; `examples` names the first few faults of each kind."""

    made: int
    found: int
    """Changes found, tombstones and rows not counted."""
    loaded: int
    """Items that were there before their streams began."""
    loaded_by_rows: int
    """Those of them that a snapshot published; the others had a change first."""
    lost: int
    repeated: int
    out_of_order: int
    late: int
    """Changes behind a newer one of their item that say so, as they must; no fault."""
    not_late: int
    unexpected: int
    misplaced: int
    without_tombstone: int
    stale: int
    examples: tuple[Fault, ...]

    @property
    def good(self) -> bool:
        """Whether every change and item was found, none twice, and in the order of each item or said to be late."""
        return not self.examples


def check(
    history: Iterable[Written],
    found: Iterable[FoundChange],
    *,
    loaded: Iterable[Written] = (),
    held: Mapping[tuple[str, str], int] | None = None,
    tombstones: bool = True,
) -> Verdict:
    """Compare the changes of each item, in the order of its versions, with its records, in the order of offsets.

    `loaded` are items from before their streams began, `held` the versions that the tables hold now, by table and key.
    See `Checker`, which does the same while records come.
    """
    checker = Checker(tombstones=tombstones)
    for item in loaded:
        checker.loaded(item.table, item.key, item.version)
    for change in history:
        checker.wrote(change.table, change.key, change.op, change.version)
    for record in sorted(found, key=lambda record: (record.topic, record.partition, record.offset)):
        checker.saw(record)
    return checker.verdict(held)


_CODES: dict[str, int] = {"c": 1, "u": 2, "d": 3}
_OPS: tuple[WrittenOp, ...] = ("c", "u", "d")
_SEEN = 0x80


class _Item:
    """What is known of one item: a byte for each change (its op, and whether it was seen), and the last record."""

    __slots__ = (
        "changes",
        "delete",
        "loaded",
        "misplaced",
        "newest",
        "newest_row",
        "place",
        "previous",
        "shown",
        "snapshots",
    )

    def __init__(self) -> None:
        self.changes = bytearray()
        self.place: tuple[str, int] | None = None
        """Topic and partition of the item's records."""
        self.misplaced: Fault | None = None
        self.previous = 0
        """The version of the last record."""
        self.newest = 0
        self.shown = 0
        """The version that the last record shows; 0 when that is a delete, or there is none."""
        self.loaded = 0
        """The version that it had before its stream began; 0 when it did not exist."""
        self.newest_row = 0
        """The version of the newest row."""
        self.snapshots: frozenset[str | None] = frozenset()
        """Those that published a row of it."""
        self.delete: Fault | None = None
        """The last record is a delete: what is wrong if no tombstone follows."""


class Checker:
    """Compares while records come: a change is told before its record can be seen, records in the order of offsets.

    It holds one byte for each change and the names of the items, no records. One thread may tell what is written,
    another what is found. A record that does not tell its version counts as the one after the record before it: a
    stream without old images does not show the version that it deletes. `tombstones` says whether each delete must be
    followed by one.
    """

    def __init__(self, *, tombstones: bool = True) -> None:
        self.made = 0
        self.found = 0
        """Changes found, tombstones and rows not counted."""
        self.late = 0
        """Changes behind a newer one of their item that say so."""
        self.rows = 0
        """Rows of snapshots found."""
        self._loaded = 0
        self._matched = 0
        self._tombstones = tombstones
        self._items: dict[tuple[str, str], _Item] = {}
        self._counts: Counter[FaultKind] = Counter()
        self._examples: dict[FaultKind, list[Fault]] = defaultdict(list)

    @property
    def missing(self) -> int:
        """Changes made and not found yet."""
        return self.made - self._matched

    def wrote(self, table: str, key: str, op: WrittenOp, version: int) -> None:
        """Note a change that DynamoDB made, or is about to make. The versions of an item count from 1."""
        changes = self._items.setdefault((table, key), _Item()).changes
        changes.extend(bytes(version - len(changes)))
        changes[version - 1] = _CODES[op]
        self.made += 1

    def loaded(self, table: str, key: str, version: int) -> None:
        """Note an item that was there before its stream began: only a snapshot can publish it."""
        item = self._items.setdefault((table, key), _Item())
        item.loaded = version
        self._loaded += 1
        item.changes.extend(bytes(version - len(item.changes)))

    def saw(self, record: FoundChange) -> None:
        """Note a record that a consumer was given."""
        item = self._items.setdefault((record.table, record.key), _Item())
        place = record.topic, record.partition
        if item.place is not None and item.place != place and item.misplaced is None:
            item.misplaced = _fault(FaultKind.MISPLACED, record, record.version)
            self._note(item.misplaced)
        item.place = place
        self._see_tombstone(item, record)
        if record.op == "tombstone":
            return
        if record.op == "r":
            self._saw_row(item, record)
            return
        self.found += 1
        version = item.previous + 1 if record.version is None else record.version
        item.previous = version
        known = item.changes[version - 1] if 0 < version <= len(item.changes) else 0
        if known & ~_SEEN != _CODES.get(record.op):
            self._note(_fault(FaultKind.UNEXPECTED, record, version))
        elif known & _SEEN:
            self._note(_fault(FaultKind.REPEATED, record, version))
        else:
            item.changes[version - 1] |= _SEEN
            self._matched += 1
            self._see_order(item, record, version)
        item.newest = max(item.newest, version)
        item.shown = 0 if record.op == "d" else version

    def _see_order(self, item: _Item, record: FoundChange, version: int) -> None:
        """Note whether a change is in its place: behind a newer change only if it says so, and behind no newer row."""
        is_late = version < item.newest
        if version <= item.newest_row or (is_late and not record.late):
            self._note(_fault(FaultKind.OUT_OF_ORDER, record, version))
        elif record.late and not is_late:
            self._note(_fault(FaultKind.NOT_LATE, record, version))
        else:
            self.late += is_late

    def _saw_row(self, item: _Item, record: FoundChange) -> None:
        """Note a row: a state that the item had, no older than what precedes it, and once in each snapshot."""
        self.rows += 1
        version = record.version or 0
        known = item.changes[version - 1] & ~_SEEN if 0 < version <= len(item.changes) else 0
        if version != item.loaded and known not in {_CODES["c"], _CODES["u"]}:
            self._note(_fault(FaultKind.UNEXPECTED, record, version))
        elif record.snapshot in item.snapshots:
            self._note(_fault(FaultKind.REPEATED, record, version))
        elif version < item.newest:
            self._note(_fault(FaultKind.OUT_OF_ORDER, record, version))
        item.snapshots |= {record.snapshot}
        item.previous = version
        item.newest_row = max(item.newest_row, version)
        item.newest = max(item.newest, version)
        item.shown = version

    def verdict(self, held: Mapping[tuple[str, str], int] | None = None) -> Verdict:
        """Sum up; what was not found until now counts as lost.

        With `held`, the versions that the tables hold by table and key, each item's last record must show the same.
        """
        counts = self._counts.copy()
        examples = {kind: list(faults) for kind, faults in self._examples.items()}

        def note(fault: Fault) -> None:
            counts[fault.kind] += 1
            examples.setdefault(fault.kind, []).append(fault)

        for (table, key), item in sorted(self._items.items()):
            if item.delete is not None and self._tombstones:
                note(item.delete)
            if item.loaded and not item.newest:
                note(Fault(FaultKind.LOST, table, key, "r", item.loaded))
            for version, known in enumerate(item.changes, start=1):
                if known and not known & _SEEN:
                    note(Fault(FaultKind.LOST, table, key, _OPS[known - 1], version))
        if held is not None:
            shown = {name: item.shown for name, item in self._items.items()}
            for name in sorted(shown.keys() | held.keys()):
                version = held.get(name, 0)
                if version != shown.get(name, 0):
                    note(Fault(FaultKind.STALE, *name, "u" if version else "d", version or None))
        return Verdict(
            made=self.made,
            found=self.found,
            loaded=self._loaded,
            loaded_by_rows=sum(bool(item.loaded and item.snapshots) for item in self._items.values()),
            lost=counts[FaultKind.LOST],
            repeated=counts[FaultKind.REPEATED],
            out_of_order=counts[FaultKind.OUT_OF_ORDER],
            late=self.late,
            not_late=counts[FaultKind.NOT_LATE],
            unexpected=counts[FaultKind.UNEXPECTED],
            misplaced=counts[FaultKind.MISPLACED],
            without_tombstone=counts[FaultKind.NO_TOMBSTONE],
            stale=counts[FaultKind.STALE],
            examples=tuple(fault for kind in FaultKind for fault in examples.get(kind, [])[:EXAMPLES_MAX]),
        )

    @property
    def faults(self) -> int:
        """What was found to be wrong until now; what is not found yet does not count."""
        return self._counts.total()

    def _see_tombstone(self, item: _Item, record: FoundChange) -> None:
        """Find the deletes that no tombstone follows, and the tombstones that follow no delete."""
        if record.op == "tombstone":
            if item.delete is None or not self._tombstones:
                self._note(_fault(FaultKind.UNEXPECTED, record, None))
            item.delete = None
            return
        if item.delete is not None and self._tombstones:
            self._note(item.delete)
        item.delete = _fault(FaultKind.NO_TOMBSTONE, record, record.version) if record.op == "d" else None

    def _note(self, fault: Fault) -> None:
        self._counts[fault.kind] += 1
        if len(self._examples[fault.kind]) < EXAMPLES_MAX:
            self._examples[fault.kind].append(fault)


def _fault(kind: FaultKind, record: FoundChange, version: int | None) -> Fault:
    return Fault(kind, record.table, record.key, record.op, version, record.partition, record.offset)
