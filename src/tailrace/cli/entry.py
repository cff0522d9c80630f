"""The console script: Ctrl-C while Python still loads the command line ends it without a traceback."""

from __future__ import annotations

import signal


def main() -> None:
    """Load the command line, and run it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from tailrace.cli.main import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()
