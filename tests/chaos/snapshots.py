"""Snapshots of a run: what is ordered of them, and whether each that ended has read the whole table."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import tailrace
from tailrace.errors import TailraceError
from tailrace.local.checker import FoundChange
from tailrace.local.dynamodb import CREDENTIALS

_RESUME_S = 60.0
_RETRY_S = 1.0


@dataclass
class _Snapshot:
    table: str
    reason: str
    outcome: str | None = None
    order: str = "run"
    """What the operator ordered last."""


@dataclass
class SnapshotChecker:
    """Told of each committed record. `quiet` are the items, by table and key, that nobody changes.

    Changes hide a row that is missing: only an item that does not change shows that a snapshot has read it.
    """

    quiet: frozenset[tuple[str, str]] = frozenset()
    _last: dict[str, _Snapshot] = field(default_factory=dict)
    """The last snapshot of each table."""
    _all: dict[str, _Snapshot] = field(default_factory=dict)
    """By id."""
    _seen: Counter[str] = field(default_factory=Counter)
    """How many quiet items each snapshot has published."""

    def saw(self, key: bytes, value: bytes | None) -> None:
        """Note a record of the checkpoint topic."""
        match json.loads(key):
            case ["?snapshot", table] if value is not None:
                record = json.loads(value)
                self._last[table] = self._all.setdefault(record["id"], _Snapshot(table, record["reason"]))
            case ["?snapshot-control", _] if value is not None:
                record = json.loads(value)
                self._all[record["id"]].order = record["order"]
            case ["?snapshot-result", _] if value is not None:
                record = json.loads(value)
                self._all[record["id"]].outcome = record["outcome"]

    def saw_row(self, row: FoundChange) -> None:
        """Note a record of a table's topic."""
        if row.snapshot is None:
            return
        self._seen[row.snapshot] += (row.table, row.key) in self.quiet

    def not_done(self) -> dict[str, str | None]:
        """Return how the last snapshots ended that did not read their whole tables; None: not yet."""
        return {table: each.outcome for table, each in list(self._last.items()) if each.outcome != "done"}

    def unfinished(self) -> list[str]:
        """Return the tables whose last snapshot has not ended."""
        return [table for table, outcome in self.not_done().items() if outcome is None]

    def paused(self) -> list[str]:
        """Return the tables whose snapshot is paused: perhaps by an order that came after the one to resume."""
        return [table for table in self.unfinished() if self._last[table].order == "pause"]

    def counts(self) -> Mapping[str, int]:
        """Return how many snapshots were started, by reason, and how many ended, by outcome."""
        every = list(self._all.values())
        return Counter([each.reason for each in every] + [each.outcome for each in every if each.outcome is not None])

    def finish(self) -> list[str]:
        """Return which promises were broken, now that everything was seen."""
        held = Counter(table for table, _ in self.quiet)
        return [
            f"snapshot {name} of table {each.table} has ended, and published {self._seen[name]} of {held[each.table]} "
            "items that do not change"
            for name, each in self._all.items()
            if each.outcome == "done" and self._seen[name] != held[each.table]
        ] + [f"the snapshot of table {table} has not ended" for table in self.unfinished()]


class SnapshotOrders:
    """Starts snapshots, pauses, resumes and cancels them, as an operator does, while Kafka may fail. For one thread."""

    def __init__(self, pipeline_file: Path, unfinished: Callable[[], list[str]]) -> None:
        """`unfinished` returns the tables that have a snapshot that has not ended."""
        self._file = pipeline_file
        self._unfinished = unfinished
        os.environ.update(CREDENTIALS)

    def start(self, tables: list[str]) -> bool:
        """Start a snapshot of the first of `tables` that has none; return whether that was confirmed."""
        free = [table for table in tables if table not in self._unfinished()]
        return bool(free) and _tried(self._pipeline.start_snapshot, free[0])

    def cancel(self, tables: list[str]) -> bool:
        """Cancel the snapshot of the first of `tables` that has one; return whether that was confirmed."""
        table = self._first(tables)
        return table is not None and _tried(self._pipeline.cancel_snapshot, table)

    def pause(self, tables: list[str]) -> str | None:
        """Pause the snapshot of the first of `tables` that has one; return the table, to be resumed in any case."""
        table = self._first(tables)
        if table is not None:
            _tried(self._pipeline.pause_snapshot, table)
        return table

    def resume(self, table: str) -> None:
        """Resume a table's snapshot, trying again while Kafka does not take the order."""
        deadline_s = time.monotonic() + _RESUME_S
        while table in self._unfinished() and not _tried(self._resume, table):
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"the snapshot of table {table} could not be resumed within {_RESUME_S:.0f} s")
            time.sleep(_RETRY_S)

    def _resume(self, table: str) -> None:
        (status,) = self._pipeline.snapshots([table]).snapshots
        if status.phase == "paused":
            self._pipeline.resume_snapshot(table)

    def _first(self, tables: list[str]) -> str | None:
        unfinished = self._unfinished()
        return next((table for table in tables if table in unfinished), None)

    @cached_property
    def _pipeline(self) -> tailrace.Pipeline:
        return tailrace.open(self._file)


def _tried(order: Callable[[str], object], table: str) -> bool:
    """Return whether an order was confirmed; Kafka may not answer, or the snapshot have ended meanwhile."""
    try:
        order(table)
    except TailraceError:
        return False
    return True
