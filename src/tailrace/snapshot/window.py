"""The window: which keys have changed in the topics lately, read from Kafka's own log.

Kafka's log is the watermark log of a snapshot (the idea is DBLog's, https://arxiv.org/abs/2010.12597, which writes
watermarks into the source instead). Before rows are read, a mark notes where the topics' records have been read to; a
row whose key has a change behind its mark may be older than that change, and is not published.

The window reads uncommitted: the snapshot's own open transaction holds back what is committed behind it, so a
`read_committed` consumer would see nothing of it. A change that is aborted comes again, so to drop its row is safe.
Rows of snapshots are no changes, nor is what a replay repeats: both are recognized by their headers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, Final, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import OffsetSpec

from tailrace.connect.registered_documents import AS_WRITTEN, RecordReader
from tailrace.kafka import clients, headers
from tailrace.kafka.client_factory import ClientFactory
from tailrace.kafka.clients import LastingAdmin
from tailrace.kafka.watched_consumer import Place, WatchedConsumer, passes

_OWN: Final[Mapping[str, Any]] = {
    "group.id": "tailrace-snapshot",  # required by the client; nothing joins or commits
    "isolation.level": "read_uncommitted",
    "fetch.wait.max.ms": 20,
    "queued.max.messages.kbytes": 16_384,
}
_POLL_S: Final = 0.05
_OFFSET_BITS: Final = 48

_names = itertools.count(1)

Mark = int
"""Unique in this process: names where the topics had been read to at a moment."""
RowKey = tuple[str, bytes]
"""A row's topic and key."""


class LastChanges(Protocol):
    """Each key's last change in one topic: its partition and offset in one number."""

    def __setitem__(self, key: bytes, at: int, /) -> None: ...

    def get(self, key: bytes, /) -> int | None:
        """Return where a key changed last; None when it did not."""
        ...

    def forget(self, is_old: Callable[[int], bool]) -> None:
        """Forget changes for which `is_old`, at least as far as memory must be bounded."""
        ...

    def close(self) -> None:
        """Forget everything."""
        ...

    def __len__(self) -> int:
        """Return how many keys are in memory."""
        ...


class RecentChanges(dict[bytes, int]):
    """Last changes in memory: those that a mark asks for are few."""

    def forget(self, is_old: Callable[[int], bool]) -> None:
        """Forget the changes for which `is_old`."""
        for key in [key for key, at in self.items() if is_old(at)]:
            del self[key]

    def close(self) -> None:
        """Forget everything."""
        self.clear()


