"""Changes that tests of the lake write to a topic."""

from __future__ import annotations

import threading
import time
from random import Random

from confluent_kafka import KafkaError, Message

from support.kafka_clients import TIMEOUT_S, transactional_producer
from tailrace.core.change import Change
from tailrace.formats import make_format
from tailrace.local.kafka import KafkaBroker

PARTITIONS = 4
_DAY_MS = 86_400_000
_BEGIN_MS = 1_700_000_000_000
Row = tuple[int, int, str]
"""Partition, offset, the item's id."""


class Changes:
    """Writes transactions of changes, some of them aborted, and remembers what was committed."""

    def __init__(self, kafka: KafkaBroker, topic: str, seed: int, partitions: int = PARTITIONS) -> None:
        self.committed: set[Row] = set()
        self._topic = topic
        self._partitions = partitions
        self._random = Random(seed)
        self._producer = transactional_producer(kafka.client_properties())
        self._format = make_format("debezium", pipeline="shop", numbers="exact")
        self._written = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

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

    def __enter__(self) -> Changes:
        self._thread.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.transaction(self._random.randrange(1, 200), commit=self._random.random() < 0.8)
            time.sleep(0.02)


def _change(item: str, number: int, created_ms: int) -> Change:
    image = b'{"id":{"S":"%s"},"n":{"N":"%d.50"}}' % (item.encode(), number)
    return Change(
        op="c",
        table="orders",
        keys=b'{"id":{"S":"%s"}}' % item.encode(),
        before=None,
        after=image,
        created_ms=created_ms,
        event_id="e",
        sequence="1" * 21,
        shard_id="shardId-1",
        stream_arn="arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/1",
        region="us-east-1",
        view_type="NEW_AND_OLD_IMAGES",
    )
