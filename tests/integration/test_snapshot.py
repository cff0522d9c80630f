"""A table is loaded while it is written to: every row once, no older state after a newer one, nothing missing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.bench import Bench
from support.cli import CommandLine
from support.snapshots import SnapshotTable
from support.waiting import wait_for
from tailrace_simulator import SimulatedDynamoDB
from tailrace_simulator.actions import parse_script

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


def test_a_worker_is_killed_while_a_table_is_loaded_that_is_written_to_all_the_time(
    bench: Callable[..., Bench],
) -> None:
    with SimulatedDynamoDB(
        seed=3, script=parse_script({"rates": {"Scan": {"throttle": 0.05, "server_error": 0.05}}})
    ) as dynamodb:
        pipeline = bench(
            endpoint_url=dynamodb.endpoint_url,
            tables=1,
            items=30,
            rate=60,
            settings={"snapshot": {"mode": "initial", "segments": 4, "read_capacity": 100_000}},
        )
        table = SnapshotTable(pipeline, items=2_500, text_bytes=4_000)
        first, second = pipeline.worker(), pipeline.worker()
        with pipeline.workload:
            wait_for("a chunk", lambda: table.rows() > 0)
            first.kill()
            table.wait_done()
        table.settle()
    assert second.logged("snapshot lane taken")
