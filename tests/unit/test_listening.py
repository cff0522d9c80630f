"""A port that somebody listens on is refused at once, with who it is: by every command that listens."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cli import CommandLine

WITHIN_S = 10.0
"""Far less than a service takes to be given up."""
FILE = """\
name: shop
kafka: {bootstrap.servers: "127.0.0.1:1"}
source: {type: dynamodb-streams, region: us-east-1, endpoint_url: "http://127.0.0.1:1", tables: [orders]}
"""


@pytest.fixture(params=["127.0.0.1", "0.0.0.0", "::"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port on which this process listens."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family, dualstack_ipv6=family == socket.AF_INET6) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        ("local up --kafka-port PORT", "choose another port with --kafka-port"),
        ("local up --dynamodb-port PORT", "choose another port with --dynamodb-port"),
        ("simulate --port PORT", "choose another port"),
    ],
)
def test_a_port_in_use_is_refused_with_who_uses_it(
    command: str,
    remedy: str,
    *,
    port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TAILRACE_CACHE", str(tmp_path))
    began_s = time.monotonic()
    code, out, err = CommandLine(capsys)(*command.replace("PORT", str(port)).split())
    assert time.monotonic() - began_s < WITHIN_S
    assert (code, out) == (3, "")
    who = f"{Path('/proc/self/comm').read_text().strip()} (process {os.getpid()})"
    assert err == f"error: port {port} is in use by {who}; stop it, or {remedy}\n"


def test_a_metrics_port_in_use_is_refused_before_a_worker_reaches_for_anything(port: int, tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(FILE)
    ended = subprocess.run(
        [sys.executable, "-m", "tailrace", "run", str(file), "--metrics-port", str(port)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 3
    assert ended.stderr.startswith(f"error: port {port} is in use by ")
    assert ended.stderr.endswith("choose another port with --metrics-port\n")
