"""The source fails, begins late, or loses changes: what can be read is published once, and a gap is told loudly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from support.bench import Bench
from support.flaky_endpoint import FAULTS, FlakyEndpoint
from support.waiting import wait_for
from tailrace.local.checker import FoundChange, check
from tailrace.local.committed import read_committed
from tailrace.local.dynamodb import DynamoDBLocal
from tailrace_simulator import SimulatedDynamoDB

LATEST = {"start": "latest"}


def wait_for_checkpoints(pipeline: Bench) -> None:
    wait_for("every shard is being read", lambda: len(pipeline.checkpoint_state().checkpoints) == len(pipeline.tables))


def test_an_endpoint_that_fails_hangs_and_throttles(bench: Callable[..., Bench], dynamodb: DynamoDBLocal) -> None:
    with FlakyEndpoint(dynamodb.endpoint_url, seed=3) as endpoint:
        pipeline = bench(endpoint_of_workers=endpoint.url)
        with pipeline.workload:
            worker = pipeline.worker()
            pipeline.wait_published(50)
            endpoint.rate = 0.04
            wait_for(
                "every fault met a read",
                lambda: (
                    {fault for operation, fault in endpoint.counts if operation == "GetRecords"} | {"hang"}
                    == set(FAULTS)
                    and any(fault == "hang" for _, fault in endpoint.counts)
                ),
            )
            pipeline.wait_published(200)
            endpoint.rate = 0.0
        pipeline.settle()
    assert worker.logged("read failed")
    assert worker.logged("read recovered")
    assert not worker.logged("gap")
    assert not worker.logged("lane lost")


def test_latest_publishes_the_changes_made_after_the_start_and_no_restart_loses_one(
    bench: Callable[..., Bench],
) -> None:
    pipeline = bench(tables=3)
    file = pipeline.write_file(source=pipeline.settings["source"] | LATEST)
    pipeline.workload.run(60)
    worker = pipeline.worker(file)
    wait_for_checkpoints(pipeline)
    pipeline.workload.run(120)
    made = pipeline.workload.history[60:]
    wait_for("the changes after the start are published", lambda: len(found(pipeline)) >= len(made))
    worker.kill()
    pipeline.workload.run(60)
    pipeline.worker(file)
    made = pipeline.workload.history[60:]
    wait_for("what was made meanwhile is published", lambda: not check(made, read(pipeline)).lost)
    pipeline.stop_workers()
    verdict = check(made, read(pipeline))
    assert verdict.good, verdict


def test_a_worker_that_began_at_latest_and_read_nothing_loses_nothing_by_a_restart(
    bench: Callable[..., Bench],
) -> None:
    pipeline = bench(tables=3)
    file = pipeline.write_file(source=pipeline.settings["source"] | LATEST)
    pipeline.worker(file)
    wait_for_checkpoints(pipeline)
    pipeline.stop_workers()
    pipeline.workload.run(60)
    pipeline.worker(file)
    pipeline.settle()


def read(pipeline: Bench) -> list[FoundChange]:
    return read_committed(pipeline.kafka, pipeline.topics)


def found(pipeline: Bench) -> list[FoundChange]:
    return [change for change in read(pipeline) if change.op != "tombstone"]


def test_a_stream_that_is_switched_off_and_on_is_a_gap_of_its_table_alone_until_it_is_accepted(
    bench: Callable[..., Bench],
) -> None:
    pipeline = bench(tables=3)
    table = pipeline.tables[0]
    worker = pipeline.worker()
    pipeline.workload.run(150)
    pipeline.wait_complete()
    before = pipeline.shard_of(table)
    pipeline.stop_workers()
    pipeline.workload.run(150)  # read from the old stream only after it was switched off
    set_stream(pipeline, table, enabled=False)
    set_stream(pipeline, table, enabled=True)
    worker = pipeline.worker()
    pipeline.wait_complete()
    wait_for("the old stream is read to its end", lambda: pipeline.checkpoint_state().ended(before))
    wait_for("the table's record says so", lambda: pipeline.checkpoint_state().tables[table].state == "gap")
    told = [
        line for line in worker.logged_by("tailrace.enumerator") if line["level"] == "error" and table in line["event"]
    ]
    assert told
    assert "switched off and on" in told[0]["event"]

    pipeline.workload.run(150)
    others = sum(change.table != table for change in pipeline.workload.history[300:])
    wait_for("the other tables go on", lambda: pipeline.verdict().found == 300 + others)
    assert pipeline.verdict().lost == 150 - others

    accept_gap(pipeline, table)
    pipeline.settle()


def test_what_is_trimmed_while_nobody_works_is_a_gap_of_its_table_alone_until_it_is_accepted(
    bench: Callable[..., Bench],
) -> None:
    with SimulatedDynamoDB(seed=1) as simulated:
        pipeline = bench(endpoint_url=simulated.endpoint_url, tables=2)
        table = pipeline.tables[0]
        pipeline.worker()
        pipeline.workload.run(60)
        pipeline.wait_complete()
        pipeline.stop_workers()
        pipeline.workload.run(60)
        simulated.act("trim", table=table)
        lost = sum(change.table == table for change in pipeline.workload.history[60:])
        assert lost > 0
        worker = pipeline.worker()
        worker.wait_logged("gap", table=table)
        wait_for("the other table goes on", lambda: pipeline.verdict().found == 120 - lost)
        assert pipeline.checkpoint_state().checkpoints[pipeline.shard_of(table)].state == "gap"
        accept_gap(pipeline, table)
        pipeline.workload.run(60)
        wait_for("the table goes on", lambda: pipeline.verdict().found == 180 - lost)
        pipeline.stop_workers()
        verdict = pipeline.verdict()
        assert (verdict.lost, verdict.repeated, verdict.out_of_order) == (lost, 0, 0)


def test_a_shard_that_is_denied_for_some_seconds_is_no_gap(bench: Callable[..., Bench]) -> None:
    with SimulatedDynamoDB(seed=1) as simulated:
        pipeline = bench(endpoint_url=simulated.endpoint_url, tables=2)
        table = pipeline.tables[0]
        worker = pipeline.worker()
        pipeline.workload.run(60)
        pipeline.wait_complete()
        for operation in ("GetRecords", "GetShardIterator"):
            simulated.act("fail", operation=operation, fault="not_found", times=3, table=table)
        pipeline.workload.run(60)
        pipeline.settle()
        assert worker.logged("read recovered")
        assert not worker.logged("gap")


def accept_gap(pipeline: Bench, table: str) -> None:
    tailrace = Path(sys.executable).with_name("tailrace")
    command = [str(tailrace), "accept-gap", str(pipeline.file), "--table", table, "--yes"]
    assert subprocess.run(command, check=False, timeout=30, capture_output=True).returncode == 0


def set_stream(pipeline: Bench, table: str, *, enabled: bool) -> None:
    specification = {"StreamEnabled": enabled} | ({"StreamViewType": "NEW_AND_OLD_IMAGES"} if enabled else {})
    pipeline.dynamodb.update_table(TableName=table, StreamSpecification=specification)
