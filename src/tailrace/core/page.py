"""A page on its way to Kafka: the records made of one answer of GetRecords, published whole or not at all."""

from __future__ import annotations

from typing import SupportsBytes

import msgspec

from tailrace.core.change import Headers
from tailrace.core.shard import ShardRef, is_after


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One Kafka record ready to be produced, and what a dead letter would need if the broker refused it."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers | None
    timestamp_ms: int
    sequence: str
    raw: SupportsBytes
    """The source's record as read: copied, or a part of the page's body, which `Page.size_bytes` counts."""
    partition: int = -1
    """The topic's partition; -1 leaves it to the key."""


class SetAside(msgspec.Struct, frozen=True):
    """Why a record is too large for its topic; `bare` when even its dead letter is, and goes without a value."""

    reason: str
    bare: bool = False


class Page(msgspec.Struct, frozen=True):
    """What one read of a shard gave. `next_iterator` None means the shard's end.

    `change_count` counts the changes read, `dropped_count` those of them that a transformation dropped, `native_count`
    those that the native transcoder converted.
    `stop` tells why nothing after these records may be published (`errors: fail` met a record that cannot be
    converted). `set_aside` maps an index of `records` to the reason why a dead letter takes its place.
    """

    shard: ShardRef
    table: str
    records: list[Outgoing]
    change_count: int
    size_bytes: int
    first_sequence: str | None
    last_sequence: str | None
    last_created_ms: int | None
    next_iterator: str | None
    full: bool = False
    dropped_count: int = 0
    native_count: int = 0
    stop: str | None = None
    set_aside: dict[int, SetAside] = msgspec.field(default_factory=dict)

    def cut_before(self, index: int, why: str) -> Page:
        """Return the page up to, and without, the change that record `index` belongs to; `why` becomes its `stop`.

        No record before it is to be set aside.
        """
        sequence = self.records[index].sequence
        kept = [record for record in self.records[:index] if record.sequence != sequence]
        last = kept[-1] if kept else None
        return msgspec.structs.replace(
            self,
            records=kept,
            change_count=min(len(kept), self.change_count),
            dropped_count=0,
            first_sequence=kept[0].sequence if kept else None,
            last_sequence=last.sequence if last else None,
            last_created_ms=last.timestamp_ms if last else None,
            stop=why,
            set_aside={},
        )

    def without_repeats(self, sequence: str | None) -> Page:
        """Return the page without records at or before `sequence`; itself when there are none (the usual case)."""
        if self.first_sequence is None or is_after(self.first_sequence, sequence):
            return self
        kept = [record for record in self.records if is_after(record.sequence, sequence)]
        passed = len(self.records) - len(kept)
        advanced = self.last_sequence is not None and is_after(self.last_sequence, sequence)
        return msgspec.structs.replace(
            self,
            records=kept,
            change_count=min(len(kept), self.change_count),
            dropped_count=0,
            first_sequence=kept[0].sequence if kept else None,
            last_sequence=self.last_sequence if advanced else sequence,
            set_aside={index - passed: mark for index, mark in self.set_aside.items() if index >= passed},
        )


def empty_page(shard: ShardRef, table: str) -> Page:
    """Return a page without records: it only carries a checkpoint."""
    return Page(
        shard=shard,
        table=table,
        records=[],
        change_count=0,
        size_bytes=0,
        first_sequence=None,
        last_sequence=None,
        last_created_ms=None,
        next_iterator=None,
    )
