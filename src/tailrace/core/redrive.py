"""What is published again, and what is not: choosing dead letters, and comparing them with what a topic holds. Pure."""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

import msgspec

from tailrace.core.page import Outgoing
from tailrace.core.shard import ShardRef


class Place(NamedTuple):
    """Where a dead letter stands in its topic."""

    partition: int
    offset: int


class DeadLetter(msgspec.Struct, frozen=True):
    """What the headers of a dead letter say; the source's record, its value, is fetched when it is needed."""

    place: Place
    table: str
    shard: ShardRef
    sequence: str
    created_ms: int
    stage: str
    exception: str
    message: str
    size_bytes: int
    """Size of the source's record; 0 when it was too large to be kept."""


class Selection(msgspec.Struct, frozen=True):
    """Which dead letters are meant. What is empty or None asks for nothing."""

    tables: tuple[str, ...] = ()
    """Names; `*` and `?` stand for other characters."""
    reason: str = ""
    """Text within the message or the exception's class, whatever its case."""
    stages: tuple[str, ...] = ()
    since_ms: int | None = None
    """Only changes created at this time or later."""
    until_ms: int | None = None
    """Only changes created before this time."""

    def matches(self, letter: DeadLetter) -> bool:
        """Return whether a dead letter is meant."""
        reason = self.reason.casefold()
        return (
            self.wants(letter.table)
            and (reason in letter.message.casefold() or reason in letter.exception.casefold())
            and (not self.stages or letter.stage in self.stages)
            and (self.since_ms is None or letter.created_ms >= self.since_ms)
            and (self.until_ms is None or letter.created_ms < self.until_ms)
        )

    def wants(self, table: str) -> bool:
        """Return whether a table is meant."""
        return not self.tables or any(fnmatchcase(table, pattern) for pattern in self.tables)


class Pending:
    """The dead letters that are meant and not published again yet: the dead-letter topic, folded."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._letters: dict[Place, DeadLetter] = {}

    def add(self, found: DeadLetter | Place) -> None:
        """Take in a dead letter, or the mark that the one at a place was published again."""
        if isinstance(found, DeadLetter):
            if self._selection.matches(found):
                self._letters[found.place] = found
        else:  # the mark stands behind its dead letter, in the same partition
            self._letters.pop(found, None)

    def __contains__(self, letter: DeadLetter) -> bool:
        return letter.place in self._letters

    def in_order(self) -> list[DeadLetter]:
        """Return them in the order of their partition; the partitions woven by creation time, which may go back."""
        partitions: defaultdict[int, list[DeadLetter]] = defaultdict(list)
        for place in sorted(self._letters):
            partitions[place.partition].append(self._letters[place])
        return list(heapq.merge(*partitions.values(), key=lambda letter: letter.created_ms))


class SourcePosition(msgspec.Struct, frozen=True):
    """Which change a record on a topic is of, as far as its format tells."""

    stream: str
    shard_id: str | None
    """None where the format leaves it out."""
    sequence: int
    created_ms: int


class _Newest(NamedTuple):
    sequence: int
    moment: tuple[int, int]
    """Creation time, then sequence number: what decides between two shards."""


_Key = tuple[str, bytes | None]
"""Topic and message key."""
_Change = tuple[str, int]
"""Stream and sequence number."""


class Published:
    """What topics hold of the keys of records that are to be published again.

    First all records are named with `want`; then everything in their topics is shown to `add`, from before the first
    one's creation time on.
    """

    def __init__(self) -> None:
        self._wanted: set[_Key] = set()
        self._changes: set[_Change] = set()
        self._held: set[tuple[_Key, _Change]] = set()
        self._unplaced: defaultdict[_Key, list[tuple[int, bytes]]] = defaultdict(list)
        """Records that do not tell their change: creation time and digest."""
        self._newest: defaultdict[_Key, dict[tuple[str, str | None], _Newest]] = defaultdict(dict)

    @property
    def topics(self) -> list[str]:
        """The topics that are to be read."""
        return sorted({topic for topic, _ in self._wanted})

    def want(self, shard: ShardRef, records: Iterable[Outgoing]) -> None:
        """Name the records made of one change."""
        for record in records:
            self._wanted.add((record.topic, record.key))
            self._changes.add((shard.stream, int(record.origin.sequence)))

    def wants(self, topic: str, key: bytes | None) -> bool:
        """Return whether a record is worth a look."""
        return (topic, key) in self._wanted

    def add(
        self, topic: str, key: bytes | None, value: bytes | None, position: SourcePosition | None, created_ms: int
    ) -> None:
        """Take in a record of a topic; `position` None when its format does not tell. `created_ms` is its timestamp."""
        at = topic, key
        if at not in self._wanted:
            return
        if position is None:
            self._unplaced[at].append((created_ms, _digest(value)))
            return
        change = position.stream, position.sequence
        if change in self._changes:
            self._held.add((at, change))
        shard = position.stream, position.shard_id
        new = _Newest(position.sequence, (position.created_ms, position.sequence))
        old = self._newest[at].get(shard, new)
        self._newest[at][shard] = _Newest(max(old.sequence, new.sequence), max(old.moment, new.moment))

    def holds(self, shard: ShardRef, record: Outgoing) -> bool:
        """Return whether the topic holds the record, by its sequence number."""
        return ((record.topic, record.key), (shard.stream, int(record.origin.sequence))) in self._held

    def take_same(self, record: Outgoing) -> bool:
        """Return whether the topic holds a record of the same bytes and time that does not tell its change.

        It is taken out: it stands for one change only, and is not newer than those behind it.
        """
        unplaced = self._unplaced.get((record.topic, record.key), [])
        same = record.timestamp_ms, _digest(record.value)
        if same not in unplaced:
            return False
        unplaced.remove(same)
        return True

    def has_newer(self, shard: ShardRef, record: Outgoing) -> bool:
        """Return whether the topic holds a newer change of the record's key.

        Sequence numbers of one shard compare as integers. Between shards, and where the format does not name them, the
        creation time decides, then, within a stream, the sequence number. A record that tells nothing but its time
        counts as newer when it is of the same time: what is left out wrongly can still be published, not the reverse.
        """
        at, sequence = (record.topic, record.key), int(record.origin.sequence)
        if any(created_ms >= record.timestamp_ms for created_ms, _ in self._unplaced.get(at, [])):
            return True
        for (stream, shard_id), newest in self._newest.get(at, {}).items():
            if (stream, shard_id) == shard:
                is_newer = newest.sequence > sequence
            elif stream == shard.stream:
                is_newer = newest.moment > (record.timestamp_ms, sequence)
            else:
                is_newer = newest.moment[0] >= record.timestamp_ms
            if is_newer:
                return True
        return False


def _digest(value: bytes | None) -> bytes:
    return b"" if value is None else hashlib.sha256(value).digest()
