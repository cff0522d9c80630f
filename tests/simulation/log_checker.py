"""What must hold of a source that repeats changes: each is published once, and the late ones say so."""

from __future__ import annotations

from collections import defaultdict

from simulation.broker import Broker
from simulation.checkers import Checker, require
from simulation.repeating_source import RepeatingSource
from simulation.source import Written
from tailrace.core.shard import ShardRef


class LogChecker(Checker):
    """Looks at every committed transaction; the order of an item's changes is that of their marks."""

    def __init__(self, source: RepeatingSource, *, checkpoint_topic: str, dead_letters_topic: str) -> None:
        super().__init__(source, checkpoint_topic=checkpoint_topic, dead_letters_topic=dead_letters_topic)
        self._repeating = source
        self._published: set[tuple[str, int]] = set()
        self._newest_us: defaultdict[str, int] = defaultdict(int)
        """The creation time of each item's newest change."""
        self._newest_letter_us: defaultdict[str, int] = defaultdict(int)
        """As far as they may be dead letters: of another topic, so nobody knows which came first."""
        self._told_late: set[tuple[str, int]] = set()

    def _see_changes(self, changes: list[Written]) -> None:
        for change in changes:
            if change.kind:
                created_us = self._repeating.created_us[change.item, change.number]
                self._newest_letter_us[change.item] = max(self._newest_letter_us[change.item], created_us)
        for change in changes:
            self._see_mark(change)
        super()._see_changes(changes)

    def _see_message(self, change: Written, headers: dict[str, bytes]) -> None:
        name = (change.item, change.number)
        what = f"{change.item}: {change.number} of {change.shard.shard_id}"
        require(name not in self._published, f"{what} again")
        self._published.add(name)
        if "tailrace.late" in headers:
            self._told_late.add(name)

    def _see_mark(self, change: Written) -> None:
        """See whether a change is late, if it says so."""
        name = (change.item, change.number)
        what = f"{change.item}: {change.number} of {change.shard.shard_id}"
        created_us = self._repeating.created_us[name]
        if change.kind:
            return
        if name in self._told_late:
            newest_us = max(self._newest_us[change.item], self._newest_letter_us[change.item])
            require(created_us < newest_us, f"{what} is said to be late, and is not")
        else:
            require(created_us >= self._newest_us[change.item], f"{what} is late, and does not say so")
        self._newest_us[change.item] = max(self._newest_us[change.item], created_us)

    def _take_place(self, change: Written) -> None:
        """Have seen it already, in the order of its partition."""

    def _is_done(self, change: Written) -> bool:
        name = (change.item, change.number)
        return name in self._published or name in self._excused

    def _see_position(self, shard: ShardRef, sequence: int) -> None:
        last = self.shards[shard].last_published or 0
        require(last <= sequence, f"{shard.shard_id}: published up to {last}, the checkpoint says {sequence}")
        for change in self._source.shards[shard].changes:
            if last < change.sequence <= sequence:
                require(self._is_done(change), f"{shard.shard_id}: {sequence} is behind {change.sequence}: lost")


def check_each_once(broker: Broker, others: set[str]) -> None:
    """Read every topic but the others as a read_committed consumer does: nothing twice."""
    seen: set[tuple[bytes | None, bytes]] = set()
    for (topic, _), log in broker.logs.items():
        for entry in log.committed(0, log.next_offset)[0] if topic not in others else ():
            name = (entry.message.key, (entry.message.value or b"").split(b" ")[1])
            require(name not in seen, f"{name} in {topic} again")
            seen.add(name)
