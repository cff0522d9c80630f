"""A worker as users run it: `tailrace run FILE` in a process of its own, its log read as it arrives."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from support import clocked_worker
from support.waiting import TIMEOUT_S, wait_for
from tailrace.local.service import hold

STOP_TIMEOUT_S = 10.0
"""What `tailrace run` promises: SIGTERM ends it within so long."""


class LoggedWorker:
    """One `tailrace run`, started at once. `close` kills it whatever its state.

    With a `clock_file` its wall clock can be set; it begins with the shift in seconds that the file holds.
    """

    def __init__(self, file: Path, *options: str, clock_file: Path | None = None) -> None:
        program = [str(Path(sys.executable).with_name("tailrace"))]
        environment = dict(os.environ)
        self._clock_file = clock_file
        if clock_file is not None:
            program = [sys.executable, "-P", clocked_worker.__file__]
            environment[clocked_worker.SHIFT_FILE] = str(clock_file)
        self._process = subprocess.Popen(
            [*program, "run", str(file), "--metrics-port", "0", *options],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self.lines: list[str] = []
        """What it wrote on stderr that is no JSON: sentences, and tracebacks that should not be."""
        self._log: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.poll()

    def logged(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Return the log lines of an event that carry these fields."""
        return [
            line
            for line in list(self._log)
            if line["event"] == event and all(line.get(name) == value for name, value in fields.items())
        ]

    def wait_logged(self, event: str, *, count: int = 1, timeout_s: float = TIMEOUT_S, **fields: object) -> None:
        """Return once the event was logged `count` times."""
        try:
            wait_for(f"{count} times {event!r} {fields}", lambda: len(self.logged(event, **fields)) >= count, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; worker {self.pid} says {self.tail()}") from None

    def logged_by(self, logger: str) -> list[dict[str, Any]]:
        """Return the log lines of one logger."""
        return [line for line in list(self._log) if line["logger"] == logger]

    def was_fenced(self) -> bool:
        """Return whether the broker refused something of it because another has its lane."""
        return any("fenced" in str(line).lower() for line in list(self._log))

    def troubles(self) -> list[str]:
        """Return the log lines that tell of a defect: tracebacks."""
        return [str(line) for line in self._log if "exception" in line or "defect" in line["event"]] + self.lines

    def tail(self) -> str:
        """Return the end of the log, to be shown when a test fails."""
        ended = [] if self.exit_code is None else [f"ended with {self.exit_code}"]
        return " | ".join([json.dumps(line) for line in self._log[-8:]] + self.lines[-5:] + ended)

    def unready(self) -> str:
        """Return what `/readyz` says is not ready; nothing when it is."""
        return self._fault("/readyz")

    def unhealthy(self) -> str:
        """Return what `/healthz` says is not healthy; nothing when it is."""
        return self._fault("/healthz")

    @property
    def metrics_port(self) -> int:
        """Its metrics port, once it serves."""
        self.wait_logged("serving metrics")
        port = self.logged("serving metrics")[0]["port"]
        assert isinstance(port, int)
        return port

    def _fault(self, path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            said = answer.read().decode()
            return "" if answer.status == 200 else said.strip()
        finally:
            connection.close()

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that carry these labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def set_clock(self, shift_s: float) -> None:
        """Shift its wall clock from the true time."""
        assert self._clock_file is not None
        self._clock_file.write_text(str(shift_s))
        os.kill(self.pid, signal.SIGUSR1)

    def freeze(self) -> None:
        """Hold it with SIGSTOP."""
        hold(self.pid)

    def thaw(self) -> None:
        """Resume it."""
        os.kill(self.pid, signal.SIGCONT)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self._process.kill()
        self.wait()

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for its end and give the exit code."""
        code = self._process.wait(timeout_s)
        self._reader.join()
        return code

    def close(self) -> None:
        """End it for good."""
        if self._process.poll() is None:
            self.kill()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            try:
                self._log.append(json.loads(line))
            except json.JSONDecodeError:
                self.lines.append(line.rstrip())
