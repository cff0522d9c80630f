"""Kills the children of a process that has died, however it died: a program of its own, started by `children.py`.

Its standard input is a pipe from that process: `+ PID FOLDER` names a child (and a temporary folder, or nothing) to
look after, `- PID` one that has ended. When the pipe closes, the children that are left are killed and their
folders removed. Unlike PR_SET_PDEATHSIG it works on macOS too, and does not fire when a mere thread ends.
"""

import os
import shutil
import signal
import sys
from contextlib import suppress


def main() -> None:
    """Follow standard input to its end."""
    children: dict[int, str] = {}
    for line in sys.stdin:
        sign, pid, folder = line.rstrip("\n").split(" ", 2)
        if sign == "+":
            children[int(pid)] = folder
        else:
            children.pop(int(pid), None)
    for child, folder in children.items():
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
