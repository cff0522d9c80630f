"""The last record of each key of a topic: on disk, as the keys of a large topic do not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

from confluent_kafka import Message

from tailrace.connect.registered_documents import AS_WRITTEN, RecordReader
from tailrace.kafka import clients
from tailrace.kafka.topic_reader import TopicReader, fetch
from tailrace.snapshot.temporary_database import TemporaryDatabase

_BATCH: Final = 20_000
_CACHE_KIB: Final = 4_096
"""Small, as there is a database for each partition that is read; more would not help with keys in no order."""
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
        reader: RecordReader = AS_WRITTEN,
    ) -> None:
        """`reader` reads records back as JSON, which all keys and values here are.

        `is_alive(key, value)` returns whether a record leaves its item there; None: it is not to be looked at.
        """
        self._user = user
        self._topic = topic
        self._is_alive = is_alive
        self._record_reader = reader
        self._reader = TopicReader(user, topic, partition=partition)
        self._database = TemporaryDatabase(_SCHEMA, cache_kib=_CACHE_KIB)

    def catch_up(self) -> None:
        """Read on to the present end, past transactions that are open now.

        Raises WorldError; what was read is not all kept then, and this is to be closed.
        """
        rows = self._rows()
        while batch := list(islice(rows, _BATCH)):
            last = {key: (key, partition, offset, is_alive) for key, partition, offset, is_alive in batch}
            self._database.write(_PUT, [last[key] for key in sorted(last)])

    def alive(self, first_offset: int, end_offset: int, limit: int) -> list[LastRecord]:
        """Return the last records, not deletes, from one offset of a partition to before another, by offset."""
        return self._fetched(self._database.query(_ALIVE, (first_offset, end_offset, limit)))

    def of_keys(self, keys: Iterable[bytes]) -> list[LastRecord]:
        """Return the last records of these keys that are not deletes."""
        return self._fetched([row for key in keys for row in self._database.query(_OF_KEY, (key,))])

    def close(self) -> None:
        """Close the consumers and delete the file."""
        self._reader.close()
        self._database.close()

    def _rows(self) -> Iterator[tuple[bytes, int, int, bool]]:
        for message in self._reader.read():
            key = clients.as_bytes(message.key())
            if key is None:
                continue
            key, value = self._record_reader.key(key), self._value(message)
            is_alive = self._is_alive(key, value)
            if is_alive is not None:
                yield key, message.partition() or 0, message.offset() or 0, is_alive

    def _fetched(self, rows: list[tuple[bytes, int, int]]) -> list[LastRecord]:
        places = [(partition, offset) for _, partition, offset in rows]
        values = {place: self._value(message) for place, message in fetch(self._user, self._topic, places).items()}
        return [
            LastRecord(key, value, partition, offset)
            for key, partition, offset in rows
            if (value := values.get((partition, offset)))
        ]

    def _value(self, message: Message) -> bytes | None:
        value = clients.as_bytes(message.value())
        return None if value is None else self._record_reader.value(value)
