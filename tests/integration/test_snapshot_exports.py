"""Exports to S3 are loaded beside a running pipeline, on a real broker: killed in the midst, and in the right order."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.bench import LANES, Bench
from support.checkpoints import write_records
from support.cli import CommandLine
from support.exports import Item, write_full_export, write_incremental_export
from support.snapshots import SnapshotTable
from support.waiting import wait_for
from tailrace.core.checkpoint import ShardKey
from tailrace.local.checker import Written
from tailrace.local.committed import read_committed

CHANGED = 40
EXPORTED = 4_000
EARLIER_MS = 300_000


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


class ExportedTable(SnapshotTable):
    """A table whose few items change after its export, which has many more items."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench, items=CHANGED)
        self.arn = bench.dynamodb.describe_table(TableName=self.name)["Table"]["TableArn"]
        self._keys += [f"exported-{number:07d}" for number in range(EXPORTED)]
        self._pipeline = bench

    def items(self) -> list[Item]:
        """Return what the export holds."""
        return [{"id": {"S": key}, "version": {"N": "1"}, "text": {"S": "x" * 2_000}} for key in self._keys]

    def change(self) -> None:
        """Change the few items."""
        for key in self._keys[:CHANGED]:
            item = {"id": {"S": key}, "version": {"N": "2"}, "text": {"S": "changed"}}
            self._pipeline.dynamodb.put_item(TableName=self.name, Item=item)
            self._pipeline.workload.history.append(Written(self.name, f'{{"id":"{key}"}}', "u", 2, time.time_ns()))

    def wait_listed(self) -> None:
        """Return when the table's shards are listed; then let that have been minutes ago.

        Nothing of them is missing: they are read from their beginnings.
        """
        self._pipeline.shard_of(self.name)
        shards = self._pipeline.checkpoint_state().shards.items()
        earlier = [
            ShardKey(*shard).write(msgspec.structs.replace(record, seen_ms=record.seen_ms - EARLIER_MS), LANES)
            for shard, record in shards
        ]
        write_records(self._pipeline.kafka, self._pipeline.name, earlier)


def test_an_export_is_loaded_beside_changes_by_workers_that_are_killed(
    bench: Callable[..., Bench], run: CommandLine, tmp_path: Path, aws_environment: dict[str, str]
) -> None:
    pipeline = bench(tables=1, items=40)
    table = ExportedTable(pipeline)
    items = table.items()
    write_full_export(tmp_path, table.arn, [items[at::6] for at in range(6)], exported_ms=round(time.time() * 1000))
    with pipeline.workload:
        first = pipeline.worker()
        pipeline.shard_of(table.name)
        refused = run("snapshot", "start", pipeline.file, "--table", table.name, "--export", tmp_path)
        table.wait_listed()
        table.change()
        started = run("snapshot", "start", pipeline.file, "--table", table.name, "--export", tmp_path)
        wait_for("rows are published", lambda: table.progress().rows > 0)
        first.kill()
        assert not table.is_done()
        pipeline.worker()
        table.wait_done()

    assert refused.code == 3
    assert f"aws dynamodb export-table-to-point-in-time --table-arn {table.arn} --s3-bucket BUCKET" in refused.err
    assert f"tailrace snapshot start FILE --table {table.name} --export {tmp_path}" in refused.err
    assert started.code == 0, started.err
    assert "items as of 20" in started.err
    assert "4,040 items in 6 files" in started.err
    progress = table.result()
    assert progress.rows + progress.stale == len(items)
    assert progress.stale >= CHANGED
    assert progress.read_units == 0
    table.settle()


def test_incremental_exports_follow_the_full_one(
    bench: Callable[..., Bench], run: CommandLine, tmp_path: Path, aws_environment: dict[str, str]
) -> None:
    pipeline = bench(tables=1, items=1)
    table = ExportedTable(pipeline)
    now_ms = round(time.time() * 1000)
    before_ms = now_ms - 3_600_000
    items: list[Item] = [{"id": {"S": str(number)}, "version": {"N": "1"}} for number in range(300)]
    full = write_full_export(
        tmp_path / "full", table.arn, [items[at::3] for at in range(3)], exported_ms=before_ms, output_format="ION"
    )
    changes = [
        ({"id": item["id"]}, item, item | {"version": {"N": "2"}} if number % 2 else None)
        for number, item in enumerate(items[:100])
    ]
    incremental = write_incremental_export(
        tmp_path / "incremental",
        table.arn,
        [changes[at::5] for at in range(5)],
        from_ms=before_ms,
        exported_ms=now_ms,
        output_format="ION",
    )
    pipeline.worker()
    table.wait_listed()
    wait_for("the worker shows", lambda: pipeline.checkpoint_state().tables[table.name].state == "streaming")

    exports = ("--export", full, "--export", incremental)
    started = run("snapshot", "start", pipeline.file, "--table", table.name, *exports)
    assert started.code == 0, started.err
    table.wait_done()

    found: dict[str, list[tuple[str, int | None]]] = {}
    records = read_committed(pipeline.kafka, pipeline.topics)
    for record in sorted(records, key=lambda each: (each.partition, each.offset)):
        found.setdefault(json.loads(record.key)["id"], []).append((record.op, record.version))
    for number in range(300):
        expected: list[tuple[str, Any]] = [("r", 1)]
        if number < 100:
            expected += [("r", 2)] if number % 2 else [("d", 2), ("tombstone", None)]
        assert found[str(number)] == expected
