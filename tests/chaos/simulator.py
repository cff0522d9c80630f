"""The simulator of AWS that a run's workers read, in a process of its own."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import urllib3

from tailrace.local.service import free_ports, start_watched

_READY_S = 30.0


class Simulator:
    """A context manager: it runs with a seed and a script of faults, and ends."""

    def __init__(self, folder: Path, *, seed: int, script: dict[str, Any]) -> None:
        (port,) = free_ports(1)
        faults = folder / "faults.json"
        faults.write_text(json.dumps(script))
        self.endpoint_url = f"http://127.0.0.1:{port}"
        self._options = ["--port", str(port), "--seed", str(seed), "--faults", str(faults)]
        self._folder = folder
        self._http = urllib3.PoolManager(timeout=10, retries=False)
        self._owned = ExitStack()

    def __enter__(self) -> Self:
        process = start_watched(
            [sys.executable, "-m", "tailrace", "simulate", *self._options],
            cwd=self._folder,
            log_path=self._folder / "simulator.log",
        )
        self._owned.callback(process.wait)
        self._owned.callback(process.kill)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owned.close()

    def wait_until_ready(self) -> None:
        """Return when it answers."""
        deadline_s = time.monotonic() + _READY_S
        while True:
            try:
                self.state()
                break
            except urllib3.exceptions.HTTPError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.1)

    def act(self, action: str, **fields: Any) -> Any:
        """Do something to it."""
        return self._ask("POST", f"/_tailrace/{action}", json.dumps(fields).encode())

    def state(self) -> Any:
        """Return its state."""
        return self._ask("GET", "/_tailrace/state")

    def call(self, target: str, **fields: Any) -> Any:
        """Call an operation of AWS, by its X-Amz-Target."""
        return self._ask("POST", "/", json.dumps(fields).encode(), {"X-Amz-Target": target, "Authorization": "any"})

    def _ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
        answer = self._http.request(method, self.endpoint_url + path, body=body, headers=headers)
        if answer.status != 200:
            raise RuntimeError(f"the simulator refused {path} {headers}: {answer.data.decode(errors='replace')}")
        return json.loads(answer.data) if answer.data else None
