"""A connector's worker: a process of its own, so that one that fails or grows harms no other."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

from tailrace.process.children import Watchdog
from tailrace.process.threads import start_thread

STOP_TIMEOUT_S: Final = 12.0
"""`tailrace run` ends within 10 s of a SIGTERM."""
_LINES_MAX: Final = 20
_METRICS_PORT: Final = re.compile('"event": "serving metrics".*"port": ([0-9]+)')


class Child:
    """`tailrace run` of one connector. The configuration is in a folder that only this user can read."""

    def __init__(self, name: str, config: Mapping[str, str], clients: Mapping[str, str]) -> None:
        """Start it."""
        self._folder = tempfile.TemporaryDirectory(prefix="tailrace-serve-")
        folder = Path(self._folder.name)
        (folder / "connector.json").write_text(json.dumps({"name": name, "config": dict(config)}))
        (folder / "client.properties").write_text("".join(f"{_escaped(k)}={_escaped(v)}\n" for k, v in clients.items()))
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tailrace", "run", str(folder / "connector.json")),
                *("--kafka", str(folder / "client.properties"), "--accept-changes"),
                *("--metrics-port", "0", "--metrics-host", "127.0.0.1"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # Ctrl-C is for the server, which then stops it
        )
        self.metrics_port: int | None = None
        """Where it serves its metrics on this host, once it does."""
        self._lines: deque[str] = deque(maxlen=_LINES_MAX)
        Watchdog.watch(self._process.pid, folder)  # it must not publish for a server that was killed
        errors = self._process.stderr
        assert errors is not None
        self._reader = start_thread(f"log of {name}", lambda: self._pass_on(errors))

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    @property
    def trace(self) -> str:
        """The last sentences that it wrote about errors, or what it wrote last."""
        self._reader.join(2.0)
        errors = [line for line in self._lines if line.startswith("error:")]
        return "\n".join(errors or self._lines)

    def stop(self) -> None:
        """Ask it to end; does not wait."""
        if self._process.poll() is None:
            self._process.terminate()

    def close(self) -> None:
        """End it, and remove its folder."""
        self.stop()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        Watchdog.forget(self._process.pid)
        self._reader.join(2.0)
        self._folder.cleanup()

    def _pass_on(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                self._lines.append(line.rstrip("\n"))
                sys.stderr.write(line)
                if self.metrics_port is None and (found := _METRICS_PORT.search(line)):
                    self.metrics_port = int(found[1])


def _escaped(text: str) -> str:
    """Return a name or a value as Java's properties have it."""
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    for special in "=:#! ":
        escaped = escaped.replace(special, f"\\{special}")
    return escaped
