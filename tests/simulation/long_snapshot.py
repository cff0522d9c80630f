"""A history of days: a table is read so slowly that the stream forgets meanwhile what was written when it began."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from unittest.mock import patch

import msgspec

import simulation.workers
import tailrace.snapshot.worker
from simulation.snapshot_world import SnapshotWorld
from simulation.source import Written, table_of
from simulation.tables import ModelTables
from simulation.world import HOUR_MS
from tailrace.core.pacing import Pacing
from tailrace.worker import enumerator

MINUTE_MS = 60_000
READ_PAUSE_MS = 3 * MINUTE_MS
UNITS_OF_ITEM = 6_500
"""An item costs so many seconds, as a worker reads one unit a second: some thousand items stand for each."""
DAYS_MAX = 4
KILLS_AN_HOUR = 0.15
SPLITS_AN_HOUR = 0.1
"""A shard of DynamoDB's is closed after four hours or so."""
WRITES_A_MINUTE = 0.4


class LongSnapshotWorld(SnapshotWorld):
    """One table's initial snapshot, while it is written to and workers are killed."""

    items_of_table = 60

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None) -> None:
        super().__init__(seed, trace)
        self.took_ms = 0
        """How long the snapshot took."""
        self.retention_ms = self._source.policy.retention_ms
        self.forgotten = 0
        """How many changes that were written during the snapshot the stream had forgotten before its end."""
        for faults in (self.faults, self.table_faults, self.operator_faults):
            faults.stop()
        self._tables = self._tables[:1]
        self._options.tables = ModelTables(
            self._source, self._own, self.table_faults, table_of=table_of, units_of_item=UNITS_OF_ITEM
        )
        self._options.is_initial = True
        self._options.segments = 4
        self._options.read_capacity = 1.0
        self._around.patterns = self._tables
        self._around.lane_options = msgspec.structs.replace(
            self._around.lane_options, pacing=Pacing(min_ms=READ_PAUSE_MS, max_ms=READ_PAUSE_MS)
        )

    def run(self) -> None:
        with _few_steps():
            super().run()

    def _play(self) -> None:
        for item in self._source.items:
            self._source.load(item)
            self.checker.never_streamed(item, 0)
        began_ms = self._schedule.now_ms
        self._new_worker()
        self._new_worker()
        self._source.on_trimmed = self._trimmed
        while not self.snapshot_checker.current or self.snapshot_checker.unfinished():
            for _ in range(60):
                self._pass(MINUTE_MS)
                if self._own.random() < WRITES_A_MINUTE:
                    self._write(1)
                self._broker.abort_old_transactions()
            self._source.trim()
            if self._own.random() < SPLITS_AN_HOUR:
                self._source.split()
            if self._own.random() < KILLS_AN_HOUR:
                self.coverage.happened("kill")
                self._kill()
            self.took_ms = self._schedule.now_ms - began_ms
            assert self.took_ms < DAYS_MAX * 24 * HOUR_MS

    def _trimmed(self, changes: list[Written]) -> None:
        self.forgotten += len(changes)
        self.checker.trimmed(changes)


@contextlib.contextmanager
def _few_steps() -> Iterator[None]:
    """Let those wait for longer who look whether something has happened, so that days pass in seconds."""
    with (
        patch.object(tailrace.snapshot.worker, "BUSY_WAIT_S", 9.0),
        patch.object(tailrace.snapshot.worker, "IDLE_WAIT_S", 9.0),
        patch.object(enumerator, "WAIT_S", 60.0),
        patch.object(simulation.workers, "ENUMERATOR_INTERVAL_S", 900.0),
    ):
        yield
