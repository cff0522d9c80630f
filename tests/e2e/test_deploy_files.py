"""The deploy files as AWS's own tools see them: linted, translated, parsed, and deployed into a simulator for AWS."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.cli import CommandLine

PYTHON = Path(sys.prefix) / "deploy-checks" / "bin" / "python"
CHECKS = Path(__file__).parents[1] / "support" / "deploy_checks.py"
PIPELINE = """\
name: shop
kafka:
  bootstrap.servers: ${secret:prod/msk#brokers}
  security.protocol: sasl_ssl
  sasl.mechanism: SCRAM-SHA-512
  sasl.username: ${env:KAFKA_USER}
  sasl.password: ${secret:prod/kafka}
source: {type: dynamodb-streams, tables: [orders, user-events.v2], start: latest}
"""
SOURCE = "source: {type: dynamodb-streams, tables: [orders, user-events.v2], start: latest}"
KINESIS = "source: {type: kinesis, streams: [shop-cdc, clicks], start: 2026-01-31T12:00:00Z}"
VPC = "  vpc: {subnets: [subnet-01234567, subnet-01234568], security_groups: [sg-01234567]}\n"
TABLES = {"orders": "OrdersStreamArn", "user-events.v2": "UserEventsV2StreamArn"}
WAYS = {
    "defaults": "",
    "everything": f"lambda:\n  reserved_concurrency: 9\n  maximum_record_age: 1h\n  architecture: x86_64\n{VPC}",
    "at least once": "lambda: {window: 0s, parallelization_factor: 4, on_failure: none}\n",
    "kinesis": "",
    "another's queue": "lambda: {on_failure: 'arn:aws:sqs:us-east-1:123456789012:failures'}\n",
}


@pytest.fixture(autouse=True)
def kafka_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_USER", "u")


def write(folder: Path, form: str, more: str, capsys: pytest.CaptureFixture[str]) -> Path:
    """Write the files of a format; gives the first."""
    pipeline = PIPELINE if folder.name != "kinesis" else PIPELINE.replace(SOURCE, KINESIS)
    (folder / "pipeline.yaml").write_text(pipeline + more)
    command = ("deploy-files", "lambda", folder / "pipeline.yaml", "--format", form, "--output", folder, "--json")
    outcome = CommandLine(capsys)(*command)
    assert outcome.code == 0, outcome.err
    return Path(outcome.json()["files"][0])


def check(*arguments: str | Path) -> Any:
    """Run the tools of the deploy checks, in their own environment."""
    assert PYTHON.exists(), "make setup makes the environment of the deploy checks"
    command = [PYTHON, "-W", "ignore", CHECKS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def deploy(file: Path, form: str) -> Any:
    code = {"CodeBucket": "code", "FunctionKey": "function.zip", "LayerKey": "layer.zip"}
    given = {"KafkaUserValue": "u"} | (code if form == "cloudformation" else {})
    return check("deploy", form, file, json.dumps({"given": given, "tables": TABLES}))


@pytest.mark.parametrize("form", ["sam", "cloudformation"])
def test_a_stack_holds_the_function_its_mappings_its_rights_and_its_alarms(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = deploy(write(tmp_path, form, "", capsys), form)
    assert stack["lint"] == []
    function = stack["function"]
    assert function["FunctionName"] == "tailrace-shop"
    assert function["Handler"] == "tailrace.lambda_handler.handler"
    assert (function["Runtime"], function["MemorySize"], function["Timeout"]) == ("python3.13", 1024, 60)
    assert function["Environment"]["Variables"] == {"TAILRACE_PIPELINE": "pipeline.yaml", "KAFKA_USER": "u"}
    assert function["Role"] == stack["role"]
    (group,) = stack["logs"]
    assert (group["logGroupName"], group["retentionInDays"]) == ("/aws/lambda/tailrace-shop", 30)
    (queue,) = (f"arn:aws:sqs:us-east-1:123456789012:{url.rpartition('/')[2]}" for url in stack["queues"])

    mappings = {mapping["EventSourceArn"]: mapping for mapping in stack["mappings"]}
    assert set(mappings) == set(stack["streams"].values())
    wanted = {
        "StartingPosition": "LATEST",
        "BatchSize": 1000,
        "MaximumBatchingWindowInSeconds": 0,
        "TumblingWindowInSeconds": 60,
        "ParallelizationFactor": 1,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "BisectBatchOnFunctionError": True,
        "MaximumRetryAttempts": -1,
        "MaximumRecordAgeInSeconds": -1,
        "DestinationConfig": {"OnFailure": {"Destination": queue}},
    }
    for mapping in mappings.values():
        assert {name: mapping.get(name) for name in wanted} == wanted

    assert stack["attached"] == [], "no managed policy, which would be wider"
    allowed = {statement["Sid"]: statement["Resource"] for statement in stack["policy"]["Statement"]}
    secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret"
    assert allowed == {
        "ReadStreams": list(stack["streams"].values()),
        "ListStreams": ["*"],
        "WriteLogs": ["arn:aws:logs:us-east-1:123456789012:log-group:/aws/lambda/tailrace-shop"],
        "TellOfDiscarded": [queue],
        "ReadSecrets": [f"{secret}:prod/kafka-??????", f"{secret}:prod/msk-??????"],
    }

    # The simulator makes no alarms and keeps no architectures: the template itself must tell.
    resources = stack["template"]["Resources"]
    alarms = {r["Properties"]["MetricName"] for r in resources.values() if r["Type"] == "AWS::CloudWatch::Alarm"}
    assert alarms == {"IteratorAge", "Errors", "Throttles", "ApproximateNumberOfMessagesVisible"}
    assert resources["IteratorAgeAlarm"]["Properties"]["Threshold"] == 900_000
    assert resources["Function"]["Properties"]["Architectures"] == ["arm64"]


def write_all(folder: Path, form: str, capsys: pytest.CaptureFixture[str]) -> list[Path]:
    """Write a format's first file for every way that a pipeline may ask for."""
    for way in WAYS:
        (folder / way).mkdir()
    return [write(folder / way, form, more, capsys) for way, more in WAYS.items()]


def test_cfn_lint_finds_nothing_whatever_the_pipeline_asks_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_all(tmp_path, "cloudformation", capsys)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(files[0].read_text().replace("Timeout: 60", "Timeout: 9000").replace("python3.13", "python9"))
    *found, found_in_wrong = check("lint", *files, wrong)
    assert dict(zip(WAYS, found, strict=True)) == {way: [] for way in WAYS}
    assert len(found_in_wrong) >= 2, "it would find what is wrong"


def test_terraform_can_be_parsed_and_is_formatted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write_all(tmp_path, "terraform", capsys)
    for parsed in check("terraform", *files):
        resources = {kind.strip('"') for resource in parsed["resource"] for kind in resource}
        assert resources - {"aws_sqs_queue"} == {
            "aws_lambda_function",
            "aws_lambda_layer_version",
            "aws_lambda_event_source_mapping",
            "aws_iam_role",
            "aws_iam_role_policy",
            "aws_cloudwatch_log_group",
            "aws_cloudwatch_metric_alarm",
        }
    if terraform := shutil.which("terraform"):
        command: list[str | Path] = [terraform, "fmt", "-check", "-diff", *files]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
