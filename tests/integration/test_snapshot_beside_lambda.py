"""The Lambda function publishes the changes, and `tailrace run --snapshot-only` beside it loads the tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support.bench import Bench
from support.lambda_pipeline import HOSTILE, LambdaPipeline
from support.snapshots import SnapshotTable
from support.waiting import wait_for
from tailrace_simulator import SimulatedDynamoDB
from tailrace_simulator.actions import parse_script

SNAPSHOT = {"snapshot": {"mode": "initial", "segments": 4}}
SCRIPT = {
    "settings": {"listing_lag_calls": 2},
    "rates": {
        "GetRecords": {"empty": 0.1, "short": 0.1},
        "PutItem": {"split": 0.002, "rollover": 0.004},
        "UpdateItem": {"split": 0.002, "rollover": 0.004},
    },
}


def test_a_table_is_loaded_while_the_function_publishes_its_changes(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    with SimulatedDynamoDB(seed=3, script=parse_script(SCRIPT)) as simulated:
        pipeline = bench(endpoint_url=simulated.endpoint_url, tables=2, items=30, rate=60, settings=SNAPSHOT)
        table = SnapshotTable(pipeline, items=1_000)
        with LambdaPipeline(pipeline, tmp_path, simulated.endpoint_url, hostility=HOSTILE) as function:
            with pipeline.workload:
                wait_for("changes", lambda: pipeline.checkpoints_topic in pipeline.existing_topics())
                pipeline.wait_published(20)
                first = pipeline.worker(None, "--snapshot-only", ready=False)
                wait_for("a chunk", lambda: table.rows() > 0, 120)
                function.kill_one()
                first.kill()
                pipeline.worker(None, "--snapshot-only", ready=False)
                table.wait_done()
            table.settle()


def test_a_table_without_changes_is_loaded_too(bench: Callable[..., Bench], tmp_path: Path) -> None:
    with SimulatedDynamoDB(seed=3) as simulated:
        pipeline = bench(endpoint_url=simulated.endpoint_url, tables=2, settings=SNAPSHOT)
        table = SnapshotTable(pipeline, items=100)
        with LambdaPipeline(pipeline, tmp_path, simulated.endpoint_url, hostility=HOSTILE):
            pipeline.dynamodb.put_item(TableName=pipeline.tables[1], Item={"id": {"S": "one"}})
            wait_for("a change", lambda: pipeline.topic(pipeline.tables[1]) in pipeline.existing_topics())
            assert pipeline.topic(table.name) not in pipeline.existing_topics()
            pipeline.worker(None, "--snapshot-only", ready=False)
            table.wait_done()
        verdict = table.verdict()
        assert (verdict.loaded_by_rows, verdict.lost) == (100, 0), verdict
        pipeline.stop_workers()
