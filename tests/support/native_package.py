"""The native package's folder, and how its build tools are run."""

from __future__ import annotations

import subprocess
from pathlib import Path

NATIVE = Path(__file__).parents[2] / "native"


def run(*command: str | Path, folder: Path = NATIVE) -> str:
    """Run a command that must end well; gives what it printed."""
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
