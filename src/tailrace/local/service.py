"""A server run as a child: started, waited for, frozen, killed, stopped, never outliving its parent."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from tailrace.errors import WorldError
from tailrace.local.artifacts import java
from tailrace.process.children import Watchdog

READY_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_LOG_LINES = 5

# Quick to start and small: these servers live for minutes, and share the machine with what is being tried.
QUICK_START = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Xshare:auto",
    "--enable-native-access=ALL-UNNAMED",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
)

# Below the range that systems take the ports of outgoing connections from (32768 on Linux, 49152 on macOS): there a
# client that keeps trying a stopped server could be given the server's own port.
_PORTS = range(20_000, 32_000)
# One after the other: what a client still tries to reach does not soon belong to another server. From a port of its own
# on: two processes that look for one at once rarely find the same.
_candidates = itertools.islice(itertools.cycle(_PORTS), random.randrange(len(_PORTS)), None)


def free_ports(count: int) -> list[int]:
    """Different ports of the loopback address that nobody listens on now."""
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", next(_candidates)))
                ports.append(probe.getsockname()[1])
        return ports


def hold(pid: int) -> None:
    """Stop a child of this process with SIGSTOP, and return once it is stopped: a busy one runs on after the signal."""
    os.kill(pid, signal.SIGSTOP)
    if hasattr(os, "waitid"):  # macOS has it from Python 3.13 on
        with contextlib.suppress(ChildProcessError):  # it has ended meanwhile
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


class LocalService(ABC):
    """One server process with its folder and log; a context manager that starts and closes it.

    `folder` holds the data and the log; without one a temporary folder is made, and removed by `close`.
    """

    name: str

    def __init__(self, folder: Path | None) -> None:
        self._temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix=f"tailrace-{self.name}-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log_path = self.folder / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that runs now."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process.pid

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the program and its arguments."""

    def _environment_variables(self) -> Mapping[str, str] | None:
        """Return all of its environment variables; None: those of this process."""
        return None

    @abstractmethod
    def _is_ready(self, timeout_s: float) -> bool:
        """Whether it serves requests now; asks for at most about `timeout_s`."""

    def start(self) -> Self:
        """Start, and return when it serves requests."""
        self.spawn()
        self.wait_until_ready()
        return self

    def spawn(self) -> None:
        """Start without waiting; `wait_until_ready` must follow."""
        temporary = self.folder if self._temporary else None
        self._process = start_watched(
            self._command(),
            cwd=self.folder,
            log_path=self.log_path,
            temporary=temporary,
            environment=self._environment_variables(),
        )

    def wait_until_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return when it serves requests.

        Raises:
            WorldError: it ended, or is not ready after `timeout_s`; the end of its log is in the sentence.
        """
        deadline = time.monotonic() + timeout_s
        while not self._is_ready(timeout_s=1.0):
            if self._process is None or self._process.poll() is not None:
                self.kill()
                raise WorldError(f"{self.name} ended while starting: {self._log_end()}", hint=f"see {self.log_path}")
            if time.monotonic() > deadline:
                self.kill()
                raise WorldError(
                    f"{self.name} was not ready after {timeout_s:.0f} s: {self._log_end()}", hint=f"see {self.log_path}"
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """End it cleanly, its data kept; killed if it does not end."""
        if self._process is None:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would, its data kept."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        Watchdog.forget(self.pid)
        self._process = None

    def restart(self) -> None:
        """Stop cleanly and start again on the same ports and data."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Hold it with SIGSTOP: connections stay open, nothing answers."""
        hold(self.pid)

    def resume(self) -> None:
        """Resume a frozen service."""
        os.killpg(self.pid, signal.SIGCONT)

    def detach(self) -> None:
        """Keep it running when this process ends."""
        Watchdog.forget(self.pid)

    def close(self) -> None:
        """End it for good; a temporary folder is removed, so it need not be left in order."""
        if self._temporary:
            self.kill()
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            self.stop()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _log_end(self) -> str:
        lines = self.log_path.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-_LOG_LINES:]) or "nothing logged"


class JavaService(LocalService):
    """A server that Java runs."""

    @abstractmethod
    def _arguments(self) -> list[str]:
        """Return Java's arguments."""

    def _command(self) -> list[str]:
        return [str(java()), *QUICK_START, *self._arguments()]


def start_watched(
    command: Sequence[str],
    *,
    cwd: Path,
    log_path: Path,
    temporary: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program that the watchdog kills if this process dies, with the folder `temporary` removed.

    It has a session of its own, out of reach of Ctrl-C in the terminal, and its output goes to the end of `log_path`.
    """

    def start() -> subprocess.Popen[bytes]:
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        Watchdog.watch(process.pid, temporary)
        return process

    # In a thread, since Ctrl-C interrupts only the main one: between start and watch it would leave an orphan.
    with ThreadPoolExecutor(1) as uninterrupted:
        return uninterrupted.submit(start).result()
