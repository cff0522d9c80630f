"""The command line, run in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tailrace.cli.main import main


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Read what it printed with `--json`."""
        return json.loads(self.out)


class CommandLine:
    """Runs commands."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured

    def __call__(self, *arguments: str | Path) -> Outcome:
        self._captured.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        shown = self._captured.readouterr()
        assert isinstance(ended.value.code, int)
        return Outcome(ended.value.code, shown.out, shown.err)
