"""What the group's topic says: connectors, what is wanted of them, and how each process gets on. Pure.

A key is a kind and a name (`connector/shop`); a null value deletes. The last record of a key counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

Target = Literal["RUNNING", "PAUSED", "STOPPED"]
"""What is wanted of a connector, in Kafka Connect's words (KIP-875 added STOPPED)."""
TaskState = Literal["RUNNING", "PAUSED", "FAILED", "UNASSIGNED", "RESTARTING"]

_HEARD_MS: Final = 15_000
"""A process that was not heard of for so long is gone."""


class ConnectorRecord(msgspec.Struct, frozen=True):
    """A connector's configuration."""

    config: dict[str, str]


class TargetRecord(msgspec.Struct, frozen=True):
    """What is wanted of a connector."""

    state: Target


class RestartRecord(msgspec.Struct, frozen=True):
    """A restart that was asked for."""

    only_failed: bool = False


class LoggerRecord(msgspec.Struct, frozen=True):
    """A logger's level in all processes."""

    level: str


class TaskReport(msgspec.Struct, frozen=True):
    """How a connector gets on in one process."""

    state: TaskState
    trace: str | None = None
    """Why it failed."""
    version: int = -1
    """The offset of the configuration that it runs."""


class ProcessRecord(msgspec.Struct, frozen=True):
    """A process of the group, written every few seconds."""

    address: str
    """Host and port of its API."""
    at_ms: int
    tasks: dict[str, TaskReport] = {}


class Connector(msgspec.Struct, frozen=True):
    """A connector as the topic has it."""

    name: str
    config: dict[str, str]
    version: int
    """Offset of the record with the configuration."""
    target: Target = "RUNNING"
    restart: int = -1
    """Offset of the last order to restart it."""
    only_failed: bool = False


class Task(msgspec.Struct, frozen=True):
    """A connector in one process: what Connect calls a task."""

    id: int
    address: str
    report: TaskReport


class GroupState:
    """The topic, folded. Not safe for several threads."""

    def __init__(self) -> None:
        self._configs: dict[str, tuple[ConnectorRecord, int]] = {}
        self._targets: dict[str, TargetRecord] = {}
        self._restarts: dict[str, tuple[RestartRecord, int]] = {}
        self._processes: dict[str, ProcessRecord] = {}
        self.loggers: dict[str, str] = {}

    def apply(self, key: bytes, value: bytes | None, offset: int) -> None:
        """Apply a record. Raises `ValueError` for one that this version cannot read."""
        kind, _, name = key.decode().partition("/")
        match kind:
            case "connector":
                _put(self._configs, name, value and (msgspec.json.decode(value, type=ConnectorRecord), offset))
            case "target":
                _put(self._targets, name, value and msgspec.json.decode(value, type=TargetRecord))
            case "restart":
                _put(self._restarts, name, value and (msgspec.json.decode(value, type=RestartRecord), offset))
            case "process":
                _put(self._processes, name, value and msgspec.json.decode(value, type=ProcessRecord))
            case "logger":
                _put(self.loggers, name, value and msgspec.json.decode(value, type=LoggerRecord).level)
            case _:
                raise ValueError(f"a record of the kind {kind}")

    def connector(self, name: str) -> Connector | None:
        """Return a connector; None when there is none of that name."""
        if name not in self._configs:
            return None
        record, version = self._configs[name]
        target = self._targets.get(name)
        restart, at = self._restarts.get(name, (RestartRecord(), -1))
        wanted: Target = "RUNNING" if target is None else target.state
        return Connector(name, record.config, version, wanted, at, restart.only_failed)

    def connectors(self) -> list[Connector]:
        """Return all connectors, by name."""
        return [found for name in sorted(self._configs) if (found := self.connector(name)) is not None]

    def tasks(self, name: str, now_ms: int) -> list[Task]:
        """Return the tasks of a connector: one for each process that is alive and has taken it up."""
        return [
            Task(index, process.address, process.tasks[name])
            for index, process in enumerate(each for _, each in self.processes(now_ms) if name in each.tasks)
        ]

    def processes(self, now_ms: int) -> Iterator[tuple[str, ProcessRecord]]:
        """Return the processes that are alive, by id."""
        for identity, process in sorted(self._processes.items()):
            if now_ms - process.at_ms <= _HEARD_MS:
                yield identity, process


def _put(records: dict, name: str, record: object) -> None:  # type: ignore[type-arg]  # of each kind
    if record is None or record == b"":
        records.pop(name, None)
    else:
        records[name] = record
