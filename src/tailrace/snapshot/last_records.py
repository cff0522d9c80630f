"""The last record of each key of a topic: on disk, as the keys of a large topic do not fit into memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

from confluent_kafka import Message

from tailrace.kafka import clients
from tailrace.kafka.topic_reader import TopicReader, fetch

_BATCH: Final = 10_000
_SCHEMA: Final = """
CREATE TABLE last (key BLOB PRIMARY KEY, partition INTEGER, position INTEGER, is_alive INTEGER) WITHOUT ROWID;
CREATE INDEX alive ON last (position) WHERE is_alive;
"""
_PUT: Final = "INSERT OR REPLACE INTO last VALUES (?, ?, ?, ?)"
_ALIVE: Final = """
SELECT key, partition, position FROM last
WHERE is_alive AND position >= ? AND position < ? ORDER BY position LIMIT ?
"""
_OF_KEY: Final = "SELECT key, partition, position FROM last WHERE is_alive AND key = ?"


class LastRecord(NamedTuple):
    """The last record of a key that is not a delete."""

    key: bytes
    value: bytes
    partition: int
    offset: int


class LastRecords:
    """Follows a topic, or one partition of it. Not for several threads at the same time."""

    def __init__(
        self,
        user: Mapping[str, str],
        topic: str,
        partition: int | None,
        is_alive: Callable[[bytes, bytes | None], bool | None],
    ) -> None:
        """`is_alive(key, value)` returns whether a record leaves its item there; None: it is not to be looked at."""
        self._user = user
        self._topic = topic
        self._is_alive = is_alive
        self._reader = TopicReader(user, topic, partition=partition)
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)  # a temporary file
        self._database.executescript(_SCHEMA)

    def catch_up(self) -> None:
        """Read on to the present end, past transactions that are open now. Raises WorldError."""
        rows = self._rows()
        while batch := list(islice(rows, _BATCH)):
            self._database.execute("BEGIN")
            self._database.executemany(_PUT, batch)
            self._database.execute("COMMIT")

    def alive(self, first_offset: int, end_offset: int, limit: int) -> list[LastRecord]:
        """Return the last records, not deletes, from one offset of a partition to before another, by offset."""
        return self._fetched(self._database.execute(_ALIVE, (first_offset, end_offset, limit)).fetchall())

    def of_keys(self, keys: Iterable[bytes]) -> list[LastRecord]:
        """Return the last records of these keys that are not deletes."""
        found = (self._database.execute(_OF_KEY, (key,)).fetchone() for key in keys)
        return self._fetched([row for row in found if row is not None])

    def close(self) -> None:
        """Close the consumers and delete the file."""
        self._reader.close()
        self._database.close()

    def _rows(self) -> Iterator[tuple[bytes, int, int, bool]]:
        for message in self._reader.read():
            key = clients.as_bytes(message.key())
            if key is None:
                continue
            is_alive = self._is_alive(key, clients.as_bytes(message.value()))
            if is_alive is not None:
                yield key, message.partition() or 0, message.offset() or 0, is_alive

    def _fetched(self, rows: list[tuple[bytes, int, int]]) -> list[LastRecord]:
        places = [(partition, offset) for _, partition, offset in rows]
        values = {place: _value(message) for place, message in fetch(self._user, self._topic, places).items()}
        return [
            LastRecord(key, values[partition, offset], partition, offset)
            for key, partition, offset in rows
            if values.get((partition, offset))
        ]


def _value(message: Message) -> bytes:
    return clients.as_bytes(message.value()) or b""
