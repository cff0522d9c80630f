"""What a plain loader does to a table that is written to: it scans the table, and streams without a barrier.

It works without any other fault, and the checker of snapshots must see what it breaks.
"""

from __future__ import annotations

import random
import zlib
from functools import partial
from typing import Literal

from simulation.broker import Broker, Message
from simulation.clients import PARTITIONS
from simulation.faults import Faults
from simulation.simulated_time import Host, Process, Schedule, sleep
from simulation.snapshot_checker import SNAPSHOT, SnapshotChecker, check_the_order
from simulation.source import SNAPSHOTS, Source, table_of
from simulation.tables import ModelTables, TableFaults
from simulation.workers import CHECKPOINTS, DEAD_LETTERS, PIPELINE, encode
from simulation.world import BIRTH_MS
from tailrace.core.shard import Position, ShardRef

TABLE = "orders"
TOPIC = f"{PIPELINE}.{TABLE}"
ITEMS = 30
POLL_MS = 300
LoadOrder = Literal["scan, then stream from latest", "stream from trim horizon, then scan"]


class PlainLoad:
    """One load, determined by its seed."""

    def __init__(self, seed: int, order: LoadOrder, *, writes_a_second: float) -> None:
        self._rng = rng = random.Random(f"plain load {seed}")
        self._order = order
        self._writes_a_second = writes_a_second
        self._is_scanned = False
        self._schedule = schedule = Schedule(BIRTH_MS)
        self._faults = Faults()
        self._faults.stop()
        self._source = Source(SNAPSHOTS, schedule, rng, self._faults, fates=rng)
        self._broker = Broker(lambda: schedule.now_ms, lambda *_: False)
        table_faults = TableFaults(throttled=0.0, failed=0.0, slow=0.2, short=0.3)
        self._tables = ModelTables(self._source, rng, table_faults, table_of=table_of)
        self._checker = SnapshotChecker(self._source, checkpoint_topic=CHECKPOINTS, dead_letters_topic=DEAD_LETTERS)

    def run(self) -> None:
        """Load the table while it is written to, and let the checker look. Raises BrokenPromiseError."""
        self._source.add_stream(TABLE, [f"{TABLE}/{number}" for number in range(ITEMS)], 2)
        for item in self._source.items:
            self._source.load(item)
        host = Host("loader", self._schedule, lambda *_: 0)
        Process(host, "loader", partial(self._load, host))
        try:
            while not self._is_scanned:
                self._pass(100)
                if self._rng.random() < self._writes_a_second / 10:
                    self._source.write(self._rng.choice(self._source.items))
            self._pass(10 * POLL_MS)
        finally:
            host.die()
        for (topic, _), log in self._broker.logs.items():
            check_the_order(log.committed(0, log.next_offset)[0], topic)
        self._checker.check_the_tables(self._broker, lambda *_: False)

    def _load(self, host: Host) -> None:
        if self._order == "scan, then stream from latest":
            self._scan()
            self._stream("LATEST")
        else:
            Process(host, "stream", lambda: self._stream("TRIM_HORIZON"))
            self._scan()

    def _scan(self) -> None:
        facts = self._tables.facts(TABLE)
        cursor = None
        while True:
            rows = self._tables.scan(facts, 0, 1, cursor, mark="true", limit=None)
            for record in rows.records:
                self._publish(record.origin.raw, [(SNAPSHOT, b"plain")])
            cursor = rows.next_cursor
            if cursor is None:
                self._is_scanned = True
                return

    def _stream(self, start: Literal["LATEST", "TRIM_HORIZON"]) -> None:
        iterators: dict[ShardRef, str | None] = dict.fromkeys(self._source.shards)
        while True:
            for shard, iterator in iterators.items():
                page = self._source.reader.read(shard, Position(start), iterator)
                iterators[shard] = page.next_iterator
                for record in page.records:
                    assert record.change is not None
                    self._publish(encode(record.change, 0).value or b"", [])
            sleep(POLL_MS, "GetRecords")

    def _publish(self, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        key = value.split(b" ")[0]
        self._broker.write((TOPIC, zlib.crc32(key) % PARTITIONS), Message(key, value, headers))

    def _pass(self, milliseconds: int) -> None:
        self._schedule.run_until(self._schedule.now_ms + milliseconds)
