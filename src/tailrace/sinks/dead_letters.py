"""Records that a target cannot take, set aside in the topic of dead letters with their place and the reason.

They are published before the batch that leaves them out is committed. A batch that is written again publishes them
again: topic, partition and offset in the headers tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message

from tailrace.errors import RecordError, UnreachableError
from tailrace.kafka import clients, headers

_FLUSH_S: Final = 60.0


class SinkDeadLetters:
    """For one thread. The producer is made with the first record."""

    def __init__(self, user: Mapping[str, str], topic: str, client_id: str, target: Mapping[str, str]) -> None:
        """`target` is the headers that name what cannot have them."""
        self.count = 0
        """So many were set aside."""
        self._user = user
        self._topic = topic
        self._client_id = client_id
        self._target = target
        self._producer: Any = None
        self._failure: KafkaError | None = None

    def set_aside(self, record: Message, error: RecordError) -> None:
        """Set a record aside."""
        if self._producer is None:
            own = {"client.id": self._client_id, "enable.idempotence": True}
            self._producer = clients.producer(self._user, own)
        self._produce(record, error)
        self.count += 1

    def flush(self) -> None:
        """Return when all of them are acknowledged. Raises WorldError."""
        if self._producer is None:
            return
        left = self._producer.flush(_FLUSH_S)
        failure, self._failure = self._failure, None
        if failure is not None:
            attempted = f"writing dead letters to {self._topic}"
            raise clients.world_error(KafkaException(failure), attempted, self._user)
        if left:
            raise UnreachableError(
                f"{left} dead letters were not acknowledged by Kafka within {_FLUSH_S:.0f} s", hint="check the brokers"
            )

    def _produce(self, record: Message, error: RecordError) -> None:
        texts = {
            headers.INTENDED_TOPIC: record.topic() or "",
            headers.ORIGIN_PARTITION: str(record.partition()),
            headers.ORIGIN_OFFSET: str(record.offset()),
            headers.STAGE: error.stage,
            **self._target,
            headers.EXCEPTION: type(error).__name__,
            headers.REASON: str(error),
        }
        said = [*(record.headers() or []), *((name, text.encode()) for name, text in texts.items())]
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    key=record.key(),
                    value=record.value(),
                    headers=said,
                    timestamp=record.timestamp()[1],
                    on_delivery=self._delivered,
                )
            except BufferError:
                self._producer.poll(1.0)
            else:
                self._producer.poll(0)
                return

    def _delivered(self, failure: KafkaError | None, _record: Message) -> None:
        if failure is not None:
            self._failure = failure
