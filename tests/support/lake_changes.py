"""Changes that tests of the lake write to a topic."""

from __future__ import annotations

from confluent_kafka import KafkaError, Message

from support.background_transactions import BackgroundTransactions
from support.kafka_clients import TIMEOUT_S
from support.stream_changes import stream_change
from tailrace.core.change import Change
from tailrace.formats import make_format
from tailrace.local.kafka import KafkaBroker

PARTITIONS = 4
_DAY_MS = 86_400_000
_BEGIN_MS = 1_700_000_000_000
Row = tuple[int, int, str]
"""Partition, offset, the item's id."""


class Changes(BackgroundTransactions):
    """Writes transactions of changes, some of them aborted, and remembers what was committed."""

    def __init__(self, kafka: KafkaBroker, topic: str, seed: int, partitions: int = PARTITIONS) -> None:
        super().__init__(kafka.client_properties(), seed, records_max=200)
        self.committed: set[Row] = set()
        self._topic = topic
        self._partitions = partitions
        self._format = make_format("debezium", pipeline="shop", numbers="exact")
        self._written = 0

    def transaction(self, records: int, *, commit: bool) -> None:
        rows: list[Row] = []
        self._producer.begin_transaction()
        for _ in range(records):
            self._written += 1
            item = f"item-{self._written}"

            def delivered(error: KafkaError | None, message: Message, item: str = item) -> None:
                assert error is None, error
                rows.append((message.partition() or 0, message.offset() or 0, item))

            created_ms = _BEGIN_MS + self._random.randrange(3) * _DAY_MS
            made = self._format.encode(_change(item, self._written, created_ms), created_ms * 1_000_000)
            self._producer.produce(
                self._topic,
                made.value,
                made.key,
                partition=self._random.randrange(self._partitions),
                timestamp=created_ms,
                on_delivery=delivered,
            )
        self._producer.flush(TIMEOUT_S)  # an abort would purge what is still on its way
        if commit:
            self._producer.commit_transaction(TIMEOUT_S)
            self.committed |= set(rows)
        else:
            self._producer.abort_transaction(TIMEOUT_S)


def _change(item: str, number: int, created_ms: int) -> Change:
    image = b'{"id":{"S":"%s"},"n":{"N":"%d.50"}}' % (item.encode(), number)
    return stream_change("c", b'{"id":{"S":"%s"}}' % item.encode(), None, image, created_ms=created_ms)
