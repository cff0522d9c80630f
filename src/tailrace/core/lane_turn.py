"""One turn of a lane: the commands that its parts issue while it handles one event."""

from __future__ import annotations

from tailrace.core.lane_messages import Command, Notice, NoticeKind
from tailrace.core.shard_state import ShardState


class Turn:
    """The moment of the event, and the commands so far."""

    def __init__(self, now_ms: int) -> None:
        """`now_ms` is the time in milliseconds since the epoch."""
        self.now_ms = now_ms
        self.commands: list[Command] = []

    def ask(self, *commands: Command) -> None:
        """Add commands."""
        self.commands.extend(commands)

    def report(self, kind: NoticeKind, shard_state: ShardState, detail: str) -> None:
        """Report what happened to a shard."""
        self.ask(Notice(kind, detail, shard_state.shard, shard_state.record.table))
