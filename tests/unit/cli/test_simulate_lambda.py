"""`tailrace simulate lambda`: what keeps it from starting is told in a sentence."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import boto3
import pytest

from support.cli import CommandLine, Outcome
from tailrace_simulator import SimulatedDynamoDB


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "local")
    return CommandLine(capsys)


def simulate(run: CommandLine, *more: str, handler: str = "m:f", endpoint_url: str = "http://127.0.0.1:1") -> Outcome:
    return run("simulate", "lambda", handler, "--table", "orders", "--endpoint-url", endpoint_url, *more)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--record-age", "59"], "maximum_record_age_s is 59; AWS takes -1, or 60 and more"),
        (["--tumbling-window", "1", "--parallelization-factor", "2"], "a tumbling window and a parallelization factor"),
    ],
)
def test_settings_that_aws_refuses_are_told(run: CommandLine, options: list[str], sentence: str) -> None:
    code, out, err = simulate(run, *options)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {sentence}")


def test_a_variable_that_is_not_set_is_told(run: CommandLine) -> None:
    code, _, err = simulate(run, "--env", "NOT_SET_HERE")
    assert code == 2
    assert "NOT_SET_HERE is not set here" in err


def test_a_handler_that_is_none_is_told(run: CommandLine) -> None:
    code, _, err = simulate(run, handler="handler")
    assert (code, err) == (2, "error: 'handler' is no handler; name it module:function\n")


def test_a_table_that_is_not_there_is_told(run: CommandLine) -> None:
    with SimulatedDynamoDB() as simulated:
        code, out, err = simulate(run, endpoint_url=simulated.endpoint_url)
    assert (code, out) == (3, "")
    assert err == "error: there is no table orders; look at --endpoint-url and --region\n"


def test_an_endpoint_that_does_not_answer_is_told(run: CommandLine, tmp_path: Path) -> None:
    code, out, err = simulate(run)
    assert (code, out) == (3, "")
    assert err.startswith("error: DescribeTable at http://127.0.0.1:1 is not answered: ")


def test_an_option_of_the_other_stand_in_is_refused_rather_than_passed_over(run: CommandLine) -> None:
    code, _, err = run("simulate", "--port", "9", "lambda", "m:f", "--table", "orders")
    assert code == 2
    assert "--port: it is the simulator's, not that of `lambda`" in err


@pytest.mark.parametrize(
    ("handler", "sentence"),
    [
        ("nope:handler", "Unable to import module 'nope': No module named 'nope'"),
        ("broken:handler", "Unable to import module 'broken': No module named 'missing_library'"),
        ("fine:nope", "Handler 'nope' missing on module 'fine'"),
        ("torn:handler", "Syntax error in module 'torn'"),
    ],
)
def test_code_that_cannot_be_loaded_ends_it_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handler: str, sentence: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "local")
    (tmp_path / "broken.py").write_text("import missing_library\n")
    (tmp_path / "fine.py").write_text("")
    (tmp_path / "torn.py").write_text("def handler(\n")
    with SimulatedDynamoDB() as simulated:
        with closing(boto3.client("dynamodb", endpoint_url=simulated.endpoint_url, region_name="us-east-1")) as client:
            client.create_table(
                TableName="orders",
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                BillingMode="PAY_PER_REQUEST",
                StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
            )
            client.put_item(TableName="orders", Item={"id": {"S": "a"}})
        command = ["simulate", "lambda", handler, "--table", "orders", "--package", str(tmp_path)]
        ended = subprocess.run(
            [
                sys.executable,
                "-m",
                "tailrace",
                *command,
                "--endpoint-url",
                simulated.endpoint_url,
                "--until-idle",
                "60",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    assert ended.returncode == 2
    assert len(ended.stdout.splitlines()) == 1, "where it reads, and no invocation"
    assert [line for line in ended.stderr.splitlines() if sentence in line and line.startswith("error: ")]
    assert ended.stderr.count("error: ") == 1
