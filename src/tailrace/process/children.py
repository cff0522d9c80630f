"""Child processes that must not outlive this one, however it dies."""

from __future__ import annotations

import atexit
import subprocess
import sys
import threading
from pathlib import Path


class Watchdog:
    """This process's one `watchdog.py`, started with its first program."""

    _process: subprocess.Popen[str] | None = None
    _lock = threading.Lock()

    @classmethod
    def watch(cls, pid: int, folder: Path | None) -> None:
        """Look after a child that leads its process group, and after a temporary folder."""
        cls._say(f"+ {pid} {folder or ''}\n")

    @classmethod
    def forget(cls, pid: int) -> None:
        """Leave a child alone that has ended, or is to stay."""
        cls._say(f"- {pid} \n")

    @classmethod
    def _say(cls, line: str) -> None:
        with cls._lock:
            if cls._process is None:
                cls._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(Path(__file__).with_name("watchdog.py"))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    text=True,
                    start_new_session=True,  # out of reach of Ctrl-C in the terminal
                )
                atexit.register(cls._process.communicate)
            assert cls._process.stdin is not None
            cls._process.stdin.write(line)
            cls._process.stdin.flush()
