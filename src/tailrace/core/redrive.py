"""Which dead letters to publish again: the selection, and the comparison with what a topic holds. Pure."""

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
    """The position of a dead letter in its topic."""

    partition: int
    offset: int


class DeadLetter(msgspec.Struct, frozen=True):
    """The headers of a dead letter; its value, the source record, is fetched when needed."""

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
    """A selection of dead letters. Empty or None means no restriction."""

    tables: tuple[str, ...] = ()
    """Names; `*` and `?` are wildcards."""
    reason: str = ""
    """Text in the message or the exception's class, ignoring case."""
    stages: tuple[str, ...] = ()
    since_ms: int | None = None
    """Only changes created at this time or later."""
    until_ms: int | None = None
    """Only changes created before this time."""

    def matches(self, letter: DeadLetter) -> bool:
        """Return whether a dead letter is selected."""
        reason = self.reason.casefold()
        return (
            self.wants(letter.table)
            and (reason in letter.message.casefold() or reason in letter.exception.casefold())
            and (not self.stages or letter.stage in self.stages)
            and (self.since_ms is None or letter.created_ms >= self.since_ms)
            and (self.until_ms is None or letter.created_ms < self.until_ms)
        )

    def wants(self, table: str) -> bool:
        """Return whether a table is selected."""
        return not self.tables or any(fnmatchcase(table, pattern) for pattern in self.tables)


class Pending:
    """The selected dead letters that are not yet redriven: the dead-letter topic, folded."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._letters: dict[Place, DeadLetter] = {}

    def add(self, found: DeadLetter | Place) -> None:
        """Take in a dead letter, or the mark that a dead letter was redriven."""
        if isinstance(found, DeadLetter):
            if self._selection.matches(found):
                self._letters[found.place] = found
        else:  # the mark follows its dead letter, in the same partition
            self._letters.pop(found, None)

    def __contains__(self, letter: DeadLetter) -> bool:
        return letter.place in self._letters

    def in_order(self) -> list[DeadLetter]:
        """Return them in partition order, merged over partitions by creation time, which may go back."""
        partitions: defaultdict[int, list[DeadLetter]] = defaultdict(list)
        for place in sorted(self._letters):
            partitions[place.partition].append(self._letters[place])
        return list(heapq.merge(*partitions.values(), key=lambda letter: letter.created_ms))


class SourcePosition(msgspec.Struct, frozen=True):
    """The change of a record in a topic, as far as its format carries it."""

    stream: str
    shard_id: str | None
    """None where the format leaves it out."""
    sequence: int
    created_ms: int


class _Newest(NamedTuple):
    sequence: int
    moment: tuple[int, int]
    """Creation time, then sequence number: this decides between two shards."""


_Key = tuple[str, bytes | None]
"""Topic and message key."""
_Change = tuple[str, int]
"""Stream and sequence number."""


class Published:
    """What topics hold for the keys of the records to redrive.

    First add all records with `want`; then pass everything in their topics to `add`, starting before the creation time
    of the first.
    """

    def __init__(self) -> None:
        self._wanted: set[_Key] = set()
        self._changes: set[_Change] = set()
        self._held: set[tuple[_Key, _Change]] = set()
        self._unplaced: defaultdict[_Key, list[tuple[int, bytes]]] = defaultdict(list)
        """Records that do not carry their change: creation time and digest."""
        self._newest: defaultdict[_Key, dict[tuple[str, str | None], _Newest]] = defaultdict(dict)

    @property
    def topics(self) -> list[str]:
        """The topics to read."""
        return sorted({topic for topic, _ in self._wanted})

    def want(self, shard: ShardRef, records: Iterable[Outgoing]) -> None:
        """Add the records made of one change."""
        for record in records:
            self._wanted.add((record.topic, record.key))
            self._changes.add((shard.stream, int(record.origin.sequence)))

    def wants(self, topic: str, key: bytes | None) -> bool:
        """Return whether a record is relevant."""
        return (topic, key) in self._wanted

    def add(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        position: SourcePosition | None,
        created_ms: int,
        *,
        replayed: bool = False,
    ) -> None:
        """Take in a record of a topic;

        `position` is None if its format does not carry it. `created_ms` is its timestamp. A `replayed` record is a
        repetition, which consumers may leave out: it counts as newer than what is older, but its change is not held.
        """
        at = topic, key
        if at not in self._wanted:
            return
        if position is None:
            self._unplaced[at].append((created_ms, _digest(value)))
            return
        change = position.stream, position.sequence
        if change in self._changes and not replayed:
            self._held.add((at, change))
        shard = position.stream, position.shard_id
        new = _Newest(position.sequence, (position.created_ms, position.sequence))
        old = self._newest[at].get(shard, new)
        self._newest[at][shard] = _Newest(max(old.sequence, new.sequence), max(old.moment, new.moment))

    def holds(self, shard: ShardRef, record: Outgoing) -> bool:
        """Return whether the topic holds the record, by its sequence number."""
        return ((record.topic, record.key), (shard.stream, int(record.origin.sequence))) in self._held

    def take_same(self, record: Outgoing) -> bool:
        """Return whether the topic holds a record with the same bytes and time that does not carry its change.

        That record is removed: it stands for one change only, and is not newer than later ones.
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
        creation time decides, then, within a stream, the sequence number. A record that only carries its time counts as
        newer if the time is equal: what is wrongly left out can still be published, but not the reverse.
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
