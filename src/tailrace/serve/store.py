"""The group's topic: written by whoever serves a request, followed by all of the group's processes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from tailrace.errors import UnreachableError, WorldError
from tailrace.kafka import clients, topics
from tailrace.kafka.topics import TopicSpec
from tailrace.kafka.watched_consumer import COMMITTED, WatchedConsumer, passes
from tailrace.process.threads import start_thread
from tailrace.serve.state import GroupState

logger = logging.getLogger("tailrace.serve")

_T = TypeVar("_T")

_WRITE_TIMEOUT_S: Final = 15.0
_PROPERTIES: Final[Mapping[str, str]] = {"cleanup.policy": "compact", "segment.ms": "3600000"}


def topic_name(group: str) -> str:
    """Return the name of a group's topic."""
    return f"{group}.connectors"


class Store:
    """The topic of one group. Safe for many threads."""

    def __init__(self, kafka: Mapping[str, str], group: str) -> None:
        """Make the topic if it is missing. Raises `WorldError`."""
        self._kafka = kafka
        self.topic = topic_name(group)
        admin = clients.admin(kafka)
        topics.ensure(admin, kafka, [TopicSpec(self.topic, 1, None, dict(_PROPERTIES))])
        self._producer = clients.producer(kafka, {"enable.idempotence": True, "acks": "all", "linger.ms": 0})
        self._changed = threading.Condition()
        self._state = GroupState()
        self._applied = -1
        self._stopped = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Read the topic to its present end, and follow it from then on. Raises `WorldError`."""
        end = topics.end_offsets(clients.admin(self._kafka), self._kafka, [self.topic])[self.topic][0]
        self._thread = start_thread("group state", self._follow)
        self._await(end - 1)

    def read(self, question: Callable[[GroupState], _T]) -> _T:
        """Return what `question` makes of the state."""
        with self._changed:
            return question(self._state)

    def wait_for_change(self, timeout_s: float) -> None:
        """Wait until a record was applied, or the time is up."""
        with self._changed:
            self._changed.wait(timeout_s)

    def write(self, kind: str, name: str, record: msgspec.Struct | None) -> int:
        """Write a record, None deletes, and wait until this process has applied it; return its offset.

        Raises `UnreachableError` when Kafka does not take it in time.
        """
        outcome: list[KafkaError | int] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            outcome.append(error if error is not None else int(message.offset() or 0))

        value = None if record is None else msgspec.json.encode(record)
        key = f"{kind}/{name}".encode()
        try:
            self._producer.produce(self.topic, value, key, partition=0, on_delivery=delivered)
            self._producer.flush(_WRITE_TIMEOUT_S)
        except (KafkaException, BufferError) as error:
            raise UnreachableError(f"writing to {self.topic} failed: {error}", hint="is Kafka reachable?") from error
        if not outcome or not isinstance(outcome[0], int):
            why = f": {outcome[0].str()}" if outcome and isinstance(outcome[0], KafkaError) else ""
            raise UnreachableError(f"writing to {self.topic} failed{why}", hint="is Kafka reachable?")
        self._await(outcome[0])
        return outcome[0]

    def close(self) -> None:
        """Stop following."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(5.0)

    def _await(self, offset: int) -> None:
        deadline_s = time.monotonic() + _WRITE_TIMEOUT_S
        with self._changed:
            while self._applied < offset and not self._stopped:
                if not self._changed.wait(max(0.0, deadline_s - time.monotonic())) and time.monotonic() >= deadline_s:
                    raise UnreachableError(f"{self.topic} could not be read to its end", hint="is Kafka reachable?")

    def _follow(self) -> None:
        own = {"group.id": "tailrace-serve", **COMMITTED, "fetch.wait.max.ms": 50}
        consumer = WatchedConsumer(self._kafka, own, f"reader of {self.topic}")
        consumer.assign([TopicPartition(self.topic, 0, 0)])
        try:
            while not self._stopped:
                message = consumer.poll(0.2)
                if message is not None:
                    self._take(message)
        finally:
            consumer.close()

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            if not passes(error):
                raise WorldError(f"reading {self.topic} failed: {error.str()}")
            if error.code() != KafkaError._PARTITION_EOF:
                return
        offset = int(message.offset() or 0)
        with self._changed:
            if error is not None:
                self._applied = max(self._applied, offset - 1)
            else:
                self._apply(message, offset)
            self._changed.notify_all()

    def _apply(self, message: Message, offset: int) -> None:
        key = message.key()
        try:
            if key is not None:
                self._state.apply(bytes(key), message.value(), offset)
        except ValueError as failure:
            logger.warning(
                "record of the group's topic cannot be read", extra={"detail": f"offset {offset}: {failure}"}
            )
        self._applied = max(self._applied, offset)
