"""A consumer that sees committed changes only, no rows of snapshots, and when it saw which."""

from __future__ import annotations

import threading
import time
import uuid
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, TopicPartition

from benchmarks import pages
from benchmarks.lab import Lab, wait_until
from benchmarks.page_server import Stream
from tailrace.snapshot.window import snapshot_of


class Watcher:
    """Reads a topic from its end in a thread; a context manager."""

    def __init__(self, lab: Lab, topic: str) -> None:
        self.seen: list[tuple[float, int]] = []
        """When (seconds since the epoch) which record (its index in its shard) became visible."""
        self._stop = threading.Event()
        self._consumer = Consumer(
            {
                **lab.kafka,
                "group.id": uuid.uuid4().hex,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 10,
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        wait_until("the topic", lambda: bool(self._partitions(topic)), 30)
        self._consumer.assign([TopicPartition(topic, number, 0) for number in self._partitions(topic)])
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def wait_seen(self, timeout_s: float = 60) -> None:
        """Return once it has seen a record."""
        wait_until("the first change", lambda: bool(self.seen), timeout_s)

    def delays_ms(self, stream: Stream, begin_s: float, end_s: float) -> list[float]:
        """Return how long each change that was written in this time took to be seen, sorted.

        Every one is waited for, so a slow one counts in full.
        """
        wanted = [index for index in range(stream.available(end_s)) if begin_s < stream.written_s(index) <= end_s]

        def seen() -> list[tuple[float, int]]:
            return [(seen_s, index) for seen_s, index in list(self.seen) if wanted[0] <= index <= wanted[-1]]

        wait_until("the last change", lambda: len(seen()) >= stream.shards * len(wanted), 120)
        return sorted((seen_s - stream.written_s(index)) * 1000 for seen_s, index in seen())

    def _partitions(self, topic: str) -> list[int]:
        return list(self._consumer.list_topics(topic, timeout=10).topics[topic].partitions)

    def _watch(self) -> None:
        while not self._stop.is_set():
            messages = self._consumer.consume(1_000, timeout=0.01)
            now_s = time.time()
            for message in messages:
                key = message.key()
                if message.error() is None and key and snapshot_of(message) is None:
                    self.seen.append((now_s, pages.index_of(key)))
