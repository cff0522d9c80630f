"""Threads that never keep the process alive: whatever they wait for, the worker can stop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from threading import Thread

logger = logging.getLogger("tailrace.worker")


def start_thread(name: str, run: Callable[[], None]) -> Thread:
    """Start a daemon thread in a copy of the caller's context, so that its log lines name the same pipeline."""
    thread = Thread(target=copy_context().run, args=(run,), name=name, daemon=True)
    thread.start()
    return thread


class Pool:
    """A fixed number of daemon threads that carry out jobs in the order of submission.

    Jobs must deal with their own errors; one that raises is a defect, and is logged as such.
    """

    def __init__(self, name: str, size: int) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._size = size
        for number in range(size):
            start_thread(f"{name}-{number}", self._work)

    def submit(self, job: Callable[[], None]) -> None:
        """Queue a job."""
        self._jobs.put(job)

    def stop(self) -> None:
        """End the threads once the queue is empty."""
        for _ in range(self._size):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                logger.exception("a job failed; this is a defect of Tailrace")
