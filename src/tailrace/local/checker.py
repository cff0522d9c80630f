"""Compares what was written to DynamoDB with what is found in Kafka, item by item. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
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


class FaultKind(StrEnum):
    """What may be wrong with a record."""

    LOST = "lost"
    REPEATED = "repeated"
    OUT_OF_ORDER = "out of order"
    UNEXPECTED = "unexpected"
    MISPLACED = "misplaced"
    """A key with records in more than one partition."""
    NO_TOMBSTONE = "without tombstone"


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
    """Changes found, tombstones not counted."""
    lost: int
    repeated: int
    out_of_order: int
    unexpected: int
    misplaced: int
    without_tombstone: int
    examples: tuple[Fault, ...]

    @property
    def good(self) -> bool:
        """Whether every change was found exactly once and in the order of its item."""
        return not self.examples


def check(history: Iterable[Written], found: Iterable[FoundChange], *, tombstones: bool = True) -> Verdict:
    """Compare the changes of each item, in the order of its versions, with its records, in the order of offsets.

    A record that does not tell its version counts as the one after the record before it: a stream without old images
    does not show the version that it deletes. `tombstones` says whether each delete must be followed by one.
    """
    written: dict[tuple[str, str], list[Written]] = defaultdict(list)
    for change in history:
        written[change.table, change.key].append(change)
    records: dict[tuple[str, str], list[FoundChange]] = defaultdict(list)
    for record in sorted(found, key=lambda record: (record.topic, record.partition, record.offset)):
        records[record.table, record.key].append(record)

    faults: list[Fault] = []
    for item in written.keys() | records.keys():
        faults += _item_faults(written.get(item, []), records.get(item, []), tombstones=tombstones)
    faults.sort(key=lambda fault: (fault.table, fault.key, fault.version or 0))
    counts = Counter(fault.kind for fault in faults)
    return Verdict(
        made=sum(map(len, written.values())),
        found=sum(record.op != "tombstone" for of_item in records.values() for record in of_item),
        lost=counts[FaultKind.LOST],
        repeated=counts[FaultKind.REPEATED],
        out_of_order=counts[FaultKind.OUT_OF_ORDER],
        unexpected=counts[FaultKind.UNEXPECTED],
        misplaced=counts[FaultKind.MISPLACED],
        without_tombstone=counts[FaultKind.NO_TOMBSTONE],
        examples=tuple(
            fault for kind in FaultKind for fault in [one for one in faults if one.kind is kind][:EXAMPLES_MAX]
        ),
    )


def _item_faults(written: Sequence[Written], records: Sequence[FoundChange], *, tombstones: bool) -> list[Fault]:
    faults = _tombstone_faults(records, wanted=tombstones)
    if len({(record.topic, record.partition) for record in records}) > 1:
        faults.append(_fault(FaultKind.MISPLACED, records[-1], records[-1].version))

    expected = {(change.op, change.version) for change in written}
    seen: set[tuple[str, int]] = set()
    previous = newest = 0
    for record in records:
        if record.op == "tombstone":
            continue
        version = previous + 1 if record.version is None else record.version
        previous = version
        change = (record.op, version)
        if change not in expected:
            faults.append(_fault(FaultKind.UNEXPECTED, record, version))
        elif change in seen:
            faults.append(_fault(FaultKind.REPEATED, record, version))
        elif version < newest:
            faults.append(_fault(FaultKind.OUT_OF_ORDER, record, version))
        seen.add(change)
        newest = max(newest, version)
    faults += [
        Fault(FaultKind.LOST, change.table, change.key, change.op, change.version)
        for change in written
        if (change.op, change.version) not in seen
    ]
    return faults


def _tombstone_faults(records: Sequence[FoundChange], *, wanted: bool) -> list[Fault]:
    """Find the deletes that no tombstone follows, and the tombstones that follow no delete."""
    faults: list[Fault] = []
    delete: FoundChange | None = None
    for record in records:
        if record.op == "tombstone":
            if delete is None or not wanted:
                faults.append(_fault(FaultKind.UNEXPECTED, record, None))
            delete = None
            continue
        if delete is not None and wanted:
            faults.append(_fault(FaultKind.NO_TOMBSTONE, delete, delete.version))
        delete = record if record.op == "d" else None
    if delete is not None and wanted:
        faults.append(_fault(FaultKind.NO_TOMBSTONE, delete, delete.version))
    return faults


def _fault(kind: FaultKind, record: FoundChange, version: int | None) -> Fault:
    return Fault(kind, record.table, record.key, record.op, version, record.partition, record.offset)
