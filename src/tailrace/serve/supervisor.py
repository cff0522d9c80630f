"""Keeps the connectors of the group running in this process's children, and tells the group how they get on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from tailrace.errors import EXIT_FILE, UnreachableError
from tailrace.process.threads import start_thread
from tailrace.serve.child import Child
from tailrace.serve.state import Connector, ProcessRecord, Target, TaskReport, TaskState
from tailrace.serve.store import Store

logger = logging.getLogger("tailrace.serve")

_LOOK_S: Final = 0.5
_HEARTBEAT_S: Final = 3.0
_RETRY_S: Final = 5.0
_RETRY_MAX_S: Final = 300.0


class Condition(NamedTuple):
    """How a connector gets on in this process."""

    state: Target | TaskState
    restarts: int = 0
    """How often its worker was started again after a failure, with this configuration."""
    metrics_port: int | None = None
    """Where its worker serves its metrics on this host, once it does."""


class _Running:
    """A connector in this process."""

    def __init__(self, connector: Connector, clients: Mapping[str, str]) -> None:
        self.connector = connector
        self._clients = clients
        self._child: Child | None = None
        self._failure: str | None = None
        self._retry_s = _RETRY_S
        self._retry_at_s: float | None = None
        self._restarts = 0
        self._start()

    def is_outdated(self, wanted: Connector) -> bool:
        """Return whether another configuration, or a restart, is wanted."""
        if wanted.version != self.connector.version:
            return True
        return wanted.restart > self.connector.restart and (not wanted.only_failed or self._failure is not None)

    def look(self) -> None:
        """Notice that the child has ended, and start it again in time."""
        if self._child is not None and (code := self._child.exit_code) is not None:
            self._failure = self._child.trace or f"it ended with exit code {code}"
            logger.error("connector failed", extra={"connector": self.connector.name, "detail": self._failure})
            self._child.close()
            self._child = None
            if code != EXIT_FILE:  # a wrong configuration does not get better by itself
                self._retry_at_s = time.monotonic() + self._retry_s
                self._retry_s = min(2 * self._retry_s, _RETRY_MAX_S)
        if self._child is None and self._retry_at_s is not None and time.monotonic() >= self._retry_at_s:
            self._restarts += 1
            self._start()

    def report(self) -> TaskReport:
        """Return how it gets on."""
        if self._child is None:
            return TaskReport("FAILED", self._failure, self.connector.version)
        return TaskReport("RUNNING", None, self.connector.version)

    def condition(self) -> Condition:
        """Return what its metrics tell."""
        if self._child is None:
            return Condition("FAILED", self._restarts)
        return Condition("RUNNING", self._restarts, self._child.metrics_port)

    def stop(self) -> None:
        """Ask the child to end; does not wait."""
        if self._child is not None:
            self._child.stop()

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.close()

    def _start(self) -> None:
        self._retry_at_s = None
        self._child = Child(self.connector.name, self.connector.config, self._clients)
        logger.info("connector started", extra={"connector": self.connector.name})


class Supervisor:
    """Runs what the group's topic says. One thread does all of it."""

    def __init__(self, store: Store, clients: Mapping[str, str], *, identity: str, address: str) -> None:
        self._store = store
        self._clients = clients
        self._identity = identity
        self._address = address
        self._running: dict[str, _Running] = {}
        self._reported: dict[str, TaskReport] = {}
        self.conditions: Mapping[str, Condition] = {}
        """How each connector gets on, as of the last look; replaced as a whole, so any thread may read it."""
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Run connectors from now on."""
        self._thread = start_thread("connectors", self._run)

    def close(self) -> None:
        """End all connectors of this process, and leave the group."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        beaten_s = -_HEARTBEAT_S
        while not self._stopped.is_set():
            try:
                reports = self._step()
                if reports != self._reported or time.monotonic() - beaten_s >= _HEARTBEAT_S:
                    beaten_s = time.monotonic()
                    record = ProcessRecord(self._address, int(time.time() * 1000), reports)
                    self._store.write("process", self._identity, record)
                    self._reported = reports
            except UnreachableError as error:
                logger.warning("group's topic cannot be written", extra={"detail": str(error)})
            except Exception:
                logger.exception("looking after the connectors failed; this is a defect of Tailrace")
            self._store.wait_for_change(_LOOK_S)
        self._leave()

    def _step(self) -> dict[str, TaskReport]:
        wanted = {each.name: each for each in self._store.read(lambda state: state.connectors())}
        for name in list(self._running):
            connector = wanted.get(name)
            if connector is None or connector.target != "RUNNING" or self._running[name].is_outdated(connector):
                self._running.pop(name).close()
                logger.info("connector stopped", extra={"connector": name})
        reports: dict[str, TaskReport] = {}
        conditions = {name: Condition(connector.target) for name, connector in wanted.items()}
        for name, connector in wanted.items():
            if connector.target == "RUNNING":
                if name not in self._running:
                    self._running[name] = _Running(connector, self._clients)
                self._running[name].look()
                reports[name] = self._running[name].report()
                conditions[name] = self._running[name].condition()
            elif connector.target == "PAUSED":
                reports[name] = TaskReport("PAUSED", None, connector.version)
        self.conditions = conditions
        return reports

    def _leave(self) -> None:
        for each in self._running.values():
            each.stop()
        for each in self._running.values():
            each.close()
        try:
            self._store.write("process", self._identity, None)
        except UnreachableError as error:
            logger.warning("group's topic cannot be written", extra={"detail": str(error)})
