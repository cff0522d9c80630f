"""What a worker needs from its process: time, randomness, threads, and what threads wait for."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Protocol

from tailrace.process.clock import Clock
from tailrace.process.threads import Pool, start_thread

Job = Callable[[], None]


class Jobs(Protocol):
    """Carries out jobs in the order of submission, elsewhere."""

    def submit(self, job: Job) -> None:
        """Queue a job."""
        ...

    def stop(self) -> None:
        """End after what is queued."""
        ...


class Inbox(Protocol):
    """Takes jobs for the engine, from any thread."""

    def put(self, item: Job) -> None:
        """Queue a job."""
        ...


class Host(Protocol):
    """The process that a worker runs in. The simulation's has one thread and a clock of its own."""

    def now_ms(self) -> int:
        """Return the time, milliseconds since the epoch; it never goes back."""
        ...

    def time_ns(self) -> int:
        """Return the wall clock's time, nanoseconds since the epoch."""
        ...

    def monotonic_s(self) -> float:
        """Return a monotonic time in seconds; only differences are meaningful."""
        ...

    def random(self) -> float:
        """Return a number from 0 to 1."""
        ...

    def start(self, name: str, run: Job) -> object:
        """Start a thread that never keeps the process alive."""
        ...

    def pool(self, name: str, size: int) -> Jobs:
        """Start this many threads that carry out jobs."""
        ...

    def event(self) -> threading.Event:
        """Make an event."""
        ...

    def queue(self) -> SimpleQueue[Any]:
        """Make a queue."""
        ...

    def future(self) -> Future[Any]:
        """Make an answer that a thread waits for."""
        ...


class ThreadedHost:
    """This process, with real threads."""

    def __init__(self) -> None:
        self.now_ms: Callable[[], int] = Clock()
        self.time_ns = time.time_ns
        self.monotonic_s = time.monotonic
        self.random = random.Random().random
        self.start = start_thread
        self.pool = Pool
        self.event = threading.Event
        self.queue: type[SimpleQueue[Any]] = SimpleQueue
        self.future: type[Future[Any]] = Future
