"""Reads a topic up to its end, past transactions that are open; and reads single records of it again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tailrace.errors import WorldError
from tailrace.kafka import clients
from tailrace.kafka.watched_consumer import COMMITTED, Place, WatchedConsumer, is_of_group

_STALLED_S = 60.0
"""So long nothing may come before the end; an open transaction holds the end back, by default 20 s at the most."""
_POLL_S = 0.5
_OWN: Mapping[str, Any] = {
    "group.id": "tailrace-redrive",  # required by the client; nothing joins or commits
    **COMMITTED,
    "fetch.wait.max.ms": 20,
    "queued.max.messages.kbytes": 16_384,
}


class TopicReader:
    """A context manager. `read` may be called again: it continues where it stopped. Not safe for several threads."""

    def __init__(
        self,
        user: Mapping[str, str],
        topic: str,
        since_ms: int | None = None,
        *,
        starts: Mapping[Place, int] = MappingProxyType({}),
        partition: int | None = None,
    ) -> None:
        """Begin before the first record whose timestamp is `since_ms` or later; None: at `starts`, or the beginning.

        `partition` None: read all of them.
        """
        self._only = partition
        self._user = user
        self._topic = topic
        self._since_ms = since_ms
        self._starts = starts
        self._consumer = WatchedConsumer(user, _OWN, f"reader of {topic}")
        self._observer = clients.consumer(user, {**_OWN, "isolation.level": "read_uncommitted"})

    def read(self) -> Iterator[Message]:
        """Return the committed records up to the high watermark of now.

        It waits for transactions that are open now: what was committed before this call may stand behind one, and
        Kafka answers a commit before it marks its records as committed. Raises `WorldError`.
        """
        try:
            yield from self._read()
        except KafkaException as error:
            raise clients.world_error(error, f"reading {self._topic}", self._user) from error

    def close(self) -> None:
        """Close the consumers."""
        self._consumer.close()
        self._observer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    def _read(self) -> Iterator[Message]:
        ends = {each: self._end(self._observer, each) for each in self._partitions()}
        self._begin([partition for partition in ends if Place(self._topic, partition) not in self._consumer.positions])
        unread = {partition for partition, end in ends.items() if self._position(partition) < end}
        heard_s = time.monotonic()
        while unread:
            message = self._consumer.poll(_POLL_S)
            if message is None:
                if time.monotonic() - heard_s > _STALLED_S:
                    raise WorldError(
                        f"{self._topic} could not be read to its end: nothing came for {_STALLED_S:.0f} s",
                        hint="a transaction on it stays open, or a partition has no leader; look with "
                        "`kafka-transactions find-hanging`",
                    )
                continue
            partition, refusal = message.partition() or 0, message.error()
            if refusal is None:
                heard_s = time.monotonic()
                yield message
            elif refusal.code() != KafkaError._PARTITION_EOF and not refusal.retriable():
                raise clients.world_error(refusal, f"reading {self._topic}", self._user)
            if self._position(partition) >= ends.get(partition, 0):
                unread.discard(partition)

    def _position(self, partition: int) -> int:
        """Return the offset up to which a partition was read."""
        return self._consumer.positions[Place(self._topic, partition)]

    def _partitions(self) -> list[int]:
        topic = self._consumer.client.list_topics(self._topic, timeout=clients.REQUEST_TIMEOUT_S).topics[self._topic]
        if topic.error is not None:
            raise KafkaException(topic.error)
        return sorted(topic.partitions) if self._only is None else [self._only]

    def _end(self, consumer: Consumer, partition: int) -> int:
        """Return the high watermark, or (a `read_committed` consumer) the last stable offset."""
        where = TopicPartition(self._topic, partition)
        bounds = consumer.get_watermark_offsets(where, timeout=clients.REQUEST_TIMEOUT_S)
        if bounds is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return int(bounds[1])

    def _begin(self, partitions: list[int]) -> None:
        if not partitions:
            return
        places = [Place(self._topic, partition) for partition in partitions]
        if self._since_ms is None:
            self._consumer.assign(TopicPartition(*place, self._starts.get(place, 0)) for place in places)
            return
        times = [TopicPartition(*place, self._since_ms) for place in places]
        starts = self._consumer.client.offsets_for_times(times, timeout=clients.REQUEST_TIMEOUT_S)
        for start in starts:
            if start.offset < 0:  # no record is so young
                start.offset = self._end(self._consumer.client, start.partition)
        self._consumer.assign(starts)


def fetch(user: Mapping[str, str], topic: str, places: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Message]:
    """Read single records, by partition and offset. One that was deleted meanwhile is left out. Raises `WorldError`."""
    wanted = set(places)
    lasts = {partition: max(o for p, o in wanted if p == partition) for partition, _ in wanted}
    firsts = [TopicPartition(topic, each, min(o for p, o in wanted if p == each)) for each in lasts]
    found: dict[tuple[int, int], Message] = {}
    consumer = clients.consumer(user, dict(_OWN))
    try:
        consumer.assign(firsts)
        heard_s = time.monotonic()
        while lasts and time.monotonic() - heard_s < _STALLED_S:
            message = consumer.poll(_POLL_S)
            if message is None or is_of_group(message):
                continue
            heard_s = time.monotonic()
            place, refusal = (message.partition() or 0, message.offset() or 0), message.error()
            if refusal is None:
                if place in wanted:
                    found[place] = message
            elif refusal.code() != KafkaError._PARTITION_EOF:
                if refusal.retriable():
                    continue
                raise clients.world_error(refusal, f"reading {topic}", user)
            if place[1] >= lasts.get(place[0], 0):
                lasts.pop(place[0], None)
    except KafkaException as error:
        raise clients.world_error(error, f"reading {topic}", user) from error
    finally:
        consumer.close()
    if lasts:
        raise WorldError(f"{topic} could not be read: nothing came for {_STALLED_S:.0f} s", hint="check its leaders")
    return found
