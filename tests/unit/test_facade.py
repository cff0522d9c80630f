"""`import tailrace`: light, typed, and complete."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tailrace

HEAVY = ("boto3", "botocore", "confluent_kafka", "pydantic", "msgspec", "typer", "rich")


def test_importing_it_loads_nothing_heavy() -> None:
    code = f"import sys, tailrace; print([name for name in {HEAVY!r} if name in sys.modules], tailrace.__version__)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == f"[] {tailrace.__version__}\n"


@pytest.mark.parametrize("name", tailrace.__all__)
def test_what_is_public_is_there(name: str) -> None:
    assert getattr(tailrace, name) is not None
    assert name in dir(tailrace)


def test_what_is_not_there_is_said_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'tailrace' has no attribute 'opne'"):
        _ = tailrace.opne


def test_errors_are_of_one_kind() -> None:
    with pytest.raises(tailrace.TailraceError, match="no-such-pipeline"):
        tailrace.open("no-such-pipeline.yaml")
