"""A consumer of chosen partitions that replaces its client when that has stopped although Kafka answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, IsolationLevel, KafkaError, Message, TopicPartition
from confluent_kafka.admin import OffsetSpec

from tailrace.core.stall import behind
from tailrace.kafka import clients
from tailrace.kafka.client_factory import ClientFactory
from tailrace.kafka.client_watch import ClientWatch
from tailrace.kafka.clients import Admin

COMMITTED: Final[Mapping[str, Any]] = {
    "enable.auto.commit": False,
    "isolation.level": "read_committed",
    "auto.offset.reset": "earliest",
    "enable.partition.eof": True,
}
"""What makes a consumer read from where it is put, committed records only, and tell the ends that it meets."""
_RECORDS_MAX = 10_000
_PASSING = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._PARTITION_EOF,
}
"""A topic that is being deleted; a partition that was read to its present end."""


class Place(NamedTuple):
    """One partition."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic} [{self.partition}]"


def passes(error: KafkaError) -> bool:
    """Return whether a reader of topics that come and go reads on after an error instead of a record."""
    return error.code() in _PASSING or error.retriable()


def is_of_group(message: Message) -> bool:
    """Return whether it says that there is no right to the group, which a consumer of chosen partitions never joins.

    librdkafka wants a group to be named, and looks for its coordinator.
    """
    error = message.error()
    return error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED


class WatchedConsumer:
    """Reads committed records, and passes on the ends that it meets (`_PARTITION_EOF`). For one thread."""

    def __init__(
        self,
        user: Mapping[str, str],
        own: Mapping[str, Any],
        name: str,
        on_replaced: Callable[[], None] = lambda: None,
        factory: ClientFactory = clients,
    ) -> None:
        """Make it; nothing is read before `assign`. `name` is in the log."""
        self.positions: dict[Place, int] = {}
        """The offset up to which each partition was read; none before its first record or end was met."""
        self.whole_s: float | None = None
        """Up to when, by the factory's clock, all committed records were surely read; None: not yet known."""
        self._user = user
        self._factory = factory
        self._own = {**COMMITTED, **own}
        self._asked_s = 0.0
        self._ends: tuple[float, Mapping[Place, int]] | None = None
        """When the brokers were last asked for the ends, and their answer, until all of it was read."""
        self._starts: dict[Place, int] = {}
        self._watch: ClientWatch[Place] = ClientWatch(
            user, name, on_replaced, ask=self._ask_for_ends, behind=self._is_behind, factory=factory
        )
        self.client: Consumer = factory.consumer(user, self._own)
        """The present client."""

    def assign(self, starts: Iterable[TopicPartition]) -> None:
        """Read these partitions too, from these offsets, logical ones among them."""
        added = list(starts)
        for start in added:
            place = Place(start.topic, start.partition)
            self._starts[place] = start.offset
            if start.offset >= 0:
                self.positions[place] = start.offset
        self.client.incremental_assign(added)

    def unassign(self, places: Iterable[Place]) -> None:
        """Read these partitions no more; what was fetched of them and not returned is dropped."""
        removed = [place for place in places if self._starts.pop(place, None) is not None]
        for place in removed:
            self.positions.pop(place, None)
        if removed:
            self.client.incremental_unassign([TopicPartition(*place) for place in removed])

    def poll(self, timeout_s: float) -> Message | None:
        """Return the next message or error. Raises KafkaException, and StalledError when new clients stopped too."""
        return next(iter(self._read(timeout_s, 1)), None)

    def read(self, timeout_s: float) -> list[Message]:
        """Return all that is there, waiting for the first; otherwise as `poll`."""
        return self._read(timeout_s, _RECORDS_MAX)

    def close(self) -> None:
        """Close the client."""
        self.client.close()

    def _read(self, timeout_s: float, most: int) -> list[Message]:
        if self._watch.must_replace():
            self._replace()
        first = self.client.poll(timeout_s)
        if first is None:
            return []
        messages = [first, *self.client.consume(most, 0)] if most > 1 else [first]
        messages = [message for message in messages if not is_of_group(message)]
        self._saw(messages)
        self._note_whole()
        return messages

    def _saw(self, messages: list[Message]) -> None:
        """Note how far each partition was read: its last message says it, so the loop does no more than find that."""
        last: dict[tuple[str | None, int | None], Message] = {}
        for message in messages:
            error = message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF:
                last[message.topic(), message.partition()] = message
        for (topic, partition), message in last.items():
            place, offset = Place(topic or "", partition or 0), message.offset() or 0
            is_end = message.error() is not None
            self.positions[place] = max(offset, self.positions.get(place, 0)) if is_end else offset + 1

    def _replace(self) -> None:
        self._factory.drop(self.client)
        self.client = self._factory.consumer(self._user, self._own)
        places = self._starts | self.positions
        self.client.incremental_assign([TopicPartition(*place, offset) for place, offset in places.items()])

    def _ask_for_ends(self, admin: Admin) -> dict[Place, Future[int]]:
        self._asked_s = self._factory.monotonic_s()
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the library lacks the annotation
        asked = {TopicPartition(*place): latest for place in self._starts}
        futures = clients.offsets(admin, asked, IsolationLevel.READ_COMMITTED)
        return {Place(each.topic, each.partition): future for each, future in futures.items()}

    def _is_behind(self, ends: dict[Place, int]) -> dict[Place, int]:
        if ends.keys() == self._starts.keys():
            self._ends = self._asked_s, ends
            self._note_whole()
        return behind(self.positions, ends)

    def _note_whole(self) -> None:
        """Note that everything was read up to the ends that the brokers named: they move on all the time."""
        if self._ends is not None and not behind(self.positions, self._ends[1]):
            self.whole_s, self._ends = self._ends[0], None
