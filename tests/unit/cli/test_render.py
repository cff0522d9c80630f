"""What the command line draws on a terminal, and what it leaves out elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tailrace.cli.progress import progress_shown
from tailrace.operations.progress import Progress

DRAWS = """
from rich.text import Text
from tailrace.cli.progress import progress_shown
from tailrace.cli.render import STYLES, console
from tailrace.operations.progress import Progress
with progress_shown() as progress:
    progress(Progress("lanes", 1, 4))
    progress(Progress("messages", 7))
console(stderr=True).print(Text("it stands still", style=STYLES["error"]))
"""
PROGRESS = b"\r\x1b[2Kmoved 1 of 4 lanes\r\x1b[2K7 messages\r\x1b[2K"


@pytest.mark.parametrize(
    ("environment", "line"),
    [({}, b"\x1b[31mit stands still\x1b[0m\r\n"), ({"NO_COLOR": "1"}, b"it stands still\r\n")],
)
def test_a_terminal_shows_progress_that_is_wiped_and_severities_in_colours(
    environment: dict[str, str], line: bytes
) -> None:
    reader, writer = os.openpty()
    os.set_blocking(reader, False)
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    subprocess.run([sys.executable, "-c", DRAWS], stderr=writer, env=plain | environment, check=True)
    assert os.read(reader, 10_000) == PROGRESS + line
    os.close(reader)
    os.close(writer)


def test_progress_is_silent_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_shown() as progress:
        progress(Progress("tables", 0, 3))
    assert capsys.readouterr().err == ""
