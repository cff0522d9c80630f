"""Simulated time: what happens when, hosts that sleep or die at any step, and code that waits."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable
from typing import ClassVar

Action = Callable[[], None]


class Schedule:
    """What happens when, in milliseconds; what is due at the same time happens in the order of asking."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self._heap: list[tuple[int, int, Action]] = []
        self._numbers = itertools.count()

    def after(self, delay_ms: float, action: Action) -> None:
        heapq.heappush(self._heap, (self.now_ms + int(delay_ms), next(self._numbers), action))

    def run_until(self, until_ms: int) -> None:
        while self._heap and self._heap[0][0] <= until_ms:
            due_ms, _, action = heapq.heappop(self._heap)
            self.now_ms = max(self.now_ms, due_ms)
            action()
        self.now_ms = max(self.now_ms, until_ms)

    def leap(self, milliseconds: int) -> None:
        """Let time pass in which nothing happens: what was due meanwhile happens at once, late, in its order."""
        self.now_ms += milliseconds


class Killed(BaseException):
    """The host on which this code ran is dead."""


class Host:
    """One worker's machine: everything that runs on it stops when it sleeps, and is gone when it dies."""

    current: ClassVar[Host | None] = None
    """The host whose code runs now."""

    def __init__(self, name: str, schedule: Schedule, nap_ms: Callable[[Host, str], int]) -> None:
        """`nap_ms` is asked before every step, and says for how long the host sleeps before it (0: not at all)."""
        self.name = name
        self.schedule = schedule
        self.is_dead = False
        self.is_asleep = False
        self._nap_ms = nap_ms
        self._backlog: deque[Action] = deque()
        self._processes: list[Process] = []

    def later(self, delay_ms: float, step: str, action: Action) -> None:
        """Do one step of this host's work after a delay, or when it wakes."""
        self.schedule.after(delay_ms, lambda: self._due(step, action))

    def start(self, process: Process) -> None:
        self._processes = [each for each in self._processes if not each.is_done]
        self._processes.append(process)

    def die(self) -> None:
        self.is_dead = True
        self._backlog.clear()
        for process in self._processes:
            process.kill()

    def run(self, action: Action) -> None:
        """Run this host's code now."""
        before, Host.current = Host.current, self
        try:
            action()
        finally:
            Host.current = before

    def _due(self, step: str, action: Action) -> None:
        if self.is_dead:
            return
        if self.is_asleep:
            self._backlog.append(action)
        elif nap_ms := self._nap_ms(self, step):
            self.is_asleep = True
            self._backlog.append(action)
            self.schedule.after(nap_ms, self.wake)
        else:
            self.run(action)

    def wake(self) -> None:
        """Go on with what was due meanwhile, in its order."""
        self.is_asleep = False
        while self._backlog and not self.is_dead:
            self.run(self._backlog.popleft())


class Process:
    """Code of a host that waits in the middle, in a thread that only runs while everything else stands still."""

    current: ClassVar[Process | None] = None

    def __init__(self, host: Host, name: str, run: Action) -> None:
        self.host = host
        self.is_done = False
        self._run = run
        self._killed = False
        self._error: BaseException | None = None
        self._wait = 0
        self._was_woken = False
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._body, name=f"{host.name}-{name}", daemon=True)
        self._thread.start()
        host.start(self)
        host.later(0, f"start of {name.rstrip('-0123456789')}", self._resume)

    @property
    def ticket(self) -> int:
        """The next wait's number: `wake` must name it."""
        return self._wait + 1

    def wait(self, timeout_ms: float | None, step: str) -> bool:
        """Wait, called by the process itself, until woken or out of time; tells whether it was woken."""
        self._wait += 1
        ticket = self._wait
        if timeout_ms is not None:
            self.host.later(timeout_ms, step, lambda: self._resume_from(ticket, woken=False))
        self._pause()
        return self._was_woken

    def wake(self, ticket: int) -> None:
        """End a wait, if that very one still goes on. Called by a step of the host."""
        self._resume_from(ticket, woken=True)

    def kill(self) -> None:
        self._killed = True
        if not self.is_done and Process.current is not self:
            self._resume()
            self._thread.join()

    def _resume_from(self, ticket: int, *, woken: bool) -> None:
        if self._wait == ticket:
            self._was_woken = woken
            self._wait += 1  # whoever else would end this wait comes too late
            self._resume()
            return

    def _resume(self) -> None:
        if self.is_done:
            return
        before, Process.current = Process.current, self
        self._go.release()
        self._back.acquire()
        Process.current = before
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _pause(self) -> None:
        if self._killed:
            raise Killed  # it cleans up after itself: a dead process does not
        self._back.release()
        self._go.acquire()
        if self._killed:
            raise Killed

    def _body(self) -> None:
        self._go.acquire()
        try:
            if not self._killed:
                self._run()
        except Killed:
            pass
        except BaseException as error:
            self._error = error
        self.is_done = True
        self._back.release()


def sleep(milliseconds: float, step: str) -> None:
    """Let the process that calls wait."""
    process = Process.current
    assert process is not None, "only a process may wait"
    process.wait(milliseconds, step)
