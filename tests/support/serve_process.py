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
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple, Self

from prometheus_client.parser import text_string_to_metric_families

from support.waiting import wait_for
from tailrace.local.dynamodb import REGION
from tailrace.local.service import free_ports

HAS_CHILDREN = Path("/proc/self/task").exists()
"""Whether the children of a process can be read."""
TRUSTPILOT = "com.trustpilot.connector.dynamodb.DynamoDBSourceConnector"


class Answer(NamedTuple):
    """What the API answered."""

    status: int
    body: Any
    """Parsed if it is JSON."""


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
        self.group = group
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

    @property
    def url(self) -> str:
        """Where its API is."""
        return f"{self._scheme}://localhost:{self.port}"

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

    def children(self) -> dict[int, str]:
        """Return its children, each with its command line, by process id."""
        listed = Path(f"/proc/{self._process.pid}/task").glob("*/children")
        pids = [int(pid) for file in listed for pid in file.read_text().split()]
        return {pid: Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in pids}

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Do a request."""
        return self.call_with(self._context, method, path, body, **headers)

    def call_with(
        self, context: ssl.SSLContext | None, method: str, path: str, body: Any = None, **headers: str
    ) -> Answer:
        """Do a request as a client of its own."""
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} | headers
        request = urllib.request.Request(f"{self.url}{path}", data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:
                return Answer(answer.status, _body(answer))
        except urllib.error.HTTPError as error:
            return Answer(error.code, _body(error))

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log_path.read_text()
        try:
            return self.call("GET", "/health").status == 200
        except OSError:
            return False


def config_of(table: str, endpoint_url: str, **more: str) -> dict[str, str]:
    """Return a connector's configuration."""
    return {
        "connector.class": TRUSTPILOT,
        "tasks.max": "1",
        "aws.region": REGION,
        "aws.access.key.id": "AKIAIOSFODNN7EXAMPLE",
        "aws.secret.key": "not-a-secret-here",
        "dynamodb.table.whitelist": table,
        "dynamodb.service.endpoint": endpoint_url,
        "kafka.topic.prefix": "dynamodb-",
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
        **{name.replace("_", "."): value for name, value in more.items()},
    }


def state_of(process: ServeProcess, name: str) -> tuple[str, list[str]]:
    """Return the state of a connector and of its tasks."""
    body = process.call("GET", f"/connectors/{name}/status").body
    return body["connector"]["state"], [task["state"] for task in body["tasks"]]


def workers(process: ServeProcess) -> list[int]:
    """Return the process ids of the connectors that a process runs."""
    return [pid for pid, command in process.children().items() if "connector.json" in command]


def is_alive(pid: int) -> bool:
    """Return whether a process runs; False as well where /proc does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def basic(name: str, password: str) -> str:
    """Return the header of a log-in."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def metric_of(process: ServeProcess, name: str, **labels: str) -> float | None:
    """Return the first sample of a metric that carries these labels; None: there is none."""
    families = text_string_to_metric_families(process.call("GET", "/metrics").body)
    samples = (sample for each in families for sample in each.samples)
    return next((each.value for each in samples if each.name == name and labels.items() <= each.labels.items()), None)


def _body(answer: HTTPResponse | urllib.error.HTTPError) -> Any:
    body = answer.read().decode()
    return json.loads(body) if body and answer.headers.get_content_subtype() == "json" else body
