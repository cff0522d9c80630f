"""A page on its way to Kafka: the records made of one read of a shard, published whole or not at all."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tailrace.core.change import Headers, Origin, Skip
from tailrace.core.shard import ShardRef, is_after


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One Kafka record ready to be produced, and the record of the source that it is made of."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers | None
    timestamp_ms: int
    origin: Origin
    """One object for all records of a change."""
    partition: int = -1
    """The topic's partition; -1 leaves it to the key."""
    is_dead_letter: bool = False


class SetAside(msgspec.Struct, frozen=True):
    """Why a record is too large for its topic; `bare` if even its dead letter is, and is sent without a value."""

    reason: str
    bare: bool = False


class Page(msgspec.Struct, frozen=True):
    """What one read of a shard returned, converted. `next_iterator` None means the shard's end."""

    shard: ShardRef
    changes: list[Origin]
    """The changes read, in their order."""
    records: list[Outgoing]
    """The records to publish, in their order: none, one or several for each change."""
    size_bytes: int
    last_sequence: str | None
    """The shard is read up to here: the last change, or the earlier position if all were repeats."""
    last_created_ms: int | None
    next_iterator: str | None
    full: bool = False
    tables: frozenset[str] = frozenset()
    """The tables of the changes."""
    dropped: list[Origin] = []
    """The changes that a transformation dropped."""
    skipped: list[tuple[Origin, Skip]] = []
    """The changes of which nothing is published, and why."""
    native_counts: dict[str, int] = {}
    """How many changes of a table the native transcoder converted."""
    window_from: str | None = None
    """As in `SourcePage`: it is true of any part of the page."""
    arrived_ms: int | None = None
    """When the last change arrived in the stream, if the source tells."""
    read_bytes: int = 0
    """Size of the source's response."""
    stop: str | None = None
    """Why nothing after these records may be published: `errors: fail` met a record that cannot be converted."""
    set_aside: dict[int, SetAside] = {}
    """Indices of `records` to replace by a dead letter, and why."""

    @property
    def first_sequence(self) -> str | None:
        """The sequence number of the first change."""
        return self.changes[0].sequence if self.changes else None

    def cut_before(self, index: int, why: str) -> Page:
        """Return the page up to, but without, the change of record `index`; `why` becomes its `stop`.

        No earlier record is to be set aside. An earlier change is cut, too, unless its sequence number is before those
        of all that are cut: a checkpoint is only between what is published and what is not.
        """
        cut = self.records[index].origin
        place = next(place for place, origin in enumerate(self.changes) if origin is cut)
        return self.before(min((origin.sequence for origin in self.changes[place:]), key=int), why)

    def before(self, sequence: str, why: str) -> Page:
        """Return the page without the changes at or after `sequence`; `why` becomes its `stop`."""
        page = self._where(lambda origin: is_after(sequence, origin.sequence))
        last = max(page.changes, key=lambda origin: int(origin.sequence), default=None)
        return msgspec.structs.replace(
            page,
            last_sequence=last.sequence if last else None,
            last_created_ms=last.created_ms if last else None,
            stop=why,
            set_aside={},
        )

    def without_repeats(self, sequence: str | None) -> Page:
        """Return the page without changes at or before `sequence`; itself when there are none (the usual case)."""
        if not self.changes or is_after(self.changes[0].sequence, sequence):
            return self
        page = self._where(lambda origin: is_after(origin.sequence, sequence))
        passed = len(self.records) - len(page.records)
        return msgspec.structs.replace(
            page,
            last_sequence=self.last_sequence if page.changes else sequence,
            set_aside={index - passed: mark for index, mark in self.set_aside.items() if index >= passed},
        )

    def without(self, leaves_out: Callable[[Outgoing], bool]) -> Page:
        """Return the page without the changes of which any record is to be left out."""
        gone = {id(record.origin) for record in self.records if leaves_out(record)}
        if not gone:
            return self
        places = [index for index, record in enumerate(self.records) if id(record.origin) not in gone]
        marks = {place: self.set_aside[index] for place, index in enumerate(places) if index in self.set_aside}
        return msgspec.structs.replace(self._where(lambda origin: id(origin) not in gone), set_aside=marks)

    def of_each_table(self) -> dict[str, Page]:
        """Return each table's part of the page: the whole page if it has one table (the usual case)."""
        if len(self.tables) == 1:
            return dict.fromkeys(self.tables, self)
        return {table: self._of(table) for table in sorted(self.tables)}

    def _of(self, table: str) -> Page:
        indices = [index for index, record in enumerate(self.records) if record.origin.table == table]
        marks = {place: self.set_aside[index] for place, index in enumerate(indices) if index in self.set_aside}
        return msgspec.structs.replace(self._where(lambda origin: origin.table == table), set_aside=marks)

    def _where(self, keeps: Callable[[Origin], bool]) -> Page:
        """Return the page with only some of its changes and their records; the caller handles `set_aside`."""
        changes = [origin for origin in self.changes if keeps(origin)]
        return msgspec.structs.replace(
            self,
            changes=changes,
            records=[record for record in self.records if keeps(record.origin)],
            tables=frozenset(origin.table for origin in changes),
            dropped=[origin for origin in self.dropped if keeps(origin)],
            skipped=[skipped for skipped in self.skipped if keeps(skipped[0])],
        )


def empty_page(shard: ShardRef) -> Page:
    """Return a page without changes: it only carries a checkpoint."""
    return Page(
        shard=shard,
        changes=[],
        records=[],
        size_bytes=0,
        last_sequence=None,
        last_created_ms=None,
        next_iterator=None,
    )
