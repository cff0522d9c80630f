"""A process of `tailrace serve`, and a small client of its REST API."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple, Self

from support.waiting import wait_for
from tailrace.local.service import free_ports


class Answer(NamedTuple):
    """What the API answered."""

    status: int
    body: Any


class ServeProcess:
    """One process of a group; a context manager that stops it."""

    def __init__(
        self,
        kafka: Path,
        group: str,
        log: Path,
        *arguments: str,
        scheme: str = "http",
        environment: dict[str, str] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        (self.port,) = free_ports(1)
        self._scheme, self._context = scheme, context
        self._log = log.open("w")
        self.log_path = log
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tailrace", "serve", "--kafka", str(kafka), "--group", group),
                *("--port", str(self.port), *arguments),
            ],
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, **(environment or {})},
        )

    def __enter__(self) -> Self:
        wait_for("the API answers", self._answers, 60)
        return self

    def __exit__(self, *_failure: object) -> None:
        self.stop()

    def stop(self) -> int:
        """Stop it as an operator does; return its exit code."""
        self._process.terminate()
        code = self._process.wait(30)
        self._log.close()
        return code

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Do a request."""
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} | headers
        url = f"{self._scheme}://localhost:{self.port}{path}"
        request = urllib.request.Request(url, data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._context) as answer:
                return Answer(answer.status, _parsed(answer.read()))
        except urllib.error.HTTPError as error:
            return Answer(error.code, _parsed(error.read()))

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log_path.read_text()
        try:
            return self.call("GET", "/health").status == 200
        except OSError:
            return False


def basic(name: str, password: str) -> str:
    """Return the header of a log-in."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def _parsed(body: bytes) -> Any:
    return json.loads(body) if body else None
