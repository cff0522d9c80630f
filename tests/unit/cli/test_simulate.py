"""`tailrace simulate`: what keeps it from starting is told in a sentence."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from support.cli import CommandLine
from support.waiting import wait_for
from tailrace_simulator import SimulatedDynamoDB


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def test_a_wrong_file_of_faults_is_told(run: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text("rates: {GetItem: {hole: 1}}")
    code, out, err = run("simulate", "--faults", str(file))
    assert (code, out) == (2, "")
    assert err == f"error: {file}: hole cannot happen to GetItem; docs/simulator.md shows its shape\n"


def test_a_port_that_is_taken_is_told(run: CommandLine) -> None:
    with SimulatedDynamoDB() as other:
        code, out, err = run("simulate", "--port", str(other.port))
    assert (code, out) == (3, "")
    assert re.search(f"port {other.port} is in use by .*, or choose another port", err)


@pytest.mark.parametrize("more", [["--shards", "3"], ["--hostile"]], ids=" ".join)
def test_a_stream_gets_the_changes_of_the_tables(more: list[str]) -> None:
    options = ["--port", "0", "--table", "orders", "--table", "lines", "--changes", "40", "--rate", "1000", "--json"]
    command = [sys.executable, "-m", "tailrace", "simulate", "kinesis", *options, *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            shown = json.loads(process.stdout.readline())
            assert shown["tables"] == ["orders", "lines"]
            kinesis = boto3.client("kinesis", endpoint_url=shown["endpoint_url"], region_name="us-east-1", **_KEYS)
            changes: dict[str, Any] = {}

            def are_all_there() -> bool:
                with suppress(ClientError):  # what hostile reads meet
                    changes.update(_changes(kinesis, shown["stream_arn"]))
                return len(changes) == 40

            wait_for("the changes", are_all_there)
            assert {change["tableName"] for change in changes.values()} == {"orders", "lines"}
            kinesis.close()
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


_KEYS = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}


def _changes(kinesis: Any, arn: str) -> dict[str, Any]:
    """The changes in a stream, each once."""
    changes: dict[str, Any] = {}
    for shard in kinesis.list_shards(StreamARN=arn)["Shards"]:
        iterator: str | None = kinesis.get_shard_iterator(
            StreamARN=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator is not None:
            page = kinesis.get_records(ShardIterator=iterator)
            found = [json.loads(record["Data"]) for record in page["Records"]]
            changes |= {str(each["dynamodb"]): each for each in found}
            iterator = page.get("NextShardIterator") if found else None
    return changes
