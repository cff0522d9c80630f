"""`tailrace run` in a process of its own, as users run it, and what it used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from types import TracebackType
from typing import Any, Self

import yaml

from benchmarks.lab import Lab, wait_until
from benchmarks.measure import cpu_s_of, memory_mb_of
from benchmarks.page_server import LOG, TABLE, PageServer
from benchmarks.transcoders import How, environment
from tailrace.config import load
from tailrace.operations.snapshot import Order, order


class Pipeline:
    """A pipeline file, over a page server if one is given; its name is new each time, so it begins at the start."""

    def __init__(
        self, lab: Lab, server: PageServer | None = None, *, is_kinesis: bool = False, **settings: Any
    ) -> None:
        self.name = f"bench-{uuid.uuid4().hex[:8]}"
        self.topic = f"{self.name}.{TABLE}"
        method = {"type": "kinesis", "streams": [LOG]} if is_kinesis else {"type": "dynamodb-streams"}
        document = {
            "name": self.name,
            "kafka": lab.kafka,
            "source": {
                **method,
                "region": "us-east-1",
                "tables": [TABLE],
                **({"endpoint_url": server.endpoint_url} if server else {}),
            },
            **settings,
        }
        self.file = lab.folder / f"{self.name}.yaml"
        self.file.write_text(yaml.safe_dump(document))

    def order_snapshot(self, wanted: Order) -> None:
        """Pause or resume the table's snapshot, as `tailrace snapshot` does."""
        order(load(self.file), TABLE, wanted)


class WorkerRun:
    """One worker; a context manager that stops it."""

    def __init__(self, pipeline: Pipeline, how: How = "pure") -> None:
        command = [sys.executable, "-m", "tailrace", "run", str(pipeline.file)]
        self._process = subprocess.Popen(
            [*command, "--metrics-port", "0", "--log-level", "info"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment(how)},
        )
        self.pid = self._process.pid
        self._log: list[dict[str, Any]] = []
        threading.Thread(target=self._read_log, daemon=True).start()

    def cpu_s(self) -> float:
        """Return the CPU seconds used so far."""
        return cpu_s_of(self.pid)

    def memory_mb(self, *, peak: bool = True) -> float:
        """Return its resident memory."""
        return memory_mb_of(self.pid, peak=peak)

    def published(self) -> float:
        """Return the number of changes that it has committed, by its own metrics."""
        return self._metric("tailrace_changes_published_total")

    def rows(self) -> float:
        """Return the number of rows of snapshots that it has committed, by its own metrics."""
        return self._metric("tailrace_snapshot_rows_total")

    def wait_reading(self, shards: int, timeout_s: float = 120) -> None:
        """Return once it reads so many shards."""

        def reads_all() -> bool:
            return self._metric('state="ready"') + self._metric('state="reading"') >= shards

        wait_until(f"reading {shards} shards", reads_all, timeout_s)

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Return once it serves metrics and has lanes."""
        wait_until("the worker's lanes", lambda: bool(self._logged("lanes assigned")), timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _metric(self, text: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port()}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if text in line and not line.startswith("#"))

    def _port(self) -> int:
        wait_until("the metrics port", lambda: bool(self._logged("serving metrics")), 60)
        return int(self._logged("serving metrics")[0]["port"])

    def _logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in list(self._log) if line.get("event") == event]

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            try:
                self._log.append(json.loads(line))
            except ValueError:
                sys.stderr.write(line)


def steady_rate(workers: list[WorkerRun], changes: int, timeout_s: float) -> tuple[float, float, float]:
    """Wait until `changes` are published; return changes, CPU and wall seconds from the first tenth to the end.

    Starting and joining the group are left out so.
    """
    deadline_s = time.monotonic() + timeout_s
    begun = last = (0.0, sum(worker.cpu_s() for worker in workers), time.perf_counter())
    while last[0] < changes:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{last[0]:.0f} of {changes} changes were published within {timeout_s} s")
        time.sleep(0.25)  # asking costs the worker CPU time, too
        last = (sum(w.published() for w in workers), sum(w.cpu_s() for w in workers), time.perf_counter())
        if not begun[0] and changes / 10 <= last[0] < changes:
            begun = last
    return last[0] - begun[0], last[1] - begun[1], last[2] - begun[2]
