"""The native package's folder, and how its build tools are run."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

NATIVE = Path(__file__).parents[2] / "native"


def run(*command: str | Path, folder: Path = NATIVE) -> str:
    """Run a command that must end well, one at a time over all processes; return what it printed.

    Cargo, which lists the whole folder, fails of another's temporary files that are gone meanwhile.
    """
    with (NATIVE / "Cargo.toml").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
