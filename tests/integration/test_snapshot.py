"""A table is loaded while it is written to: every row once, no older state after a newer one, nothing missing."""

from __future__ import annotations

from collections.abc import Callable

from support.bench import Bench
from support.snapshots import SnapshotTable

SNAPSHOT = {"snapshot": {"mode": "initial", "segments": 4}}


def test_rows_and_changes_of_a_table_that_is_written_to_all_the_time(bench: Callable[..., Bench]) -> None:
    pipeline = bench(tables=1, settings=SNAPSHOT, items=40)
    table = SnapshotTable(pipeline, items=3_000)
    with pipeline.workload:
        pipeline.worker()
        table.wait_done()
    table.settle()
