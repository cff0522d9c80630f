"""docs/python.md: its offline example runs, and it lists every method, error and remedy."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import tailrace
from support.lambda_batches import event
from support.pipeline_file import write_file
from tailrace.operations.status import TableStatus

PAGE = (Path(__file__).parents[3] / "docs" / "python.md").read_text()
OFFLINE, CONNECTED = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_offline_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_file(tmp_path, {"bootstrap.servers": "localhost:1"}, "shop").rename(tmp_path / "pipeline.yaml")
    (tmp_path / "event.json").write_text(json.dumps(event(1)))
    monkeypatch.chdir(tmp_path)
    exec(compile(OFFLINE, "python.md", "exec"), {})
    assert re.fullmatch(r"orders \d+ published \n", capsys.readouterr().out)


def test_the_other_example_reads_what_there_is() -> None:
    compile(CONNECTED, "python.md", "exec")
    attributes = {"state", "severity", "max_lag_s", "remedy"}
    assert attributes <= set(re.findall(r"table\.(\w+)", CONNECTED))
    assert attributes <= {*TableStatus.__struct_fields__, "severity"}


def test_every_method_is_listed() -> None:
    methods = {name for name, _ in inspect.getmembers(tailrace.Pipeline, inspect.isfunction) if name[0] != "_"}
    assert set(re.findall(r"`(\w+)\([^`]*\)`", PAGE.split("## Results")[0])) - {"open"} == methods


def test_every_public_name_is_told() -> None:
    assert {name for name in tailrace.__all__ if name not in PAGE} == {"__version__"}


def test_every_remedy_is_listed_with_its_arguments() -> None:
    for kind in get_args(tailrace.Remedy):
        arguments = ", ".join(f"`{name}`" for name in kind.__struct_fields__)
        row = f"| `{msgspec.inspect.type_info(kind).tag}` | {arguments} |".replace("|  |", "| |")  # type: ignore[attr-defined]
        assert row in PAGE
