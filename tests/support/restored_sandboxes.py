"""Sandboxes that AWS Lambda restores from one snapshot (SnapStart): copies of a process that has started.

Run as a program it takes from stdin a list of `[sandbox, event]`, and gives the answers as a list.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import tailrace


def invoke_restored(pipeline: Path, invocations: Sequence[tuple[int, dict[str, Any]]]) -> list[Any]:
    """Load the function once, copy it, and let the copies serve events, one after the other; return the answers."""
    folders = [Path(__file__).parents[1], Path(tailrace.__file__).parents[1]]
    paths = os.pathsep.join(map(str, folders))
    done = subprocess.run(
        [sys.executable, "-m", "support.restored_sandboxes"],
        input=json.dumps(invocations),
        env={**os.environ, "PYTHONPATH": paths, "TAILRACE_PIPELINE": str(pipeline)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    answers: list[Any] = json.loads(done.stdout)
    return answers


class _Context:
    def get_remaining_time_in_millis(self) -> int:
        return 30_000


def _serve(handler: Callable[[object, _Context], object], invocations: Connection) -> None:
    while True:
        invocations.send(handler(invocations.recv(), _Context()))


def _main() -> None:
    handler = import_module("tailrace.lambda_handler").handler  # the snapshot is of this
    fork = multiprocessing.get_context("fork")
    restored: dict[int, Connection] = {}
    answers = []
    for number, event in json.load(sys.stdin):
        if number not in restored:
            restored[number], theirs = fork.Pipe()
            fork.Process(target=_serve, args=(handler, theirs), daemon=True).start()
            theirs.close()
        restored[number].send(event)
        answers.append(restored[number].recv())
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    _main()
