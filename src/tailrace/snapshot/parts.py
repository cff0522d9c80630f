"""What a snapshot worker is built of; `tailrace.wiring` joins it to the real things."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tailrace.core.checkpoint import SnapshotRecord
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.ports import TableFacts
from tailrace.core.source_policy import SourcePolicy
from tailrace.kafka.checkpoint_topic import Follower
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.kafka.membership import Membership
from tailrace.snapshot.export_window import ExportWindow
from tailrace.snapshot.rows import RowReader
from tailrace.snapshot.window import Window


class SnapshotParts(Protocol):
    """Makes the parts."""

    name: str
    lane_count: int
    named_tables: tuple[str, ...]
    """The tables that the file names, not by a pattern."""
    policy: SourcePolicy
    reader_count: int
    """Pages that are read at the same time."""
    filter: str | None
    """The file's expression: an initial snapshot publishes only rows for which it is true."""
    parallel_tables: int | None
    """Tables that all workers together read at the same time; None: all."""
    buffer_bytes: int
    """Bound of the rows that are read and not published yet."""

    def producer(self, lane: int, epoch: int) -> LaneProducer:
        """Make a snapshot lane's producer."""
        ...

    def follower(self, on_replaced: Callable[[], None]) -> Follower:
        """Make the follower of the checkpoint topic."""
        ...

    def membership(
        self,
        owner: str,
        on_assigned: Callable[[list[int]], None],
        on_revoked: Callable[[list[int]], None],
        on_lost: Callable[[list[int]], None],
        on_replaced: Callable[[], None],
    ) -> Membership:
        """Make the membership of the group of snapshot workers."""
        ...

    def window(self, on_replaced: Callable[[], None]) -> Window:
        """Make the window over the topics."""
        ...

    def export_window(self, snapshot: SnapshotRecord, on_replaced: Callable[[], None]) -> ExportWindow:
        """Make the window over the topics of a table whose exports are read."""
        ...

    def reader(self, snapshot: SnapshotRecord, facts: TableFacts, now_ms: Callable[[], int]) -> RowReader:
        """Make the reader of a snapshot's rows; `now_ms` is the worker's clock, which never goes back."""
        ...

    def facts(self, table: str) -> TableFacts:
        """Describe a table. Raises ReadError."""
        ...

    def ensure_topics(self, table: str) -> None:
        """Make the topics of a table if they are missing: beside Lambda, nothing may have been published yet.

        Raises WorldError.
        """
        ...

    def tables_of(self, entry: str) -> tuple[str, ...]:
        """Return the tables that the file names of what is read by a name: itself, or those in a stream of several."""
        ...

    def carried_tables(self, entry: str, stream: str) -> tuple[str, ...]:
        """Return every table whose changes come with what is read by a name, from `stream`, named or not.

        Raises ReadError.
        """
        ...

    def topics_of(self, table: str) -> tuple[str, ...]:
        """Return the topics that a table's changes may go to."""
        ...

    def read_capacity(self, facts: TableFacts) -> float:
        """Return the read capacity units a second that all workers together may use of a table."""
        ...

    def published_until_ms(self, checkpoint_state: CheckpointState, table: str, whole_ms: int) -> int:
        """Return until when all changes of a table are surely published (`core.barrier`).

        The checkpoint state shows all that was committed up to `whole_ms`.
        """
        ...

    def reads(self, entry: str) -> bool:
        """Return whether the file names what is read by a name: a table, or a stream of several."""
        ...

    def begins_with_snapshot(self, table: str) -> bool:
        """Return whether a table that had no snapshot yet gets one."""
        ...

    def resnapshots(self, entry: str) -> bool:
        """Return whether a gap of what is read by a name is repaired by new snapshots."""
        ...

    def segment_count(self, facts: TableFacts) -> int:
        """Return into how many segments a table is divided."""
        ...

    def end_offsets(self, topics: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
        """Return the end offsets of topics, by partition. Raises WorldError."""
        ...
