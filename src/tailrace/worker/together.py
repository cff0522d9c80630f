"""Runs the workers of several pipelines in one process: they end together, and the error says which one ended them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import Context
from functools import partial
from threading import Lock
from typing import NamedTuple, Protocol

from tailrace.errors import TailraceError, WorldError
from tailrace.process.threads import start_thread

logger = logging.getLogger("tailrace")

_LOOK_S = 0.5
"""The main thread looks up so often: a signal that another thread receives does not wake it."""


class Runs(Protocol):
    """A worker, as far as it is run here."""

    def run(self) -> None:
        """Work until stopped. Raises what was fatal to its pipeline."""
        ...

    def stop(self) -> None:
        """End `run` soon; does not wait."""
        ...


class Member(NamedTuple):
    """A worker, and the context of its threads: its log lines name its pipeline."""

    worker: Runs
    context: Context


class Together:
    """Runs one worker for each pipeline, by its name, each in a thread."""

    def __init__(self, members: Mapping[str, Member]) -> None:
        self._members = members
        self._lock = Lock()
        self._fatal: tuple[str, Exception] | None = None

    def run(self) -> None:
        """Work until all have ended. Raises what was fatal to the first pipeline that ended by itself."""
        threads = [
            member.context.run(start_thread, "worker", partial(self._run, pipeline, member.worker))
            for pipeline, member in self._members.items()
        ]
        for thread in threads:
            while thread.is_alive():
                thread.join(_LOOK_S)
        if self._fatal is None:
            return
        pipeline, error = self._fatal
        if len(self._members) > 1 and isinstance(error, TailraceError):
            message = f"pipeline {pipeline}: {error.message}"
            raise WorldError(message, hint=error.hint, remedy=error.remedy) from error
        raise error

    def stop(self) -> None:
        """Stop all; does not wait. Safe in a signal handler."""
        for member in self._members.values():
            member.worker.stop()

    def _run(self, pipeline: str, worker: Runs) -> None:
        try:
            worker.run()
        except Exception as error:
            self._ended(pipeline, error)

    def _ended(self, pipeline: str, error: Exception) -> None:
        with self._lock:
            is_first = self._fatal is None
            if is_first:
                self._fatal = pipeline, error
        if len(self._members) > 1:
            what = "this pipeline has ended; the others are stopped" if is_first else "this pipeline has ended, too"
            logger.error(what, extra={"detail": str(error)})
        self.stop()
