"""`tailrace run` at rest and at the door."""

from __future__ import annotations

import time
from collections.abc import Callable

from support.bench import LANES, Bench
from support.waiting import wait_for


def test_another_number_of_lanes_than_the_topic_has_is_refused_with_the_fix(bench: Callable[..., Bench]) -> None:
    pipeline = bench(tables=1)
    pipeline.worker()
    pipeline.workload.run(20)
    refused = pipeline.worker(pipeline.write_file(lanes=LANES * 2), ready=False)
    assert refused.wait() == 3
    (sentence,) = refused.lines
    assert f"{LANES * 2} lanes" in sentence
    assert f"lanes: {LANES}" in sentence
    assert "tailrace rescale" in sentence
    pipeline.settle()


def test_a_worker_without_changes_commits_nothing(bench: Callable[..., Bench]) -> None:
    pipeline = bench(tables=3)
    worker = pipeline.worker()
    pipeline.workload.run(60)
    pipeline.wait_complete()

    def are_confirmed() -> bool:
        shards = pipeline.checkpoint_state().shards.values()
        return bool(shards) and all(each.complete_ms is not None for each in shards)

    wait_for("every shard was listed with those that were made with it", are_confirmed)
    committed = -1.0
    while committed != (now := worker.metric("tailrace_transactions_committed_total")):
        committed = now
        time.sleep(1)
    before, reads = pipeline.end_offsets(pipeline.checkpoints_topic), worker.metric("tailrace_reads_total")
    time.sleep(4)
    assert worker.metric("tailrace_reads_total") > reads
    assert pipeline.end_offsets(pipeline.checkpoints_topic) == before
    assert worker.metric("tailrace_transactions_committed_total") == committed
    pipeline.settle()
