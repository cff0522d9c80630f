"""Checks the checkpoint topic as it is committed: no step back, nothing after an end, no child before its parents."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from support.checkpoint_rules import broken_step
from tailrace.core.shard import ShardRef

BROKEN_MAX = 20
"""Broken promises that are named."""


@dataclass
class _Shard:
    parents: tuple[ShardRef, ...] = ()
    checkpoint: dict[str, Any] | None = None
    begun_ms: int | None = None
    """When its first checkpoint was appended, by the broker's clock."""
    ended_ms: int | None = None


@dataclass
class LineageChecker:
    """Told of each committed record of the topic, in the order of its partition.

    Parents lie in other lanes, so that the order of begin and end is told by the time at which the broker appended the
    record: a child is read only after its parent's end is committed, and all brokers have one clock.
    """

    broken: list[str] = field(default_factory=list)
    takings: int = 0
    _shards: defaultdict[ShardRef, _Shard] = field(default_factory=lambda: defaultdict(_Shard))
    _stopped: dict[str, str] = field(default_factory=dict)
    """Tables that stopped, and why."""

    def saw(self, key: bytes, value: bytes | None, appended_ms: int) -> None:
        """Note a record; one of a kind that readers may do without says nothing of what is checked here."""
        name = json.loads(key)
        if name[0].startswith("?"):
            return
        record = None if value is None else json.loads(value)
        match name:
            case ["shard", stream, shard_id] if record is not None:
                parents = tuple(ShardRef(*parent) for parent in record["parents"])
                self._shards[ShardRef(stream, shard_id)].parents = parents
            case ["checkpoint", stream, shard_id]:
                self._saw_checkpoint(ShardRef(stream, shard_id), record, appended_ms)
            case ["table", table] if record is not None and record["state"] != "streaming":
                self._break(f"table {table} is {record['state']}: {record['detail']}")
            case ["taken"]:
                self.takings += 1

    def finish(self) -> list[str]:
        """Return which promises were broken, now that everything was seen."""
        late = [
            f"{shard.shard_id} began before its parent {parent.shard_id} ended"
            for shard, known in list(self._shards.items())
            if known.begun_ms is not None
            for parent in known.parents
            if (ended_ms := self._shards[parent].ended_ms) is None or ended_ms > known.begun_ms
        ]
        return self.broken + late[:BROKEN_MAX]

    @property
    def ended(self) -> int:
        """Shards that were read to their end."""
        return sum(known.ended_ms is not None for known in self._shards.values())

    def _saw_checkpoint(self, shard: ShardRef, record: dict[str, Any] | None, appended_ms: int) -> None:
        known = self._shards[shard]
        if record is None:
            if known.ended_ms is None:
                self._break(f"the checkpoint of {shard.shard_id} is taken back before its end")
            return
        if broken := broken_step(shard.shard_id, known.checkpoint, record, has_ended=known.ended_ms is not None):
            self._break(broken)
        if record["state"] in {"gap", "failed"}:
            self._break(f"{shard.shard_id} stands at {record['state']}: {record['detail']}")
        if known.begun_ms is None:
            known.begun_ms = appended_ms
        if record["state"] == "ended":
            known.ended_ms = appended_ms
        known.checkpoint = record

    def _break(self, what: str) -> None:
        if len(self.broken) < BROKEN_MAX:
            self.broken.append(what)
