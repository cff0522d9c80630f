"""The worker: the threads around the engine, which is driven here."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar

from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.lane import LaneState
from tailrace.core.lane_report import LaneReport
from tailrace.kafka.owner import new_owner
from tailrace.process.host import Host, Job, ThreadedHost
from tailrace.process.threads import start_thread
from tailrace.snapshot.beside import SnapshotsBeside
from tailrace.snapshot.observer import SnapshotObserver, SnapshotReport, reports_of
from tailrace.snapshot.parts import SnapshotParts
from tailrace.worker.engine import RELEASE_TIMEOUT_S, Engine, Parts
from tailrace.worker.observer import Observer
from tailrace.worker.vitals import Vitals

_T = TypeVar("_T")

LEAVE_TIMEOUT_S = 2.0
IDLE_WAKE_S = 1.0
REPORT_TIMEOUT_S = 5.0
_READY_STATES = {LaneState.IDLE, LaneState.ACTIVE}


class WorkerParts(Parts, Protocol):
    """Makes what a worker is built of."""

    def snapshots(self) -> SnapshotParts:
        """Make what the worker's snapshots are built of."""
        ...


class Worker:
    """One worker of a pipeline. `run` blocks until `stop`, or until something fatal to the pipeline happens."""

    def __init__(self, parts: WorkerParts, observer: Observer, snapshots: SnapshotObserver | None = None) -> None:
        """`snapshots` hears of the snapshots, which run beside the lanes; None: there are none."""
        host = ThreadedHost()
        self.owner = new_owner()
        self.vitals = Vitals()
        self.now_ms = host.now_ms
        """Milliseconds since the epoch."""
        self._parts = parts
        self._observer = observer
        self._inbox: SimpleQueue[Job] = SimpleQueue()
        self._engine = Engine(parts, observer, owner=self.owner, host=host, vitals=self.vitals, inbox=self._inbox)
        self._running = threading.Event()
        self._joined = threading.Event()
        self._stopped = threading.Event()
        self._beside = None if snapshots is None else self._make_beside(snapshots, host)

    # From any thread

    def run(self) -> None:
        """Work until stopped. Raises what was fatal to the pipeline."""
        member = start_thread("member", self._keep_membership)
        follower = start_thread("follower", self._follow)
        beside = start_thread("snapshots", self._beside.run) if self._beside is not None else None
        self._running.set()
        try:
            while not self._engine.has_ended:
                self._engine.step(self._next_job())
        finally:
            self._stopped.set()
            if self._beside is not None:
                self._beside.stop()
            self._engine.close()
            deadline_s = time.monotonic() + LEAVE_TIMEOUT_S
            for thread in filter(None, (member, follower, beside)):
                thread.join(max(0.0, deadline_s - time.monotonic()))
        if self._engine.fatal is not None:
            raise self._engine.fatal

    def stop(self) -> None:
        """Release the lanes and end `run`; does not wait. Safe in a signal handler."""
        if self._beside is not None:
            self._beside.stop()
        self._engine.stop()

    def ask(self, question: Callable[[CheckpointState], _T]) -> Future[_T]:
        """Ask `question` in the engine's thread."""
        return self._engine.ask(question)

    def report(self) -> list[LaneReport]:
        """Describe this worker's lanes. Raises TimeoutError when the engine does not answer: it is not healthy.

        Before `run` there are none: its topics are being prepared, which may take longer than an answer.
        """
        if not self._running.is_set():
            return []
        return self.ask(lambda _: self._engine.reports()).result(timeout=REPORT_TIMEOUT_S)

    def snapshot_reports(self) -> list[SnapshotReport]:
        """Describe the last snapshot of each table. Raises as `report` does."""
        if not self._running.is_set():
            return []
        return self.ask(lambda state: reports_of(state.snapshots)).result(timeout=REPORT_TIMEOUT_S)

    def unhealthy_why(self) -> str | None:
        """Return why this worker should be restarted, or None. Raises TimeoutError when the engine does not answer."""
        self.report()
        return "the worker has stopped" if self._stopped.is_set() else None

    def unready_why(self) -> str | None:
        """Return why this worker does no work yet, or None: it has joined the group and holds what it was given."""
        if not self._joined.is_set():
            return "it has not joined the group yet"
        opening = sorted(
            (lane for lane in self.report() if lane.state not in _READY_STATES), key=lambda each: each.lane
        )
        if not opening:
            return None
        why = next((f": {lane.lost_why}" for lane in opening if lane.lost_why), "")
        return f"lanes {[lane.lane for lane in opening]} are not taken yet{why}"

    def _make_beside(self, observer: SnapshotObserver, host: Host) -> SnapshotsBeside:
        return SnapshotsBeside(
            self._parts.snapshots(),
            observer,
            owner=self.owner,
            host=host,
            ask=self.ask,
            on_replaced=self._observer.client_replaced,
        )

    def _next_job(self) -> Job | None:
        """Wait for the next job, or until a lane wants to be woken."""
        wake_ms = self._engine.wake_at_ms
        left_s = IDLE_WAKE_S if wake_ms is None else max(0.0, (wake_ms - self.now_ms()) / 1000)
        with contextlib.suppress(Empty):
            return self._inbox.get(timeout=min(IDLE_WAKE_S, left_s))
        return None

    # Other threads

    def _follow(self) -> None:
        """Follow the checkpoint topic (the follower's thread)."""
        follower = self._parts.follower(partial(self._observer.client_replaced, "follower"))
        try:
            while not self._stopped.is_set():
                batch = follower.poll(0.1)
                if batch:
                    self._inbox.put(partial(self._engine.followed, batch))
        except Exception as error:
            self._inbox.put(partial(self._engine.fail, error))
        finally:
            follower.close()

    def _keep_membership(self) -> None:
        """Be a member of the group (the member's thread)."""
        membership = self._parts.membership(
            self.owner,
            self._on_assigned,
            self._on_revoked,
            self._on_lost,
            partial(self._observer.client_replaced, "member"),
        )
        try:
            membership.join()
            while not self._stopped.is_set():
                membership.poll(0.2)
        except Exception as error:
            self._inbox.put(partial(self._engine.fail, error))
        finally:
            membership.leave()

    def _on_assigned(self, lanes: list[int]) -> None:
        self._joined.set()
        self._inbox.put(partial(self._engine.assigned, lanes))

    def _on_revoked(self, lanes: list[int]) -> None:
        if self._stopped.is_set() or not lanes:
            return
        done = threading.Event()
        self._inbox.put(partial(self._engine.release, set(lanes), done.set))
        done.wait(RELEASE_TIMEOUT_S)

    def _on_lost(self, lanes: list[int]) -> None:
        self._inbox.put(partial(self._engine.lose, lanes))
