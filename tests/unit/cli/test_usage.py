"""What is wrong with a command line, or with where its output goes, is told in a sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.cli import CommandLine


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


@pytest.mark.parametrize(
    "flags", [["--table", "orders"], ["--bootstrap", "localhost"], ["--region", "eu-west-1"], ["--name", "shop"]]
)
def test_a_file_excludes_the_flags_that_stand_for_one(run: CommandLine, flags: list[str]) -> None:
    code, _, err = run("run", "pipeline.yaml", *flags)
    assert (code, err.startswith("error: a file excludes --table")) == (2, True)


@pytest.mark.parametrize("arguments", [[], ["--table", "orders"], ["--bootstrap", "localhost:9092"]])
def test_without_a_file_table_and_bootstrap_are_needed(run: CommandLine, arguments: list[str]) -> None:
    code, _, err = run("run", *arguments)
    assert (code, err) == (2, "error: give a pipeline file, or --table and --bootstrap\n")


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_a_port_that_cannot_be_is_refused_before_anything_starts(run: CommandLine, port: str) -> None:
    code, _, err = run("local", "up", "--kafka-port", port)
    assert code == 2
    assert "'--kafka-port'" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_is_told() -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "tailrace", "schema"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (ended.returncode, ended.stderr) == (3, "error: cannot write: No space left on device; make room\n")
