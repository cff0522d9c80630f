"""A command whose packages an extra brings says how to install it where it is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tailrace.errors import EXIT_WORLD

_WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
from tailrace.cli.main import main
main(sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("package", "command", "extra"),
    [
        ("filelock", "local up", "local"),
        ("filelock", "local down", "local"),
        ("platformdirs", "local status", "local"),
        ("platformdirs", "demo", "local"),
        ("duckdb", "demo --lake", "lake"),
        ("tailrace_simulator", "simulate", "simulator"),
        ("tailrace_simulator", "simulate lambda f:f --table t", "simulator"),
        ("jinja2", "deploy-files lambda pipeline.yaml --format sam", "deploy"),
    ],
)
def test_a_missing_extra_is_one_sentence(package: str, command: str, extra: str) -> None:
    program = [sys.executable, "-c", _WITHOUT, package, *command.split()]
    ended = subprocess.run(program, capture_output=True, text=True, check=False)
    assert ended.returncode == EXIT_WORLD
    assert ended.stderr == (
        f"error: the package {package} is not installed; install it with pip install 'tailrace[{extra}]'\n"
    )
