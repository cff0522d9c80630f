"""Ctrl-C while a command starts ends it soon and without a traceback, at whichever moment it comes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tailrace.local.dynamodb import CREDENTIALS

STARTED = """\
import os, signal
from tailrace.cli.entry import main
set_handler = signal.signal
def tell(*arguments):
    signal.signal = set_handler
    set_handler(*arguments)
    os.write(1, b".")
    os.dup2(2, 1)
signal.signal = tell
main()
"""
"""What the console script does; it says when Ctrl-C is no longer Python's own affair."""
MOMENTS = 8
LATEST_S = 1.2
FILE = """\
name: shop
kafka: {bootstrap.servers: "127.0.0.1:1"}
source: {type: dynamodb-streams, region: us-east-1, endpoint_url: "http://127.0.0.1:1", tables: [orders]}
"""
COMMANDS = [
    "--help",
    "run FILE",
    "plan FILE",
    "status FILE",
    "status FILE --watch",
    "validate FILE",
    "schema",
    "tail FILE",
    "redrive FILE",
    "rescale FILE",
    "switch FILE --to lambda",
    "version",
    "local status",
    "local down",
    "simulate --port 0",
]
ENDS = {0, 2, 3, 130, -signal.SIGINT}
"""The last: the command was done, and Python was ending."""


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_at_any_moment_of_a_start_shows_no_traceback(command: str, tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(FILE)
    arguments = command.replace("FILE", str(file)).split()
    chosen = random.Random(command)

    def interrupt(after_s: float) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", STARTED, *arguments],
            env=os.environ | CREDENTIALS | {"TAILRACE_CACHE": str(tmp_path / "cache")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.read(1) == b"."
            time.sleep(after_s)
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=60)[1].decode()
        assert "Traceback" not in said, f"{after_s:.3f} s after the start"
        assert "KeyboardInterrupt" not in said, f"{after_s:.3f} s after the start"
        assert process.returncode in ENDS, f"{after_s:.3f} s after the start: {said}"

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(interrupt, [LATEST_S * (number + chosen.random()) / MOMENTS for number in range(MOMENTS)]))
