"""A table is loaded while it is written to: every row once, no older state after a newer one, nothing missing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.bench import Bench
from support.cli import CommandLine
from support.snapshots import SnapshotTable
from support.waiting import wait_for

SNAPSHOT = {"snapshot": {"mode": "initial", "segments": 4}}


def test_rows_and_changes_of_a_table_that_is_written_to_all_the_time(bench: Callable[..., Bench]) -> None:
    pipeline = bench(tables=1, settings=SNAPSHOT, items=40)
    table = SnapshotTable(pipeline, items=3_000)
    with pipeline.workload:
        pipeline.worker()
        table.wait_done()
    table.settle()


def test_processes_of_snapshots_alone_do_their_share_beside_a_worker(
    bench: Callable[..., Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = bench(tables=1, items=10, rate=5)
    table = SnapshotTable(pipeline, items=500)
    pipeline.worker()
    wait_for("the table", lambda: table.name in pipeline.checkpoint_state().tables)
    alone = pipeline.worker(None, "--snapshot-only", ready=False)
    started = CommandLine(capsys)("snapshot", "start", pipeline.file, "--table", table.name)
    assert started.code == 0, started
    table.wait_done()
    assert alone.logged("segment done") or pipeline.workers[0].logged("segment done")
    assert alone.logged("snapshot lane taken")
    table.settle()
