"""Writes transactions to a topic from a seed, some of them aborted, and remembers what was committed."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from confluent_kafka import KafkaError, Message

from support.background_transactions import BackgroundTransactions
from support.kafka_clients import TIMEOUT_S


class CommittedWriter(BackgroundTransactions):
    """`history` has the values of each partition in the order of their offsets, committed ones only."""

    def __init__(self, properties: dict[str, str], topic: str, partitions: int, seed: int) -> None:
        super().__init__(properties, seed)
        self.history: dict[int, list[int]] = defaultdict(list)
        self._topic = topic
        self._partitions = partitions
        self._written = 0

    @property
    def count(self) -> int:
        """How many records were committed."""
        return sum(map(len, self.history.values()))

    def transaction(self, records: int, *, commit: bool) -> None:
        """Write one transaction. Not while the thread writes."""
        offsets: list[tuple[int, int, int]] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            offsets.append((message.partition() or 0, message.offset() or 0, json.loads(message.value() or b"")["n"]))

        self._producer.begin_transaction()
        for _ in range(records):
            self._written += 1
            value = json.dumps({"n": self._written, "text": "é" * self._random.randrange(200)}).encode()
            partition = self._random.randrange(self._partitions)
            self._producer.produce(self._topic, value, b"k", partition=partition, on_delivery=delivered)
        assert self._producer.flush(TIMEOUT_S) == 0
        if not commit:
            self._producer.abort_transaction(TIMEOUT_S)
            return
        self._producer.commit_transaction(TIMEOUT_S)
        for partition, _, number in sorted(offsets):
            self.history[partition].append(number)


def exported(folder: Path, topic: str) -> dict[int, list[int]]:
    """Read what the files of a folder hold, each partition's in the order of their names."""
    found: dict[int, list[int]] = {}
    for partition in (folder / topic).iterdir():
        lines = [
            json.loads(line) for file in sorted(partition.glob("*.jsonl")) for line in file.read_bytes().splitlines()
        ]
        assert {(each["topic"], str(each["partition"])) for each in lines} <= {(topic, partition.name)}
        found[int(partition.name)] = [each["value"]["n"] for each in lines]
    return found


def faults(history: dict[int, list[int]], found: dict[int, list[int]]) -> list[str]:
    """Compare: every committed record once and in order, and nothing else. Numbers grow with the offsets."""
    said = []
    for partition in sorted(history.keys() | found.keys()):
        made, got = history.get(partition, []), found.get(partition, [])
        lost, foreign = set(made) - set(got), set(got) - set(made)
        for what, wrong in (
            ("lost", len(lost)),
            ("repeated", len(got) - len(set(got))),
            ("not committed", len(foreign)),
            ("out of order", sum(later < earlier for earlier, later in pairwise(got))),
        ):
            if wrong:
                said.append(f"partition {partition}: {wrong} {what}")
    return said