class Window:
    """Follows the topics of tables from their ends. For one thread."""

    def __init__(
        self,
        user: Mapping[str, str],
        *,
        table_of: Callable[[str, bytes], str | None] = lambda _topic, _value: None,
        shared: Callable[[str], bool] = lambda _topic: False,
        on_replaced: Callable[[], None] = lambda: None,
        reader: RecordReader = AS_WRITTEN,
        factory: ClientFactory = clients,
    ) -> None:
        """`reader` reads records back as JSON: so keys are compared.

        `shared(topic)` returns whether several tables write a topic; then `table_of` tells a value's table.
        """
        self._user = user
        self._table_of = table_of
        self._shared = shared
        self._factory = factory
        self._on_replaced = on_replaced
        self._reader = reader
        self._consumer: WatchedConsumer | None = None
        self._admin = LastingAdmin(user, make=factory.admin)
        self._partitions: dict[str, list[int]] = {}
        self._last: dict[str, LastChanges] = {}
        """By topic."""
        self._marks: dict[Mark, dict[Place, int]] = {}
        self._kept = 0
        """How many keys were kept when the window was last cleaned."""

    def follow(self, topics: Collection[str]) -> None:
        """Follow these topics, and no others, from their present ends. Raises KafkaException."""
        for topic in self._partitions.keys() - topics:
            places = [Place(topic, each) for each in self._partitions.pop(topic)]
            self._last.pop(topic).close()
            if self._consumer is not None:
                self._consumer.unassign(places)
        for topic in sorted(set(topics) - self._partitions.keys()):
            if self._consumer is None:
                self._consumer = WatchedConsumer(
                    self._user, _OWN, "window of a snapshot", self._on_replaced, self._factory
                )
            partitions = self._partitions_of(topic, clients.REQUEST_TIMEOUT_S)
            starts = self._starts([Place(topic, each) for each in partitions])
            self._consumer.assign(TopicPartition(*place, offset) for place, offset in starts.items())
            self._partitions[topic] = partitions
            self._last[topic] = self._new_changes()
        if not self._partitions:
            self.close()

    def mark(self, topics: Iterable[str]) -> Mark:
        """Note where these topics have been read to."""
        consumer = self._require()
        return self._marked({place: consumer.positions[place] for place in self._places(topics)})

    def release(self, mark: Mark) -> None:
        """Forget a mark."""
        self._marks.pop(mark, None)

    def changed(self, rows: Iterable[RowKey], mark: Mark, table: str = "") -> set[RowKey]:
        """Return those of `rows`, of `table`, that have a change behind `mark`, as far as the topics were read."""
        start, found = self._marks[mark], set()
        for topic, key in rows:
            changes = self._last.get(topic)
            if changes is None:
                continue
            name = self._reader.key(key)
            last = changes.get(_named(table, name) if self._shared(topic) else name)
            if last is not None and last & ((1 << _OFFSET_BITS) - 1) >= start.get(
                Place(topic, last >> _OFFSET_BITS), 0
            ):
                found.add((topic, key))
        return found

    def read_on(self) -> None:
        """Take in what there is, without waiting. Raises KafkaException, StalledError."""
        if self._consumer is not None:
            while self._take(self._consumer.read(0)):
                pass
            self._clean()

    def read_to_end(self, topics: Iterable[str], timeout_s: float) -> None:
        """Read up to the present ends of the topics, records of open transactions and new partitions too.

        Raises KafkaException when that takes too long.
        """
        consumer, topics = self._require(), list(topics)
        deadline_s = self._factory.monotonic_s() + timeout_s
        for topic in topics:
            self._follow_new_partitions(topic, timeout_s)
        ends = self._ends(self._places(topics))
        while any(consumer.positions[place] < end for place, end in ends.items()):
            if self._factory.monotonic_s() > deadline_s:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "the topics could not be read to their ends"))
            self._take(consumer.read(_POLL_S))

    @property
    def is_caught_up(self) -> bool:
        """Whether so little is left to read that a transaction may wait for it."""
        return True

    @property
    def keys_held(self) -> int:
        """How many keys it remembers."""
        return sum(map(len, self._last.values()))

    def close(self) -> None:
        """Close the consumer; `follow` may begin again."""
        if self._consumer is not None:
            self._consumer.close()
        self._consumer = None
        self._partitions.clear()
        for changes in self._last.values():
            changes.close()
        self._last.clear()

    def _follow_new_partitions(self, topic: str, timeout_s: float) -> None:
        """Follow the partitions that a topic was given meanwhile from their beginning, which is behind every mark."""
        known = self._partitions[topic]
        new = [Place(topic, each) for each in self._partitions_of(topic, timeout_s) if each not in known]
        if not new:
            return
        consumer = self._require()
        consumer.client.list_topics(topic, timeout=timeout_s)  # it learns of them too
        consumer.assign(TopicPartition(*place, 0) for place in new)
        known += [place.partition for place in new]
        for start in self._marks.values():
            start.update(dict.fromkeys(new, 0))

    def _starts(self, places: list[Place]) -> dict[Place, int]:
        """Return where to begin to read."""
        return self._ends(places)

    def _new_changes(self) -> LastChanges:
        return RecentChanges()

    def _is_change(self, message: Message) -> bool:
        names = [header[0] for header in message.headers() or ()]
        return headers.SNAPSHOT not in names and headers.REPLAYED not in names

    def _marked(self, offsets: dict[Place, int]) -> Mark:
        name = next(_names)
        self._marks[name] = offsets
        return name

    def _places(self, topics: Iterable[str]) -> list[Place]:
        return [Place(topic, each) for topic in topics for each in self._partitions[topic]]

    def _require(self) -> WatchedConsumer:
        assert self._consumer is not None, "nothing is followed"
        return self._consumer

    def _take(self, messages: list[Message]) -> bool:
        for message in messages:
            refusal = message.error()
            if refusal is not None:
                if not passes(refusal):
                    raise KafkaException(refusal)
                continue
            if not self._is_change(message):
                continue
            topic, key = message.topic() or "", clients.as_bytes(message.key())
            last = self._last.get(topic)
            if last is None or key is None:
                continue
            key = self._reader.key(key)
            if self._shared(topic):
                table = self._table_of(topic, self._reader.value(clients.as_bytes(message.value()) or b""))
                if table is None:
                    continue  # a tombstone: the delete before it said the same
                key = _named(table, key)
            last[key] = (message.partition() or 0) << _OFFSET_BITS | (message.offset() or 0)
        return bool(messages)

    def _clean(self) -> None:
        """Forget the keys that no mark asks for, each time that there are twice as many."""
        if self.keys_held <= 2 * self._kept + 10_000:
            return
        consumer = self._require()
        oldest = dict(consumer.positions)
        for start in self._marks.values():
            for place, offset in start.items():
                oldest[place] = min(oldest.get(place, offset), offset)
        for topic, last in self._last.items():
            starts = {each: oldest.get(Place(topic, each), 0) for each in self._partitions[topic]}
            last.forget(partial(_is_before, starts))
        self._kept = self.keys_held

    def _partitions_of(self, topic: str, timeout_s: float) -> list[int]:
        with self._admin.use() as admin:  # which asks for their ends then
            found = admin.list_topics(topic, timeout=timeout_s).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        return sorted(found.partitions)

    def _ends(self, places: list[Place]) -> dict[Place, int]:
        """Return the high watermarks: behind what is not committed, too."""
        return self._ask(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # the library lacks the annotation

    def _ask(self, places: list[Place], wanted: OffsetSpec) -> dict[Place, int]:
        asked = {TopicPartition(*place): wanted for place in places}
        with self._admin.use() as admin:
            futures = clients.offsets(admin, asked)
            return {Place(each.topic, each.partition): future.result() for each, future in futures.items()}


def snapshot_of(message: Message) -> str | None:
    """Return the snapshot that a row is of; None when it is a change."""
    for header in message.headers() or ():
        if header[0] == headers.SNAPSHOT:
            return (clients.as_bytes(header[1]) or b"").decode(errors="replace")
    return None


def _is_before(starts: Mapping[int, int], at: int) -> bool:
    return at & ((1 << _OFFSET_BITS) - 1) < starts.get(at >> _OFFSET_BITS, 0)


def _named(table: str, key: bytes) -> bytes:
    return table.encode() + b"\0" + key
