"""Ctrl-C, and SIGTERM where it is handled, end a command soon, even while it waits for a Kafka that does not answer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.pipeline_file import write_file
from tailrace.local.dynamodb import CREDENTIALS

TAILRACE = Path(sys.executable).with_name("tailrace")
ENDS_WITHIN_S = 5.0
"""Far less than the 15 s for which a command waits for Kafka."""

CTRL_C = {
    "run FILE": 0,
    "tail FILE": 0,
    "export FILE --to folder": 0,
    "status FILE --watch": 0,
    "status FILE": 130,
    "plan FILE": 130,
    "accept-gap FILE --table orders": 130,
    "rescale FILE": 130,
}
"""Each command that asks Kafka, and the exit code with which it ends on Ctrl-C."""
SIGTERM = {command: code for command, code in CTRL_C.items() if code == 0}
"""Those that go on until they are stopped end as well on SIGTERM."""


@pytest.mark.parametrize(("number", "commands"), [(signal.SIGINT, CTRL_C), (signal.SIGTERM, SIGTERM)])
def test_a_signal_ends_a_command_that_waits_for_kafka(
    number: signal.Signals, commands: dict[str, int], tmp_path: Path
) -> None:
    with ExitStack() as opened:
        started: dict[str, subprocess.Popen[str]] = {}
        brokers: list[socket.socket] = []
        for place, command in enumerate(commands):
            silent = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
            folder = tmp_path / str(place)
            folder.mkdir()
            file = write_file(folder, {"bootstrap.servers": f"127.0.0.1:{silent.getsockname()[1]}"}, "shop")
            process = subprocess.Popen(
                [TAILRACE, *command.replace("FILE", str(file)).split()],
                env=os.environ | CREDENTIALS,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            started[command] = opened.enter_context(process)
            opened.callback(process.kill)
            brokers.append(silent)
        # Only when all are started: on a busy machine the first would give up before the last asks.
        for silent in brokers:
            silent.settimeout(30)
            connection, _ = silent.accept()
            opened.enter_context(connection)
            # Its first request: from now on it waits for the answer.
            assert connection.recv(1)
        began_s = time.monotonic()
        for process in started.values():
            process.send_signal(number)
        said = {command: process.communicate(timeout=30)[1] for command, process in started.items()}
        assert time.monotonic() - began_s < ENDS_WITHIN_S
    assert said == dict.fromkeys(commands, "")
    assert {command: process.returncode for command, process in started.items()} == commands
