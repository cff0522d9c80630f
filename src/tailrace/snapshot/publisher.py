"""Publishes chunks: drops the rows that have changed since they were read, and commits the others with the cursor."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import msgspec

from tailrace.core.checkpoint import SegmentKey, SegmentRecord, Write
from tailrace.core.lane_messages import Committed, ProducerLost, Transaction
from tailrace.core.page import Outgoing, Page
from tailrace.kafka.lane_producer import Aborted
from tailrace.kafka.producer_runner import ProducerRunner
from tailrace.snapshot.chunk import Chunk, row_key, row_keys
from tailrace.snapshot.window import RowKey, Window

READ_TIMEOUT_S = 10.0


class Published(msgspec.Struct, frozen=True):
    """A chunk was committed."""

    record: SegmentRecord
    stale: int
    aborts: int


class NotPublished(msgspec.Struct, frozen=True):
    """A chunk was not surely committed."""

    lost: ProducerLost
    page: Page
    """What was sent of its page, to which the refusals refer."""


class Publisher:
    """Publishes the chunks of one lane. For one thread."""

    def __init__(self, lane: int, producer: ProducerRunner) -> None:
        self._lane = lane
        self._producer = producer

    def publish(self, epoch: int, chunk: Chunk, window: Window) -> Published | NotPublished:
        """Publish a chunk whose barrier has passed; `window` is the one that its mark is of.

        Most of what changed is found before the transaction begins, so that it is open for a moment only: it holds back
        what the lanes commit behind it.
        """
        table, mark = chunk.segment.table, chunk.mark
        changed = window.changed(row_keys(chunk.page), mark, table)
        aborts = 0
        while True:
            page = chunk.page.without(partial(_is_of, changed))
            record = chunk.counted(page)
            check = _Check(window, chunk, set(row_keys(page)))
            writes = (Write(self._lane, SegmentKey(chunk.segment), record),)
            pages = (page,) if page.records else ()
            match self._producer.commit_if(epoch, Transaction(pages, writes), check):
                case Committed():
                    return Published(record, record.stale - chunk.follows.stale, aborts)
                case ProducerLost() as lost:
                    return NotPublished(lost, page)
                case Aborted():
                    changed |= check.changed
                    aborts += 1


def _is_of(keys: Collection[RowKey], record: Outgoing) -> bool:
    return row_key(record) in keys


class _Check:
    """Looks whether a row's key has changed before the row's own place in the topic."""

    def __init__(self, window: Window, chunk: Chunk, keys: set[RowKey]) -> None:
        self.changed: set[RowKey] = set()
        self._window = window
        self._chunk = chunk
        self._keys = keys

    def __call__(self) -> bool:
        """Return whether the transaction may be committed; its rows lie in the topics."""
        if self._keys:
            self._window.read_to_end({topic for topic, _ in self._keys}, READ_TIMEOUT_S)
            self.changed = self._window.changed(self._keys, self._chunk.mark, self._chunk.segment.table)
        return not self.changed
