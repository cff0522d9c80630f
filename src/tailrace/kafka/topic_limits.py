"""How much a topic takes at a time: known before sending where the cluster tells, learned from refusals where not.

The broker compares `max.message.bytes` with a whole record batch, compressed as the client sent it. librdkafka closes a
batch before the record that would make it larger than `batch.size`, uncompressed. So a producer whose `batch.size` is
no more than any topic takes never has a batch of several records refused for its size, and a record that may be too
large is always a batch of its own, so a refusal is certainly about it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, NamedTuple

from tailrace.core.page import Outgoing
from tailrace.errors import WorldError
from tailrace.kafka.properties import PRODUCER_DEFAULTS

UNLIMITED: Final = 2**31 - 1
"""What librdkafka takes for `batch.size` at most."""
_BATCH_BYTES = 1_000_000
"""librdkafka's default of `batch.size`."""
_RECORD_BYTES_MIN = 68
"""What a batch of one record adds to its key, value and headers at least: 61 bytes of the batch and 7 of the record."""
_ORDINARY_BYTES = 900_000
"""Values up to here fit into a topic that was left as Kafka makes it (1,048,588), a key and headers included."""
_KEY_AND_HEADERS_BYTES = 1_048_588 - _ORDINARY_BYTES
_FRESH_S = 10.0
"""A record is set aside only by a limit that was asked for within so long: it may have been raised."""


class _Known(NamedTuple):
    limit: int | None
    asked_s: float


class TopicLimits:
    """What a process knows of the topics of one pipeline. Safe for several threads."""

    def __init__(
        self,
        properties: Mapping[str, str],
        *,
        topics_of: Callable[[str], Collection[str]] = lambda _table: (),
        describe: Callable[[Collection[str]], Mapping[str, int | None]] = lambda _topics: {},
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`properties` are the producer's. `topics_of` gives the topics that records of a table may go to.

        `describe` asks the cluster for the limits of topics, in bytes; None where it does not tell.
        """
        tuned = {**PRODUCER_DEFAULTS, **properties}
        self._own_batch_bytes = int(tuned.get("batch.size", _BATCH_BYTES))
        self._message_bytes = int(tuned["message.max.bytes"])
        self._compresses = tuned.get("compression.codec", tuned["compression.type"]) != "none"
        self._topics_of = topics_of
        self._describe = describe
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._assumed: dict[str, int] = {}
        """What topics may take whose limit is not known, or did not hold."""
        self._tables: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def batch_bytes(self) -> int:
        """The `batch.size` that suits every topic met so far."""
        with self._lock:
            return max(1, min([self._own_batch_bytes, *map(self._limit_of, {*self._known, *self._assumed})]))

    def least_of(self, tables: Iterable[str]) -> int:
        """Return the least that any topic of `tables` takes; asks the cluster for those that it was not asked for."""
        return min((self._tables.get(table) or self._meet(table) for table in tables), default=UNLIMITED)

    def refused(self, topic: str, batch_bytes: int) -> None:
        """Learn from a refused batch of several records, of so many bytes uncompressed: smaller ones come next."""
        with self._lock:
            self._ask([topic])
            if self._limit_of(topic) >= batch_bytes:
                self._assumed[topic] = batch_bytes // 2

    @property
    def ordinary_bytes(self) -> int:
        """Records whose values have no more bytes need no look: no topic met so far refuses them for sure."""
        if self._compresses:
            return self._message_bytes - _KEY_AND_HEADERS_BYTES
        return min([_ORDINARY_BYTES, *(limit - _KEY_AND_HEADERS_BYTES for limit in self._tables.values())])

    def why_too_large(self, record: Outgoing) -> str | None:
        """Return why a record is certainly too large for its topic;

        None when it may fit: compression is the client's.
        """
        size = size_of(record.key, record.value, record.headers)
        if size - _RECORD_BYTES_MIN > self._message_bytes:
            return f"{record.topic}: its {size} bytes are more than message.max.bytes ({self._message_bytes})"
        if self._compresses:
            return None
        with self._lock:
            known = self._known.get(record.topic)
            is_fresh = known is not None and self._clock() - known.asked_s < _FRESH_S
            if known is None or (not is_fresh and known.limit is not None and size > known.limit):
                self._ask([record.topic])
            limit = self._known[record.topic].limit
        if limit is None or size <= limit:
            return None
        return f"{record.topic}: its {size} bytes are more than the topic takes (max.message.bytes {limit})"

    def _meet(self, table: str) -> int:
        topics = self._topics_of(table)
        with self._lock:
            if unknown := [topic for topic in topics if topic not in self._known]:
                self._ask(unknown)
            self._tables[table] = min(map(self._limit_of, topics), default=UNLIMITED)
            return self._tables[table]

    def _ask(self, topics: Collection[str]) -> None:
        """Ask the cluster; what it does not tell now is asked for again after a refusal."""
        try:
            told = self._describe(topics)
        except WorldError:
            told = {}
        now_s = self._clock()
        self._known |= {topic: _Known(told.get(topic), now_s) for topic in topics}
        self._tables.clear()

    def _limit_of(self, topic: str) -> int:
        known = self._known.get(topic)
        described = UNLIMITED if known is None or known.limit is None else known.limit
        return min(described, self._assumed.get(topic, UNLIMITED))


def size_of(key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]] | None) -> int:
    """Return the bytes that a record takes at least, uncompressed, in a batch of its own."""
    in_headers = sum(len(name) + len(text or b"") for name, text in headers or ())
    return _RECORD_BYTES_MIN + len(key or b"") + len(value or b"") + in_headers
