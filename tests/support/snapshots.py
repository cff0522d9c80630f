"""A table that held items before its pipeline began, and the verdict on its snapshot."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from support.bench import Bench
from support.waiting import wait_for
from tailrace.core.checkpoint import SnapshotResult
from tailrace.core.snapshot_state import SnapshotProgress
from tailrace.kafka import clients
from tailrace.kafka.topic_reader import TopicReader
from tailrace.local.checker import Checker, Verdict
from tailrace.local.committed import read_committed

_BATCH = 25


class SnapshotTable:
    """The first table of a pipeline under test, with more items than its workload writes.

    They are of version 1 and were written before the table's stream began. The workload makes some changes before that,
    too, so that the table also holds the items that change later.
    """

    def __init__(self, bench: Bench, *, items: int, text_bytes: int = 20, changes: int = 0) -> None:
        self.name = bench.tables[0]
        self._bench = bench
        self._keys = [f"loaded-{number:07d}" for number in range(items)]
        self._load(text_bytes)
        self._before = list(bench.workload.run(changes)) if changes else []
        self._begin_another_stream()

    def rows(self) -> int:
        """Return how many rows the last snapshot has published so far; 0 before it began."""
        snapshots = self._bench.checkpoint_state().snapshots
        return snapshots.progress_of(self.name).rows if self.name in snapshots.snapshots else 0

    def is_done(self) -> bool:
        """Return whether the last snapshot has ended."""
        result = self._bench.checkpoint_state().snapshots.result_of(self.name)
        return result is not None and result.outcome == "done"

    def progress(self) -> SnapshotProgress:
        """Return how far the last snapshot is."""
        return self._bench.checkpoint_state().snapshots.progress_of(self.name)

    def result(self) -> SnapshotResult:
        """Return how the last snapshot ended."""
        result = self._bench.checkpoint_state().snapshots.result_of(self.name)
        assert result is not None
        return result

    def wait_done(self, timeout_s: float = 180.0) -> None:
        """Return when the snapshot has ended."""
        wait_for("the snapshot ends", self.is_done, timeout_s)

    def verdict(self) -> Verdict:
        """Compare what was written with what is committed now."""
        checker = Checker()
        for key in self._keys:
            checker.loaded(self.name, f'{{"id":"{key}"}}', 1)
        for change in {change.key: change for change in self._before}.values():
            if change.op != "d":
                checker.loaded(self.name, change.key, change.version)
        for change in self._bench.workload.history[len(self._before) :]:
            checker.wrote(change.table, change.key, change.op, change.version)
        found = read_committed(self._bench.kafka, self._bench.topics)
        for record in sorted(found, key=lambda record: (record.topic, record.partition, record.offset)):
            checker.saw(record)
        return checker.verdict()

    def settle(self, timeout_s: float = 90.0) -> None:
        """Wait until all changes are committed, stop the workers, and demand a spotless verdict."""
        deadline_s = time.monotonic() + timeout_s
        while (verdict := self.verdict()).lost and time.monotonic() < deadline_s:
            time.sleep(0.5)
        self._bench.stop_workers()
        assert verdict.good, (verdict, [worker.tail() for worker in self._bench.workers])

    def _begin_another_stream(self) -> None:
        client = self._bench.dynamodb
        client.update_table(TableName=self.name, StreamSpecification={"StreamEnabled": False})
        specification = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        client.update_table(TableName=self.name, StreamSpecification=specification)

    def _load(self, text_bytes: int) -> None:
        def write(keys: list[str]) -> None:
            requests: list[dict[str, Any]] = [
                {"PutRequest": {"Item": {"id": {"S": key}, "version": {"N": "1"}, "text": {"S": "x" * text_bytes}}}}
                for key in keys
            ]
            while requests:
                answer = self._bench.dynamodb.batch_write_item(RequestItems={self.name: requests})
                requests = answer.get("UnprocessedItems", {}).get(self.name, [])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, [self._keys[at : at + _BATCH] for at in range(0, len(self._keys), _BATCH)]))


def latest_values(kafka: Mapping[str, str], topic: str) -> dict[bytes, bytes]:
    """Return the last committed value of each key of a topic; tombstones, which follow deletes, are left out."""
    with TopicReader(kafka, topic) as reader:
        return {
            clients.as_bytes(message.key()) or b"": value
            for message in reader.read()
            if (value := clients.as_bytes(message.value())) is not None
        }
