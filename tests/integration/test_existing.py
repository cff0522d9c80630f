"""Every command that asks about a pipeline says in the same way that it does not exist, or has no such table."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.checkpoints import birth, table, write_topic
from support.cli import CommandLine
from support.names import unique
from support.pipeline_file import write_file
from tailrace.local.kafka import KafkaBroker

COMMANDS = [
    ["status"],
    ["tail"],
    ["redrive"],
    ["redrive", "--from-file", "messages.jsonl"],
    ["accept-gap", "--table", "orders", "--yes"],
    ["rescale"],
    ["switch", "--to", "lambda", "--yes"],
]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_pipeline_that_does_not_exist(
    command: list[str], run: CommandLine, kafka: KafkaBroker, tmp_path: Path, aws_environment: dict[str, str]
) -> None:
    name = unique("nowhere")
    file = write_file(tmp_path, kafka.client_properties(), name, lanes=4)
    code, out, err = run(command[0], file, *command[1:])
    assert (code, out) == (3, "")
    assert f"the pipeline {name} does not exist yet: Kafka has no topic {name}.checkpoints; " in err


@pytest.mark.parametrize(
    "command", [["tail"], ["redrive"], ["redrive", "--from-file", "m.jsonl"], ["accept-gap", "--yes"]], ids=" ".join
)
def test_a_table_that_the_pipeline_does_not_have(
    command: list[str], run: CommandLine, kafka: KafkaBroker, tmp_path: Path, aws_environment: dict[str, str]
) -> None:
    name = unique("tables")
    write_topic(kafka.client_properties(), name, 4, [birth(4), table("listed")])
    file = write_file(tmp_path, kafka.client_properties(), name, lanes=4, tables=["named", "*"])
    code, out, err = run(command[0], file, *command[1:], "--table", "nope")
    assert (code, out) == (3, "")
    known = "listed" if command[0] == "accept-gap" else "listed, named"
    assert err == f"error: the pipeline has no table nope; its tables are: {known}\n"
