"""A sandbox: one process that runs the function, frozen between invocations, killed when its time is over.

Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import IO, Final
from uuid import uuid4

from tailrace_simulator.event_source import Errored, Outcome, Unknown
from tailrace_simulator.function.code import RUNTIME, Code
from tailrace_simulator.function.environment import make_environment
from tailrace_simulator.function.runtime_api import Invocation, RuntimeApi

INIT_LIMIT_S: Final = 10.0
"""How long a function may take to start; after that it starts again, as a part of its first invocation."""


_NEXT_S: Final = 1.0
"""How long the runtime is waited for after an answer."""


class Sandbox:
    """One invocation at a time. Other threads may `freeze`, `thaw` and `kill` it."""

    def __init__(
        self,
        code: Code,
        *,
        name: str,
        function_arn: str,
        region: str,
        memory_mb: int,
        environment: dict[str, str],
        log: IO[bytes] | int,
    ) -> None:
        """Start the process; it is not waited for."""
        self._function_arn = function_arn
        self._changed = threading.Condition()
        self._is_held = False
        self._api = RuntimeApi(self._changed, lambda: self._signal(signal.SIGSTOP))
        isolation = [] if code.runtime_dir is None else ["-S"]
        self._process = subprocess.Popen(
            [sys.executable, *isolation, "-m", RUNTIME, code.handler],
            cwd=code.task_root,
            env=make_environment(
                code,
                name=name,
                region=region,
                memory_mb=memory_mb,
                runtime_api=self._api.address,
                extra=environment,
            ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # A group of this session: if this process dies, the kernel wakes and ends what it left frozen.
            process_group=0,
        )
        self.pid = self._process.pid
        self._watch = threading.Thread(target=self._watch_process, name="sandbox")
        self._watch.start()

    @property
    def is_alive(self) -> bool:
        """Whether the process runs, frozen or not."""
        return self._process.returncode is None

    @property
    def is_idle(self) -> bool:
        """Whether it waits for an event, frozen."""
        with self._changed:
            return self._api.is_idle and self.is_alive

    def start(self, limit_s: float) -> bool:
        """Wait until the function has started, failed to, or the time is over: False."""
        with self._changed:
            return self._changed.wait_for(self._has_started, limit_s)

    def invoke(self, event: bytes, timeout_s: float) -> Outcome:
        """Run the function with an event. When its time is over it is killed.

        One that is frozen then is let be, and nobody knows how it ends.
        """
        deadline_ms = round((time.time() + timeout_s) * 1000)
        invocation = Invocation(str(uuid4()), event, deadline_ms, self._function_arn)
        with self._changed:
            if not self._is_held:
                self._signal(signal.SIGCONT)
            self._api.give(invocation)
            self._changed.wait_for(lambda: self._is_over(invocation), timeout_s)
            if invocation.outcome is not None:
                # It is over when the runtime asks for the next event: only then the sandbox can be used again.
                self._changed.wait_for(lambda: self._api.is_idle or not self.is_alive, _NEXT_S)
                return invocation.outcome
            if self._is_held:
                invocation.outcome = Unknown(invocation.request_id)
                return invocation.outcome
            invocation.outcome = self._failure(invocation.request_id, timeout_s)
        self.kill()
        return invocation.outcome

    def freeze(self) -> None:
        """Stop it where it stands. It is not killed when its time is over meanwhile."""
        with self._changed:
            self._is_held = True
            self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume it."""
        with self._changed:
            self._is_held = False
            if not self._api.is_idle:
                self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, if it has not ended, and wait for that."""
        if self.is_alive:
            self._signal(signal.SIGKILL)
        self._watch.join()
        self._api.close()

    def _has_started(self) -> bool:
        return self._api.is_idle or self._api.init_error is not None or not self.is_alive

    def _is_over(self, invocation: Invocation) -> bool:
        return invocation.outcome is not None or self._api.init_error is not None or not self.is_alive

    def _failure(self, request_id: str, timeout_s: float) -> Errored:
        """Return why there is no answer."""
        if (init_error := self._api.init_error) is not None:
            return Errored(init_error.error_type, init_error.message, request_id)
        if self.is_alive:
            return Errored("Sandbox.Timedout", f"{request_id} Task timed out after {timeout_s:.2f} seconds", request_id)
        code = self._process.returncode
        how = f"exit status {code}" if code >= 0 else f"signal: {signal.Signals(-code).name}"
        sentence = f"RequestId: {request_id} Error: Runtime exited with error: {how}"
        return Errored("Runtime.ExitError", sentence, request_id)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _watch_process(self) -> None:
        self._process.wait()
        with self._changed:
            self._changed.notify_all()
