"""`tailrace` with a wall clock that can be set: a file, read again on SIGUSR1, says by how many seconds."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

SHIFT_FILE = "TAILRACE_TEST_CLOCK_SHIFT"
"""The environment variable that names the file."""


class _Clock:
    """The machine's clock, shifted."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._true_ns = time.time_ns
        self._shift_ns = 0

    def set(self, *_: object) -> None:
        self._shift_ns = round(float(self._file.read_text()) * 1e9)

    def time_ns(self) -> int:
        return self._true_ns() + self._shift_ns

    def time(self) -> float:
        return self.time_ns() / 1e9


def main() -> None:
    """Put the clock in place, then be `tailrace`."""
    clock = _Clock(Path(os.environ[SHIFT_FILE]))
    time.time, time.time_ns = clock.time, clock.time_ns
    clock.set()
    signal.signal(signal.SIGUSR1, clock.set)
    from tailrace.cli.entry import main as tailrace  # noqa: PLC0415 - after the clock, which others may import

    tailrace()


if __name__ == "__main__":
    main()
