"""A job in a cluster of Flink: how it is, its checkpoints, and its end.

Source: https://nightlies.apache.org/flink/flink-docs-release-2.0/docs/ops/rest_api/
"""

from __future__ import annotations

import time
from typing import Any, Final

from tailrace.errors import WorldError
from tailrace.flink.rest import call, cause

_PAUSE_S: Final = 0.1
_ENDED: Final = frozenset(["CANCELED", "FAILED", "FINISHED"])


class Job:
    """One job. Every method raises UnreachableError when its cluster does not answer, also once it is no more."""

    def __init__(self, url: str, job_id: str) -> None:
        """`url` is that of the cluster's REST API."""
        self._url = f"{url}/jobs/{job_id}"

    def state(self) -> str:
        """Return the state: RUNNING, RESTARTING, FAILED …"""
        return str(call("GET", self._url)["state"])

    def failure(self) -> str | None:
        """Return the cause of its last failure; None when there was none."""
        entries = call("GET", f"{self._url}/exceptions")["exceptionHistory"]["entries"]
        return cause(entries[0]["stacktrace"]) if entries else None

    def checkpoint(self) -> None:
        """Take a checkpoint, and wait for it. Raises WorldError when it fails."""
        self._await(f"{self._url}/checkpoints", {"checkpointType": "FULL"}, f"{self._url}/checkpoints")

    def stop(self, savepoint: str) -> str:
        """End it with a savepoint in a folder, all that it wrote committed; return where the savepoint is.

        Raises WorldError when it fails.
        """
        body = {"targetDirectory": savepoint, "drain": False}
        return str(self._await(f"{self._url}/stop", body, f"{self._url}/savepoints")["location"])

    def await_running(self, timeout_s: float) -> None:
        """Return when it runs. Raises WorldError when it has ended, or takes longer."""
        deadline = time.monotonic() + timeout_s
        while (state := self.state()) != "RUNNING":
            if state in _ENDED or time.monotonic() > deadline:
                raise WorldError(f"the job of Flink is {state}: {self.failure() or 'it says no reason'}")
            time.sleep(_PAUSE_S)

    def _await(self, url: str, body: object, status: str) -> dict[str, Any]:
        request = call("POST", url, body)["request-id"]
        while (answer := call("GET", f"{status}/{request}"))["status"]["id"] != "COMPLETED":
            time.sleep(_PAUSE_S)
        done: dict[str, Any] = answer["operation"]
        if failed := done.get("failure-cause"):
            raise WorldError(f"Flink cannot save its state: {cause(str(failed.get('stack-trace', failed)))}")
        return done
