"""`python -m benchmarks.deletes_run KEYS TOPIC KAFKA`: finds deletes in a topic of so many keys; prints CPU and memory.

The topic has one partition and one record a key, and the table has none of the first thousand: they are older than the
snapshot. KAFKA are the client's properties, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, cast

import msgspec
from confluent_kafka import Producer

from benchmarks.measure import Measured, peak_memory_mb
from tailrace.core.checkpoint import SegmentRef, SnapshotRecord
from tailrace.core.ports import Rows, TableFacts
from tailrace.formats import make_format
from tailrace.formats.keys import message_key
from tailrace.snapshot.deletes import Deletes

DELETED: Final = 1_000
_FACTS: Final = TableFacts("orders", "arn:aws:dynamodb:us-east-1:000000000000:table/orders", {"id": "S"}, 0, 0, None)
_SCRAMBLE: Final = 0x9E3779B97F4A7C15
"""Odd: each number below 2^48 becomes another one, in no order."""


class _EmptyTable:
    def get(self, *_arguments: object, **_options: object) -> Rows:
        return Rows([], None, 0, 0.0)


def fill(kafka: Mapping[str, str], topic: str, keys: int) -> None:
    """Write a record for each key into the topic's one partition."""
    producer = Producer({**kafka, "compression.type": "lz4", "linger.ms": 50, "log_level": 0})
    for number in range(keys):
        name = b"order-%012x" % (number * _SCRAMBLE & 0xFFFFFFFFFFFF)
        value = b'{"before":null,"after":{"id":"%b","total":%d.5},"source":{"table":"orders"},"op":"r"}' % (
            name,
            number,
        )
        while True:
            try:
                producer.produce(topic, value, b'{"id":"%b"}' % name)
            except BufferError:
                producer.poll(0.1)
            else:
                break
    producer.flush()


def main() -> None:
    """Find the deletes."""
    keys, topic, kafka = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    segment = SegmentRef.for_deletes("orders", "bench", topic, 0)
    deletes = Deletes(
        SnapshotRecord(id="bench", source="scan", reason="gap", segments=1, at_ms=0, offsets={topic: (DELETED,)}),
        _FACTS,
        cast(Any, _EmptyTable()),
        make_format("debezium", pipeline="bench", numbers="exact"),
        key_of=partial(message_key, numbers="exact"),
        user=kafka,
        topics=[topic],
        region="us-east-1",
        tombstones=False,
        is_of_table=lambda _topic, _value: True,
        now_ms=lambda: time.time_ns() // 1_000_000,
    )
    begun_s = time.process_time()
    found, cursor = deletes.in_partition(segment, None)
    count = len(found)
    while cursor is not None:
        found, cursor = deletes.in_partition(segment, cursor)
        count += len(found)
    assert count == DELETED, count
    measured = Measured(keys, time.process_time() - begun_s, peak_memory_mb())
    sys.stdout.write(msgspec.json.encode(measured).decode())


if __name__ == "__main__":
    main()
