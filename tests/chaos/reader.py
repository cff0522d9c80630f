"""Reads all that is committed, as a consumer does, and hands it to the checkers as it comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

_POLL_S = 0.5
_BATCH = 1_000


class CommittedReader:
    """Follows partitions with `read_committed`, in a thread of its own, until stopped; brokers may come and go.

    `saw` is called with each record and the time (monotonic, seconds) at which it came.
    """

    def __init__(
        self,
        kafka: Mapping[str, str],
        partitions: Sequence[tuple[str, int]],
        saw: Callable[[Message, float], None],
    ) -> None:
        self.error: Exception | None = None
        """What ended it."""
        config: dict[str, Any] = {
            **kafka,
            "group.id": "chaos-reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "log_level": 0,
            "reconnect.backoff.max.ms": 500,
        }
        self._saw = saw
        self._consumer = Consumer(config)
        self._consumer.assign([TopicPartition(*partition, OFFSET_BEGINNING) for partition in partitions])
        self._read_to: dict[tuple[str, int], int] = dict.fromkeys(partitions, 0)
        """The offset up to which each partition was read, markers of transactions counted, when its end was met."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End reading."""
        self._stopping.set()
        self._thread.join()
        self._consumer.close()

    def has_read(self, ends: Mapping[tuple[str, int], int]) -> bool:
        """Return whether each partition was read up to an end offset."""
        return all(self._read_to[partition] >= end for partition, end in ends.items())

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                for message in self._consumer.consume(_BATCH, _POLL_S):
                    self._take(message)
        except Exception as error:  # told by whoever looks
            self.error = error

    def _take(self, message: Message) -> None:
        refusal = message.error()
        if refusal is None:
            self._saw(message, time.monotonic())
        elif refusal.code() == KafkaError._PARTITION_EOF:
            self._read_to[message.topic() or "", message.partition() or 0] = message.offset() or 0
        elif refusal.code() == KafkaError._AUTO_OFFSET_RESET:
            raise RuntimeError(f"{message.topic()}, partition {message.partition()}: {refusal.str()}")
