"""Runs a snapshot worker in a process of its own, beside workers or the Lambda function."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from tailrace.kafka.owner import new_owner
from tailrace.process.host import ThreadedHost
from tailrace.snapshot.observer import SnapshotObserver
from tailrace.snapshot.parts import SnapshotParts
from tailrace.snapshot.worker import SnapshotWorker

_STUCK_S: Final = 120.0
"""A worker that makes no step for so long is not healthy: calls to Kafka and AWS take no longer."""


class SnapshotsAlone:
    """`run` blocks until `stop`, or until something fatal to the pipeline happens."""

    def __init__(
        self, parts: SnapshotParts, observer: SnapshotObserver, on_replaced: Callable[[str], None] = lambda _: None
    ) -> None:
        self._worker = SnapshotWorker(parts, observer, owner=new_owner(), host=ThreadedHost(), on_replaced=on_replaced)

    def run(self) -> None:
        """Work until stopped. Raises what was fatal to the pipeline."""
        self._worker.run()

    def stop(self) -> None:
        """End `run` soon; does not wait."""
        self._worker.stop()

    def unhealthy_why(self) -> str | None:
        """Return why this process should be restarted, or None."""
        stepped_s = self._worker.stepped_s
        if stepped_s is not None and time.monotonic() - stepped_s > _STUCK_S:
            return f"the snapshot worker made no step for {_STUCK_S:.0f} s"
        return None

    def unready_why(self) -> str | None:
        """Return why it does no work yet, or None."""
        return None if self._worker.has_joined else "it has not joined the group of snapshot workers yet"
