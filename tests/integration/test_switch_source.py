"""A pipeline goes over from DynamoDB Streams to Kinesis and back while its tables are written to."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.bench import Bench
from support.cli import CommandLine
from support.kinesis_bench import on_kinesis
from support.waiting import wait_for
from tailrace_simulator import SimulatedDynamoDB
from tailrace_simulator.actions import parse_script

SCRIPT = {
    "settings": {"kinesis_reads_per_second": 50},
    "rates": {
        "GetRecords": {"empty": 0.1, "short": 0.2},
        "kinesis:GetRecords": {"empty": 0.1, "short": 0.2},
        "replication": {"repeat": 0.05},
    },
}
HOUR_S = 3_600


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def with_both(pipeline: Bench, simulated: SimulatedDynamoDB, **source: Any) -> tuple[Path, Path]:
    """Write the files of a pipeline on DynamoDB Streams and on Kinesis, which are an hour old."""
    streams = pipeline.file
    on_kinesis(pipeline, simulated, window="1m", **source)
    simulated.act("advance", seconds=HOUR_S)
    return streams, pipeline.file


def wait_switched(run: CommandLine, old: Path, new: Path) -> None:
    """Switch: at first not all shards need be known."""

    def is_switched() -> bool:
        switched = run("switch", old, "--to", new, "--yes")
        assert switched.code == 0 or "not listed until just now" in switched.err, switched
        return switched.code == 0

    wait_for("the switch", is_switched)


def an_hour_ago() -> float:
    return time.time() - HOUR_S


def test_a_pipeline_goes_over_to_kinesis_and_back_without_loss_or_repeat(
    run: CommandLine, bench: Callable[..., Bench]
) -> None:
    """Who reads the next source too early, or still reads the one before, is told so."""
    with SimulatedDynamoDB(seed=3, script=parse_script(SCRIPT), clock=an_hour_ago) as simulated:
        pipeline = bench(endpoint_url=simulated.endpoint_url, tables=2, rate=100)
        streams, kinesis = with_both(pipeline, simulated)
        with pipeline.workload:
            first = pipeline.worker(streams)
            pipeline.wait_published(100)
            asked = run("switch", streams, "--to", kinesis)
            assert f"pipeline {pipeline.name} reads from dynamodb-streams" in asked.err
            refused = pipeline.worker(kinesis, "--accept-changes", ready=False)
            assert refused.wait() == 3
            assert "reads from dynamodb-streams, and the file has `source.type: kinesis`" in refused.tail()
            for old, new, told in (
                (streams, kinesis, "was switched to `source.type: kinesis`, and the file has dynamodb-streams"),
                (kinesis, streams, "was switched to `source.type: dynamodb-streams`, and the file has kinesis"),
            ):
                wait_switched(run, old, new)
                assert first.wait() == 3
                assert told in first.tail()
                assert run("switch", new, "--to", "lambda", "--yes").code == 3
                assert "there is nothing to do" in run("switch", old, "--to", new).out
                first = pipeline.worker(new)
                pipeline.wait_published(200)
                assert "published changes since" in run("status", new).out
                skipped = sum(
                    first.metric("tailrace_records_skipped_total", table=table, reason="switched")
                    for table in pipeline.tables
                )
                assert skipped > 0
        pipeline.settle()
