"""`tailrace simulate`: what keeps it from starting is told in a sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.cli import CommandLine
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
