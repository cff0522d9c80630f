"""What keeps one kind of a lake's tables: a sink, with a runner and a consumer group of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Protocol

from tailrace.config.lake import TableKind
from tailrace.kafka.watched_consumer import Place
from tailrace.lake.dead_letters import LakeDeadLetters
from tailrace.lake.ledger import Sums
from tailrace.sinks.contract import Sink
from tailrace.sinks.lag import Lag
from tailrace.sinks.runner import Runner
from tailrace.sinks.topics import Topics


class LakeSink(Sink, Protocol):
    """A sink of a lake."""

    written: Sums
    """By this process."""

    def skip(self, place: Place, next_offset: int) -> None:
        """Move the position of a claimed partition over lost offsets, and note how many. Raises FencedError."""
        ...

    def close(self) -> None:
        """Remove what it has on this machine."""
        ...


class LakePart:
    """One of what a process keeps of tables; `run` is for a thread of its own."""

    def __init__(
        self,
        kind: TableKind,
        sink: LakeSink,
        runner: Runner,
        dead_letters: LakeDeadLetters,
        topics: Topics,
        *,
        lake: str,
    ) -> None:
        """`runner` drives `sink`, which has `dead_letters`; `lake` is the lake's name."""
        self.lake = lake
        self.kind = kind
        self.sink = sink
        self.runner = runner
        self.dead_letters = dead_letters
        self.lag = Lag(runner, topics)

    @property
    def records(self) -> int:
        """How many were committed."""
        return sum(each.records for each in self.runner.totals.copy().values())

    def run(self, stopped: Callable[[], bool]) -> None:
        """Write until `stopped`, or to the end. Raises WorldError."""
        with closing(self.sink):
            self.runner.run(stopped, self.lag.measure)
