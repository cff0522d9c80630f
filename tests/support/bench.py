"""A pipeline under test: tables with a workload, worker processes, and the verdict at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from support.kafka_clients import client
from support.names import unique
from support.waiting import wait_for
from support.worker_process import LoggedWorker
from tailrace.config import load
from tailrace.core.change import ViewType
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.shard import ShardRef, lane_of
from tailrace.kafka import membership
from tailrace.kafka.checkpoint_topic import read_checkpoint_state
from tailrace.local.checker import Verdict, check
from tailrace.local.committed import read_committed
from tailrace.local.workload import TableSpec, Workload, connect

LANES = 8
SESSION_TIMEOUT_MS = 6_000
"""The least that a broker allows: tests that let it pass take less long."""
_POLL_S = 0.3
"""Pause between two readings of all topics: they cost more than the workers do."""


class Bench:
    """One pipeline with tables of its own; a context manager that leaves nothing behind but topics.

    `kafka` is how the test itself reaches the broker, `through` how the workers do (a proxy, another user);
    `endpoint_url` is DynamoDB Local's own, `endpoint_of_workers` what the workers see of it. `tuning` are more Kafka
    properties of the workers, `settings` more keys of the pipeline file.
    """

    def __init__(
        self,
        folder: Path,
        kafka: Mapping[str, str],
        endpoint_url: str,
        *,
        tables: int = 6,
        view_types: Sequence[ViewType] | None = None,
        through: Mapping[str, str] | None = None,
        endpoint_of_workers: str | None = None,
        items: int = 60,
        rate: float | None = 200,
        seed: int = 1,
        tuning: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = unique("pipe")
        self.kafka = {**kafka, "fetch.wait.max.ms": "20"}  # the end of a partition is told after so long
        self.dynamodb = connect(endpoint_url, read_timeout_s=30.0)  # many benches may share it
        views = view_types or ["NEW_AND_OLD_IMAGES"] * tables
        specs = [
            TableSpec(unique(f"table{number}"), view_type=checkpoint_state)
            for number, checkpoint_state in enumerate(views)
        ]
        self.tables = [spec.name for spec in specs]
        self.workload = Workload(self.dynamodb, specs, seed=seed, items=items, rate=rate)
        self.workers: list[LoggedWorker] = []
        self._folder = folder
        self.settings: dict[str, Any] = {
            "name": self.name,
            "kafka": {**(through or kafka), "session.timeout.ms": SESSION_TIMEOUT_MS, **(tuning or {})},
            "source": {
                "type": "dynamodb-streams",
                "region": "us-east-1",
                "endpoint_url": endpoint_of_workers or endpoint_url,
                "tables": self.tables,
                "poll": {"min": "50ms", "max": "200ms"},
                "discovery": {"interval": "1s"},
            },
            "lanes": LANES,
            **(settings or {}),
        }
        self.file = self.write_file()

    @property
    def topics(self) -> list[str]:
        """The tables' topics."""
        return [self.topic(table) for table in self.tables]

    @property
    def checkpoints_topic(self) -> str:
        """The topic of the checkpoints."""
        return f"{self.name}.checkpoints"

    @property
    def dead_letters_topic(self) -> str:
        """The topic of the dead letters."""
        return f"{self.name}.dead-letters"

    def topic(self, table: str) -> str:
        """Return the topic of a table."""
        return f"{self.name}.{table}"

    def write_file(self, **changed: Any) -> Path:
        """Write the pipeline file, with other values for some keys; give its path."""
        file = self._folder / f"{unique('pipeline')}.yaml"
        file.write_text(yaml.safe_dump(self.settings | changed))
        load(file)
        return file

    # Workers

    def worker(
        self, file: Path | None = None, *options: str, ready: bool = True, clock_shift_s: float | None = None
    ) -> LoggedWorker:
        """Start a worker, and wait until it is a member of the group.

        With `clock_shift_s` its wall clock begins shifted by so much, and can be set.
        """
        clock_file = None
        if clock_shift_s is not None:
            clock_file = self._folder / unique("clock")
            clock_file.write_text(str(clock_shift_s))
        worker = LoggedWorker(file or self.file, *options, clock_file=clock_file)
        self.workers.append(worker)
        if ready:
            worker.wait_logged("lanes assigned")
        return worker

    def running(self) -> list[LoggedWorker]:
        """Return the workers that have not ended."""
        return [worker for worker in self.workers if worker.exit_code is None]

    def owners(self) -> dict[int, int]:
        """Return the process id of each lane's owner, as the group has it."""
        owners = membership.describe(self.kafka, self.name).owners
        return {lane: int(owner.split(":")[1]) for lane, owner in owners.items()}

    def owner_of(self, table: str) -> LoggedWorker:
        """Return the running worker that owns the lane of a table's present shard."""
        lane = self.lane_of(table)
        owner: list[LoggedWorker] = []

        def found() -> bool:
            pid = self.owners().get(lane)
            owner[:] = [worker for worker in self.running() if worker.pid == pid]
            return bool(owner)

        wait_for(f"lane {lane} has an owner that runs", found)
        return owner[0]

    def wait_shared(self, workers: int) -> None:
        """Return when the lanes are spread evenly over so many workers."""

        def shared() -> bool:
            owners = self.owners()
            counts = [list(owners.values()).count(pid) for pid in set(owners.values())]
            return len(owners) == LANES and len(counts) == workers and max(counts) - min(counts) <= 1

        wait_for(f"{LANES} lanes shared by {workers} workers", shared)

    def lane_of(self, table: str) -> int:
        """Return the lane of a table's only shard."""
        return lane_of(self.shard_of(table), LANES)

    def shard_of(self, table: str) -> ShardRef:
        """Return the only shard of a table's present stream."""
        wait_for(f"table {table} is known", lambda: bool(self._shards_of(table)))
        (shard,) = self._shards_of(table)
        return shard

    def checkpoint_state(self) -> CheckpointState:
        """Read the checkpoint topic."""
        return read_checkpoint_state(self.kafka, self.name, LANES)

    def _shards_of(self, table: str) -> list[ShardRef]:
        return [shard for shard, record in self.checkpoint_state().shards.items() if record.table == table]

    # What is published

    def end_offsets(self, topic: str) -> list[int]:
        """Return the end offsets of a topic, uncommitted records and markers counted."""
        consumer = Consumer({**client(self.kafka), "group.id": unique("reader")})
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            return [
                consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1] for number in partitions
            ]
        finally:
            consumer.close()

    def existing_topics(self) -> set[str]:
        """Return the names of the broker's topics."""
        return set(AdminClient(client(self.kafka)).list_topics(timeout=10).topics)

    def verdict(self) -> Verdict:
        """Compare what was written until now with what is committed now."""
        found = read_committed(self.kafka, self.topics)
        return check(list(self.workload.history), found)

    def wait_published(self, more: int, timeout_s: float = 90.0) -> None:
        """Return once `more` changes than now are committed."""
        goal = self.verdict().found + more
        deadline_s = time.monotonic() + timeout_s
        while (found := self.verdict().found) < goal:
            assert time.monotonic() < deadline_s, f"{found} of {goal}; workers: {[w.tail() for w in self.workers]}"
            time.sleep(_POLL_S)

    def wait_complete(self, timeout_s: float = 90.0) -> None:
        """Return once everything written is committed."""
        deadline_s = time.monotonic() + timeout_s
        while (verdict := self.verdict()).lost:
            assert time.monotonic() < deadline_s, f"{verdict}; workers: {[w.tail() for w in self.workers]}"
            time.sleep(_POLL_S)

    def settle(self, timeout_s: float = 90.0) -> Verdict:
        """Wait until everything written is committed, stop the workers, and demand a spotless verdict."""
        self.wait_complete(timeout_s)
        self.stop_workers()
        verdict = self.verdict()
        assert verdict.good, verdict
        assert verdict.made > 0
        assert not [trouble for worker in self.workers if worker.exit_code == 0 for trouble in worker.troubles()]
        return verdict

    def stop_workers(self) -> None:
        """Stop the running workers; each must end with 0 in time."""
        running = self.running()
        for worker in running:
            worker.terminate()
        assert [worker.wait() for worker in running] == [0] * len(running)

    def __enter__(self) -> Self:
        self.workload.create_tables()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.close()
        self.dynamodb.close()
