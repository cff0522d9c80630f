"""What the product waits for in threads, in simulated time: pools, events, queues and futures."""

from __future__ import annotations

import random
import threading
from collections import deque
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Self, TypeVar

from simulation.simulated_time import Action, Host, Process
from tailrace.process.host import Jobs

_T = TypeVar("_T")


class SimulatedPool:
    """A lane runner's thread."""

    step = "call"
    """What is being submitted, for the trace."""

    def __init__(self, host: Host, name: str) -> None:
        self._host = host
        self._name = name
        self._queue: deque[tuple[str, Action] | None] = deque()
        self._process: Process | None = None
        self._ticket: int | None = None

    def submit(self, job: Action) -> None:
        self._put((SimulatedPool.step, job))

    def stop(self) -> None:
        self._put(None)

    def _put(self, item: tuple[str, Action] | None) -> None:
        self._queue.append(item)
        if self._process is None:
            self._process = Process(self._host, self._name, self._carry_out)
        elif self._ticket is not None:
            process, ticket, self._ticket = self._process, self._ticket, None
            self._host.later(0, item[0] if item else "stop", lambda: process.wake(ticket))

    def _carry_out(self) -> None:
        process = Process.current
        assert process is not None
        while True:
            if not self._queue:
                self._ticket = process.ticket
                process.wait(None, self._name)
            item = self._queue.popleft()
            if item is None:
                return
            item[1]()


class SimulatedEvent(threading.Event):
    """An event that a process waits for."""

    def __init__(self) -> None:
        super().__init__()
        self._waiter: tuple[Process, int] | None = None

    def set(self) -> None:
        super().set()
        if self._waiter is not None:
            process, ticket = self._waiter
            process.host.later(0, "stop", lambda: process.wake(ticket))

    def wait(self, timeout: float | None = None) -> bool:
        process = Process.current
        assert process is not None
        if not self.is_set():
            self._waiter = process, process.ticket
            process.wait(None if timeout is None else timeout * 1000, "Wait")
        return self.is_set()


class SimulatedQueue(SimpleQueue[_T]):
    """A queue that a process waits for."""

    _waiter: tuple[Process, int] | None = None

    def __new__(cls, _step: str = "Wait") -> Self:
        return super().__new__(cls)

    def __init__(self, step: str = "Wait") -> None:
        """`step` is what waiting is called."""
        self._step = step

    def put(self, item: _T, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        if self._waiter is not None:
            process, ticket = self._waiter
            process.host.later(0, "ended shard", lambda: process.wake(ticket))

    def get(self, block: bool = True, timeout: float | None = None) -> _T:
        process = Process.current
        assert process is not None
        if self.empty():
            self._waiter = process, process.ticket
            process.wait(None if timeout is None else timeout * 1000, self._step)
        return self.get_nowait()


class SimulatedFuture(Future[_T]):
    """An answer that a process waits for."""

    def result(self, timeout: float | None = None) -> _T:
        process = Process.current
        if process is not None and not self.done():
            ticket = process.ticket
            self.add_done_callback(lambda _: process.host.later(0, "answer", lambda: process.wake(ticket)))
            process.wait(None if timeout is None else timeout * 1000, "Wait")
        return super().result(0)


class SimulatedHost:
    """A host in simulated time, whose clock is some seconds off (`tailrace.process.host.Host`)."""

    def __init__(self, host: Host, rng: random.Random, clock_off_ms: int = 0) -> None:
        self.name = host.name
        self.random = rng.random
        self._host = host
        self._clock_off_ms = clock_off_ms

    def now_ms(self) -> int:
        return self._host.schedule.now_ms + self._clock_off_ms

    def time_ns(self) -> int:
        return self.now_ms() * 1_000_000

    def monotonic_s(self) -> float:
        return self._host.schedule.now_ms / 1000

    def start(self, name: str, run: Action) -> Process:
        return Process(self._host, name, run)

    def pool(self, name: str, size: int) -> Jobs:
        return SimulatedPool(self._host, name)

    def event(self) -> threading.Event:
        return SimulatedEvent()

    def queue(self) -> SimpleQueue[Any]:
        return SimulatedQueue()

    def future(self) -> Future[Any]:
        return SimulatedFuture()
