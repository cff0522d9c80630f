"""The console script: Ctrl-C ends a command at once, without a traceback, unless it has something to clean up."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_INTERRUPTED = 130


def main() -> None:
    """Load the command line, and run it."""
    signal.signal(signal.SIGINT, _end)
    from tailrace.cli.main import main as run

    run()


@contextmanager
def unwinding() -> Iterator[None]:
    """Make Ctrl-C raise KeyboardInterrupt in this block: there are processes or files to clean up.

    Elsewhere it would only produce a traceback: Python raises it in the middle of an import, or as it ends.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(_number: int, _frame: object) -> None:
    os._exit(EXIT_INTERRUPTED)
