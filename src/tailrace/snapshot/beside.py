"""Runs a snapshot worker beside the lanes of a worker, as long as there is anything for it to do."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import Future

from tailrace.core.checkpoint_state import CheckpointState
from tailrace.errors import TailraceError
from tailrace.process.host import Host
from tailrace.snapshot.coordinator import has_work
from tailrace.snapshot.observer import SnapshotObserver
from tailrace.snapshot.parts import SnapshotParts
from tailrace.snapshot.worker import SnapshotWorker

logger = logging.getLogger("tailrace.snapshot")

LOOK_S = 1.0
"""Time between two looks whether there is anything to do."""
IDLE_MS = 30_000
"""How long a snapshot worker stays when there is nothing to do any more."""
RETRY_S = 30.0
ASK_POLL_S = 0.5


class SnapshotsBeside:
    """A thread of a worker. A snapshot worker that fails is started again: the lanes go on meanwhile."""

    def __init__(
        self,
        parts: SnapshotParts,
        observer: SnapshotObserver,
        *,
        owner: str,
        host: Host,
        ask: Callable[[Callable[[CheckpointState], bool]], Future[bool]],
        on_replaced: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`ask` asks a question where the worker's checkpoint state lives."""
        self._parts = parts
        self._observer = observer
        self._owner = owner
        self._host = host
        self._ask = ask
        self._on_replaced = on_replaced
        self._stopped = host.event()
        self._worker: SnapshotWorker | None = None
        self._had_work_ms = 0

    def run(self) -> None:
        """Look now and then, until stopped."""
        while not self._stopped.wait(LOOK_S):
            try:
                if self._is_needed():
                    self._work()
            except TailraceError as error:
                logger.warning("the snapshot worker stopped, it starts again in %.0f s: %s", RETRY_S, error)
                self._stopped.wait(RETRY_S)
            except Exception:
                logger.exception("the snapshot worker stopped; this is a defect of Tailrace")
                self._stopped.wait(RETRY_S)

    def stop(self) -> None:
        """End soon; does not wait."""
        self._stopped.set()
        if worker := self._worker:
            worker.stop()

    def _is_needed(self) -> bool:
        """Ask whether there is anything to do; once stopped, nobody answers any more."""
        answer = self._ask(self._has_work)
        while not self._stopped.is_set():
            with contextlib.suppress(TimeoutError):
                return answer.result(ASK_POLL_S)
        return False

    def _work(self) -> None:
        worker = self._worker = SnapshotWorker(
            self._parts, self._observer, owner=self._owner, host=self._host, on_replaced=self._on_replaced
        )
        self._had_work_ms = self._host.now_ms()
        if not self._stopped.is_set():
            worker.run(self._is_idle)
        self._worker = None

    def _is_idle(self, checkpoint_state: CheckpointState) -> bool:
        """Return whether there has been nothing to do for some time."""
        now_ms = self._host.now_ms()
        if self._has_work(checkpoint_state):
            self._had_work_ms = now_ms
        return now_ms - self._had_work_ms > IDLE_MS

    def _has_work(self, checkpoint_state: CheckpointState) -> bool:
        return has_work(self._parts, checkpoint_state, self._host.now_ms())
