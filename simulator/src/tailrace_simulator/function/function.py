"""A function and its sandboxes: started when they are needed, used again, as many at once as its concurrency."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Final, Self

from tailrace_simulator.event_source import NotInvoked, Outcome
from tailrace_simulator.function.code import Code
from tailrace_simulator.function.sandbox import INIT_LIMIT_S, Sandbox

ACCOUNT: Final = "123456789012"


class Function:
    """What AWS Lambda is to a caller. Safe to use from many threads at once."""

    def __init__(
        self,
        code: Code,
        *,
        name: str = "function",
        region: str = "us-east-1",
        timeout_s: float = 3,
        memory_mb: int = 128,
        concurrency: int = 10,
        environment: Mapping[str, str] | None = None,
        log: IO[bytes] | int = subprocess.DEVNULL,
    ) -> None:
        """`memory_mb` is what the function is told; it is not enforced. What it writes goes to `log`."""
        self.arn = f"arn:aws:lambda:{region}:{ACCOUNT}:function:{name}"
        self.timeout_s = timeout_s
        self.cold_starts = 0
        self._code = code
        self._name = name
        self._region = region
        self._memory_mb = memory_mb
        self._concurrency = concurrency
        self._environment = dict(environment or {})
        self._log = log
        self._lock = threading.Lock()
        self._sandboxes: dict[Sandbox, bool] = {}
        """Each sandbox, and whether somebody waits for its answer."""
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every sandbox."""
        with self._lock:
            self._is_closed = True
            sandboxes = list(self._sandboxes)
        for sandbox in sandboxes:
            sandbox.kill()

    @property
    def sandboxes(self) -> list[Sandbox]:
        """The sandboxes that are there, oldest first."""
        with self._lock:
            return [sandbox for sandbox in self._sandboxes if sandbox.is_alive]

    def invoke(self, event: bytes) -> Outcome:
        """Invoke it and wait. With as many invocations under way as its concurrency it is throttled."""
        sandbox = self._take()
        if sandbox is None:
            return NotInvoked("TooManyRequestsException: Rate Exceeded.")
        try:
            if not sandbox.start(INIT_LIMIT_S):
                sandbox = self._replace(sandbox)
            return sandbox.invoke(event, self.timeout_s)
        finally:
            self._give_back(sandbox)

    def _take(self) -> Sandbox | None:
        with self._lock:
            dead = [one for one, is_used in self._sandboxes.items() if not is_used and not one.is_alive]
            for one in dead:
                del self._sandboxes[one]
                one.kill()
            idle = next((one for one, is_used in self._sandboxes.items() if not is_used and one.is_idle), None)
            if idle is not None:
                self._sandboxes[idle] = True
                return idle
            if self._is_closed or len(self._sandboxes) >= self._concurrency:
                return None
            return self._make()

    def _replace(self, sandbox: Sandbox) -> Sandbox:
        sandbox.kill()
        with self._lock:
            del self._sandboxes[sandbox]
            return self._make()

    def _give_back(self, sandbox: Sandbox) -> None:
        with self._lock:
            self._sandboxes[sandbox] = False

    def _make(self) -> Sandbox:
        sandbox = Sandbox(
            self._code,
            name=self._name,
            function_arn=self.arn,
            region=self._region,
            memory_mb=self._memory_mb,
            environment=self._environment,
            log=self._log,
        )
        self.cold_starts += 1
        self._sandboxes[sandbox] = True
        return sandbox
