"""The pages that a lane has read but not committed, in the order of reading, cut into transactions."""

from __future__ import annotations

from collections import Counter, deque
from typing import NamedTuple

from tailrace.core.checkpoint import Checkpoint, CheckpointKey, Write
from tailrace.core.lane_messages import Transaction
from tailrace.core.page import Page
from tailrace.core.shard import ShardRef


class _Entry(NamedTuple):
    page: Page
    checkpoint: Checkpoint


class CommitBuffer:
    """Pages and checkpoint records that wait for a transaction; at most one transaction is in flight.

    A page is never split, so a checkpoint is never in the middle of one.
    """

    def __init__(self, lane: int) -> None:
        self._lane = lane
        self._waiting: deque[_Entry] = deque()
        self._under_way: list[_Entry] = []
        self._waiting_writes: list[Write] = []
        self._writes_under_way: list[Write] = []
        self._checkpoints_under_way: dict[ShardRef, Checkpoint] = {}
        self._held: Counter[ShardRef] = Counter()
        """Pages in flight or waiting."""
        self.size_bytes = 0
        """Bytes of all pages, in flight or waiting."""
        self.waiting_changes = 0
        self.waiting_bytes = 0
        self.oldest_ms: int | None = None
        """When the oldest waiting entry was added."""

    @property
    def is_under_way(self) -> bool:
        """A transaction is in flight: its outcome is not known."""
        return bool(self._under_way or self._writes_under_way)

    @property
    def has_waiting(self) -> bool:
        """Something waits for a transaction."""
        return bool(self._waiting or self._waiting_writes)

    def add_page(self, page: Page, checkpoint: Checkpoint, now_ms: int) -> None:
        """Add a page and the checkpoint that holds once it is committed."""
        self._waiting.append(_Entry(page, checkpoint))
        self._count(page, 1)
        self._hold(page)
        self._note_age(now_ms)

    def add_writes(self, writes: tuple[Write, ...], now_ms: int) -> None:
        """Add records for the checkpoint topic."""
        self._waiting_writes.extend(writes)
        if writes:
            self._note_age(now_ms)

    @property
    def has_only_full_pages(self) -> bool:
        """All waiting entries are pages after which there is more to read at once."""
        return not self._waiting_writes and all(entry.page.full for entry in self._waiting)

    def cut(self, max_changes: int, max_bytes: int, now_ms: int) -> Transaction:
        """Take the next transaction: pages until a bound is reached, at least one, and all waiting records."""
        changes = size = 0
        while self._waiting and (not self._under_way or (changes < max_changes and size < max_bytes)):
            entry = self._waiting.popleft()
            self._count(entry.page, -1)
            self._under_way.append(entry)
            changes += len(entry.page.changes)
            size += entry.page.size_bytes
        self._writes_under_way, self._waiting_writes = self._waiting_writes, []
        self.oldest_ms = now_ms if self._waiting else None
        # The last page of each shard has its checkpoint.
        self._checkpoints_under_way = {entry.page.shard: entry.checkpoint for entry in self._under_way}
        writes = [
            Write(self._lane, CheckpointKey(*shard), checkpoint)
            for shard, checkpoint in self._checkpoints_under_way.items()
        ]
        return Transaction(tuple(entry.page for entry in self._under_way), (*self._writes_under_way, *writes))

    def committed(self) -> dict[ShardRef, Checkpoint]:
        """Drop the transaction in flight, which is now published; return its checkpoints exactly as written."""
        checkpoints, self._checkpoints_under_way = self._checkpoints_under_way, {}
        for entry in self._under_way:
            self._let_go(entry.page)
        self._under_way, self._writes_under_way = [], []
        return checkpoints

    def holds(self, shard: ShardRef) -> bool:
        """Return whether a page of `shard` is in flight or waiting."""
        return shard in self._held

    def page_under_way(self, index: int) -> Page:
        """Return a page of the transaction in flight."""
        return self._under_way[index].page

    def drop_waiting(self, shards: set[ShardRef]) -> None:
        """Drop the waiting pages of `shards`; a transaction in flight continues."""
        kept = [entry for entry in self._waiting if entry.page.shard not in shards]
        for entry in self._waiting:
            if entry.page.shard in shards:
                self._count(entry.page, -1)
                self._let_go(entry.page)
        self._waiting = deque(kept)
        if not self.has_waiting:
            self.oldest_ms = None

    def _count(self, page: Page, sign: int) -> None:
        self.waiting_changes += sign * len(page.changes)
        self.waiting_bytes += sign * page.size_bytes

    def _hold(self, page: Page) -> None:
        self.size_bytes += page.size_bytes
        self._held[page.shard] += 1

    def _let_go(self, page: Page) -> None:
        self.size_bytes -= page.size_bytes
        self._held[page.shard] -= 1
        if not self._held[page.shard]:
            del self._held[page.shard]

    def _note_age(self, now_ms: int) -> None:
        if self.oldest_ms is None:
            self.oldest_ms = now_ms
