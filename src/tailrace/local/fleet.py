"""The demo's workers: started, watched, one of them killed, stopped."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tailrace.errors import WorldError
from tailrace.local.worker_process import WorkerMetrics, WorkerProcess

_ASK_S = 0.4
_SAMPLES = 6
"""Answers that a rate is made of."""


@dataclass(frozen=True)
class WorkerState:
    """A worker as it last answered."""

    name: str
    pid: int
    state: str
    """`starting`, `streaming`, `waiting for lanes`, `silent`, `killed` or `stopped`."""
    lanes: int
    tables: tuple[str, ...]
    rate: float
    """Changes that it commits per second."""


class Fleet:
    """Workers of one pipeline file; a context manager that kills those that still run."""

    def __init__(self, pipeline: Path, folder: Path) -> None:
        self.workers: list[WorkerProcess] = []
        self._pipeline = pipeline
        self._folder = folder
        self._killed: set[WorkerProcess] = set()
        self._stopping = threading.Event()
        self._samples: dict[WorkerProcess, deque[tuple[float, WorkerMetrics]]] = {}
        self._thread = threading.Thread(target=self._ask_all, name="fleet", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for worker in self.workers:
            worker.kill()

    def add(self) -> WorkerProcess:
        """Start another worker."""
        worker = WorkerProcess(f"worker {len(self.workers) + 1}", self._pipeline, self._folder)
        self._samples[worker] = deque(maxlen=_SAMPLES)
        self.workers.append(worker)
        return worker

    def running(self) -> list[WorkerProcess]:
        """Return the workers that run."""
        return [worker for worker in self.workers if worker.exit_code() is None]

    def streamed_tables(self) -> set[str]:
        """Return the tables that running workers read."""
        return {table for worker in self.running() if (last := self._last(worker)) for table in last.tables}

    def all_stream(self) -> bool:
        """Return whether every running worker has lanes."""
        return all((last := self._last(worker)) is not None and last.lanes > 0 for worker in self.running())

    def busiest(self) -> WorkerProcess:
        """Return the running worker that reads most tables."""
        return max(self.running(), key=lambda worker: len(last.tables) if (last := self._last(worker)) else 0)

    def kill(self, worker: WorkerProcess) -> None:
        """End a worker with SIGKILL."""
        self._killed.add(worker)
        worker.kill()

    def stop(self) -> dict[str, int | None]:
        """End all that run with SIGTERM; give their exit codes, None for one that took too long."""
        running = self.running()
        self._stopping.set()
        for worker in running:
            worker.terminate()
        return {worker.name: worker.wait() for worker in running}

    def check(self) -> None:
        """Raise WorldError when a worker ended that nobody had asked to."""
        for worker in self.workers:
            code = worker.exit_code()
            if code is not None and worker not in self._killed and not self._stopping.is_set():
                raise WorldError(f"{worker.name} ended with exit code {code}", hint=f"see {worker.log_path}")

    def states(self) -> list[WorkerState]:
        """Describe every worker."""
        return [self._state(worker) for worker in self.workers]

    def _state(self, worker: WorkerProcess) -> WorkerState:
        samples, code = list(self._samples[worker]), worker.exit_code()
        if code is not None or not samples:
            word = "starting" if code is None else "killed" if worker in self._killed else "stopped"
            return WorkerState(worker.name, worker.pid, word, 0, (), 0.0)
        (then_s, then), (last_s, last) = samples[0], samples[-1]
        rate = (last.published - then.published) / (last_s - then_s) if last_s > then_s else 0.0
        word = "streaming" if last.lanes else "joining"
        return WorkerState(worker.name, worker.pid, word, last.lanes, last.tables, rate)

    def _last(self, worker: WorkerProcess) -> WorkerMetrics | None:
        samples = self._samples[worker]
        return samples[-1][1] if samples else None

    def _ask_all(self) -> None:
        """Ask every worker for its metrics, again and again (a thread of its own)."""
        while not self._stopping.wait(_ASK_S):
            for worker in self.running():
                metrics = worker.metrics()
                if metrics is not None:
                    self._samples[worker].append((time.monotonic(), metrics))
