"""A chunk: the rows of one read on their way to the topics, published whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tailrace.core.checkpoint import SegmentRecord, SegmentRef
from tailrace.core.page import Outgoing, Page
from tailrace.kafka import headers
from tailrace.snapshot.window import Mark, RowKey


class Chunk(msgspec.Struct, frozen=True):
    """What one read of a segment returned, converted."""

    segment: SegmentRef
    follows: SegmentRecord
    """The segment's record when it was read: the chunk may only be published behind it."""
    page: Page
    """The rows, as records."""
    next: SegmentRecord
    """The segment's record once the chunk is published; `counted` fills in its rows."""
    mark: Mark
    """Where the table's topics had been read to before the rows were read."""
    deletes: frozenset[int] = frozenset()
    """Which of the page's changes are deletes of items that the table does not have: the `id` of each."""
    read_ms: int = 0
    """When the last row had been read: it may be published once all changes up to then are."""
    asked_s: float = 0.0
    """When the read was begun, by the host's monotonic time."""

    def counted(self, page: Page) -> SegmentRecord:
        """Return the segment's record once `page` is published in the chunk's place."""
        deletes = sum(id(change) in self.deletes for change in page.changes)
        return msgspec.structs.replace(
            self.next,
            rows=self.follows.rows + len(page.changes) - deletes,
            deletes=self.follows.deletes + deletes,
            stale=self.follows.stale + len(self.page.changes) - len(page.changes),
        )


def row_keys(page: Page) -> Iterator[RowKey]:
    """Yield the topics and keys that a page's rows are published under."""
    for record in page.records:
        if key := row_key(record):
            yield key


def row_key(record: Outgoing) -> RowKey | None:
    """Return where a row's record goes; None for a dead letter, which no change follows."""
    return None if record.is_dead_letter or record.key is None else (record.topic, record.key)


def marked(records: list[Outgoing], snapshot_id: str) -> list[Outgoing]:
    """Return the records with the snapshot's header."""
    mark = (headers.SNAPSHOT, snapshot_id.encode())
    own = {id(each): [*each, mark] for each in {id(r.headers): r.headers for r in records if r.headers}.values()}
    alone = [mark]
    return [
        Outgoing(
            each.topic,
            each.key,
            each.value,
            own[id(each.headers)] if each.headers else alone,
            each.timestamp_ms,
            each.origin,
            each.partition,
            each.is_dead_letter,
        )
        for each in records
    ]
