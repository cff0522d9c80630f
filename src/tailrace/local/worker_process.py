"""A real `tailrace run` as a child process: started, asked how it is, killed, stopped, never outliving its parent."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tailrace.core.lane_report import LOST
from tailrace.local.dynamodb import CREDENTIALS
from tailrace.local.service import free_ports, hold, start_watched
from tailrace.process.children import Watchdog

STOP_TIMEOUT_S = 10.0
"""How long a worker may take to end after SIGTERM."""

_ASK_TIMEOUT_S = 1.0
_READS = {"ready", "reading"}
"""States of a shard that is read: between two reads, or during one."""


@dataclass(frozen=True)
class WorkerMetrics:
    """What a worker's metrics say."""

    lanes: int
    """Lanes that it has been given."""
    active_lanes: int
    """Lanes that it has taken."""
    tables: tuple[str, ...]
    """Tables of which it reads a shard."""
    published: int
    """Changes that it committed since its start."""


class WorkerProcess:
    """One worker of the pipeline file; its log is `<name>.log` in `folder`, which goes if this process dies.

    `program` are Python's arguments to run `tailrace`, `environment` more variables than this process has.
    """

    def __init__(
        self,
        name: str,
        pipeline: Path,
        folder: Path,
        *,
        program: Sequence[str] = ("-m", "tailrace"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log_path = folder / f"{name.replace(' ', '-')}.log"
        self._port = free_ports(1)[0]
        self._process = start_watched(
            [sys.executable, *program, "run", str(pipeline), "--metrics-port", str(self._port)],
            cwd=folder,
            log_path=self.log_path,
            temporary=folder,
            environment={**os.environ, **CREDENTIALS, **(environment or {})},
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def ready(self) -> bool:
        """Return whether it holds the lanes that it was given."""
        return self._ask("/readyz") is not None

    def metrics(self) -> WorkerMetrics | None:
        """Return its metrics; None when it does not answer."""
        answer = self._ask("/metrics")
        return None if answer is None else _metrics(answer)

    def kill(self) -> None:
        """End it with SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        Watchdog.forget(self.pid)

    def freeze(self) -> None:
        """Hold it with SIGSTOP."""
        hold(self.pid)

    def thaw(self) -> None:
        """Resume it."""
        os.killpg(self.pid, signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to end, with SIGTERM."""
        self._process.terminate()

    def wait(self) -> int | None:
        """Wait for its end; None if that takes longer than it may."""
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return None

    def log_end(self, lines: int = 15) -> str:
        """Return the end of its log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def _ask(self, path: str) -> str | None:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(f"http://127.0.0.1:{self._port}{path}", timeout=_ASK_TIMEOUT_S) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            return None


def _metrics(text: str) -> WorkerMetrics:
    samples: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    lanes = samples.get("tailrace_lanes", [])
    shards = samples.get("tailrace_shards", [])
    return WorkerMetrics(
        lanes=int(sum(count for labels, count in lanes if labels["state"] != LOST)),
        active_lanes=int(sum(count for labels, count in lanes if labels["state"] == "active")),
        tables=tuple(sorted({labels["table"] for labels, _ in shards if labels["state"] in _READS})),
        published=int(sum(count for _, count in samples.get("tailrace_changes_published_total", []))),
    )
