"""The Lambda function in AWS's own runtime client, fed by a hostile mapper; from worker to Lambda and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support.bench import Bench
from support.lambda_pipeline import HOSTILE, LambdaPipeline
from tailrace.config import load
from tailrace.operations.switch import switch
from tailrace_simulator import SimulatedDynamoDB
from tailrace_simulator.actions import parse_script
from tailrace_simulator.event_source import Hostility

SCRIPT = {
    "settings": {"shards": 1, "listing_lag_calls": 2, "describe_stream_per_second": 0},
    "rates": {
        "GetRecords": {"empty": 0.1, "short": 0.1, "late_end": 0.5},
        "PutItem": {"split": 0.002, "rollover": 0.004},
        "UpdateItem": {"split": 0.002, "rollover": 0.004},
    },
}


def test_everything_is_published_once_and_in_order_whatever_becomes_of_sandboxes(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    with SimulatedDynamoDB(seed=3, script=parse_script(SCRIPT)) as simulated:
        pipeline = bench(endpoint_url=simulated.endpoint_url, tables=2, rate=60)
        with LambdaPipeline(pipeline, tmp_path, simulated.endpoint_url, hostility=HOSTILE) as function:
            with pipeline.workload:
                pipeline.wait_published(50)
                for _ in range(4):
                    function.kill_one()
                    pipeline.wait_published(50)
                    function.freeze_one(3)
                    pipeline.wait_published(50)
            pipeline.settle(timeout_s=120)
            assert function.function.cold_starts > 4


def test_a_pipeline_moves_from_workers_to_lambda_and_back_with_both_running_by_mistake(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    with SimulatedDynamoDB(seed=4, script=parse_script(SCRIPT)) as simulated:
        pipeline = bench(endpoint_url=simulated.endpoint_url, tables=2, rate=60)
        loaded = load(pipeline.file)
        worker = pipeline.worker()
        with (
            pipeline.workload,
            LambdaPipeline(pipeline, tmp_path, simulated.endpoint_url, hostility=Hostility()),
        ):
            pipeline.wait_published(100)

            switch(loaded, "lambda")
            assert worker.wait() == 3
            assert any("so the worker may not publish" in line for line in worker.lines)
            pipeline.wait_published(100)
            assert pipeline.checkpoint_state().shards == {}, "Lambda keeps no lineage"

            switch(loaded, "worker")
            pipeline.worker()
            pipeline.wait_published(100)
        pipeline.settle()
