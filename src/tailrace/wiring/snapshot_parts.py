"""What a snapshot worker is built of."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from tailrace import formats
from tailrace.config import Pipeline
from tailrace.config.source import is_pattern
from tailrace.core import barrier
from tailrace.core.checkpoint import SnapshotRecord
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.ports import ExportReader, TableFacts
from tailrace.core.source_policy import SourcePolicy
from tailrace.formats.keys import message_key
from tailrace.kafka import topics
from tailrace.kafka.checkpoint_topic import Follower
from tailrace.kafka.clients import LastingAdmin
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.kafka.membership import Membership, snapshot_group
from tailrace.snapshot.deletes import Deletes
from tailrace.snapshot.export_window import ExportWindow
from tailrace.snapshot.exports import Exports
from tailrace.snapshot.rows import RowReader
from tailrace.snapshot.window import Window
from tailrace.wiring.pipeline import (
    make_converter,
    make_documents,
    make_limits,
    make_producer,
    record_reader,
    snapshot_suffix,
    table_topics,
)
from tailrace.wiring.sources import carried_tables, make_export, make_tables
from tailrace.wiring.transcoder import PURE, choose
from tailrace.wiring.transformations import Transformations

READERS = 8
"""Pages that one worker reads at the same time."""


class PipelineSnapshotParts:
    """What a snapshot worker of one pipeline is built of (`snapshot.parts.SnapshotParts`)."""

    def __init__(self, pipeline: Pipeline, policy: SourcePolicy, transformations: Transformations) -> None:
        """Reach for the tables; Kafka is reached later. Raises WorldError."""
        self.name = pipeline.name
        self.lane_count = pipeline.lanes
        self.named_tables = pipeline.source.named_tables
        self.policy = policy
        self.reader_count = READERS
        self.filter = pipeline.snapshot.filter
        self.parallel_tables = pipeline.snapshot.tables_max
        self.buffer_bytes = pipeline.buffer_bytes
        self._pipeline = pipeline
        self._admin = LastingAdmin(pipeline.kafka)
        self._topics = topics.TopicKeeper(self._admin, pipeline.kafka)
        self._limits = make_limits(pipeline, self._admin)
        self._converter = make_converter(pipeline, transformations, self._limits)
        self._transcoder = choose()
        self._transformations = transformations
        self._tables = make_tables(pipeline, self._transcoder, transformations.of)
        self._plain_tables = make_tables(pipeline, PURE)
        """For a filter, which needs the items."""
        self._format = formats.make_format(pipeline.format.type, pipeline=pipeline.name, numbers=pipeline.numbers)
        self._documents = make_documents(pipeline)
        self._reader = record_reader(pipeline)
        self._shared = shared_topics(pipeline)

    def producer(self, lane: int, epoch: int) -> LaneProducer:
        """Make a snapshot lane's producer."""
        return make_producer(self._pipeline, snapshot_suffix(lane), epoch, limits=self._limits)

    def follower(self, on_replaced: Callable[[], None]) -> Follower:
        """Make the follower of the checkpoint topic."""
        return Follower(self._pipeline.kafka, self.name, range(self.lane_count), on_replaced=on_replaced)

    def membership(
        self,
        owner: str,
        on_assigned: Callable[[list[int]], None],
        on_revoked: Callable[[list[int]], None],
        on_lost: Callable[[list[int]], None],
        on_replaced: Callable[[], None],
    ) -> Membership:
        """Make the membership of the group of snapshot workers."""
        return Membership(
            self._pipeline.kafka,
            self.name,
            owner,
            on_assigned=on_assigned,
            on_revoked=on_revoked,
            on_lost=on_lost,
            on_replaced=on_replaced,
            group=snapshot_group(self.name),
        )

    def window(self, on_replaced: Callable[[], None]) -> Window:
        """Make the window over the topics."""
        return Window(
            self._pipeline.kafka,
            table_of=self._table_of,
            shared=self._shared.__contains__,
            on_replaced=on_replaced,
            reader=self._reader,
        )

    def export_window(self, snapshot: SnapshotRecord, on_replaced: Callable[[], None]) -> ExportWindow:
        """Make the window over the topics of a table whose exports are read."""
        return ExportWindow(
            snapshot,
            self.policy,
            self._pipeline.kafka,
            table_of=self._table_of,
            shared=self._shared.__contains__,
            on_replaced=on_replaced,
            reader=self._reader,
        )

    def reader(self, snapshot: SnapshotRecord, facts: TableFacts, now_ms: Callable[[], int]) -> RowReader:
        """Make the reader of a snapshot's rows; `now_ms` is the worker's clock, which never goes back."""
        needs_items = snapshot.filter is not None or snapshot.reason == "repair"
        transcoder = PURE if needs_items else self._transcoder

        def export(location: str) -> ExportReader:
            return make_export(self._pipeline, location, transcoder, self._transformations.of)

        return RowReader(
            snapshot,
            facts,
            self._plain_tables if needs_items else self._tables,
            self._converter,
            Exports(snapshot, export),
            deletes=self._deletes(snapshot, facts, now_ms),
            now_ms=now_ms,
            time_ns=time.time_ns,
        )

    def _deletes(self, snapshot: SnapshotRecord, facts: TableFacts, now_ms: Callable[[], int]) -> Deletes | None:
        if not snapshot.finds_deletes and snapshot.reason != "repair":
            return None
        pipeline = self._pipeline
        return Deletes(
            snapshot,
            facts,
            self._plain_tables,
            self._format,
            key_of=partial(message_key, numbers=pipeline.numbers),
            user=pipeline.kafka,
            topics=self.topics_of(facts.table),
            region=facts.arn.split(":")[3],
            tombstones=pipeline.tombstones,
            is_of_table=lambda topic, value: topic not in self._shared or self._table_of(topic, value) == facts.table,
            now_ms=now_ms,
            documents=self._documents,
            reader=self._reader,
        )

    def facts(self, table: str) -> TableFacts:
        """Describe a table. Raises ReadError."""
        return self._tables.facts(table)

    def ensure_topics(self, table: str) -> None:
        """Make the topics of a table if they are missing. Raises WorldError."""
        for spec in table_topics(self._pipeline, table):
            self._topics.ensure(spec)

    def tables_of(self, entry: str) -> tuple[str, ...]:
        """Return the tables that the file names of what is read by a name."""
        return self._pipeline.source.tables_of(entry)

    def carried_tables(self, entry: str, stream: str) -> tuple[str, ...]:
        """Return every table whose changes come with what is read by a name. Raises ReadError."""
        return carried_tables(self._pipeline.source, entry, stream, self._tables)

    def topics_of(self, table: str) -> tuple[str, ...]:
        """Return the topics that a table's changes may go to."""
        return self._pipeline.topics_of(table)

    def read_capacity(self, facts: TableFacts) -> float:
        """Return the read capacity units a second that all workers together may use of a table."""
        return self._pipeline.snapshot.wanted_read_capacity(facts)

    def published_until_ms(self, checkpoint_state: CheckpointState, table: str, whole_ms: int) -> int:
        """Return until when all changes of a table are surely published."""
        return barrier.published_until_ms(checkpoint_state, table, self.policy, whole_ms)

    def reads(self, entry: str) -> bool:
        """Return whether the file names what is read by a name."""
        return self._pipeline.source.reads(entry)

    def begins_with_snapshot(self, table: str) -> bool:
        """Return whether a table that had no snapshot yet gets one."""
        return self._pipeline.snapshot.mode != "never" and self._pipeline.source.publishes(table)

    def resnapshots(self, entry: str) -> bool:
        """Return whether a gap of what is read by a name is repaired by new snapshots."""
        return self._pipeline.on_gap_of(entry) == "resnapshot"

    def segment_count(self, facts: TableFacts) -> int:
        """Return into how many segments a table is divided."""
        return self._pipeline.snapshot.segment_count(facts, self.lane_count)

    def end_offsets(self, names: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
        """Return the end offsets of topics, by partition. Raises WorldError."""
        with self._admin.use() as admin:
            return topics.end_offsets(admin, self._pipeline.kafka, names)

    def _table_of(self, _topic: str, value: bytes) -> str | None:
        read = self._format.read(value)
        return None if read is None else read.table


def shared_topics(pipeline: Pipeline) -> frozenset[str]:
    """Return the topics that several tables may write: there a key alone does not say whose item it is."""
    if pipeline.source.only_table is not None or pipeline.parts_streams:  # no snapshots of those
        return frozenset()
    writers = Counter({pipeline.topic: 2})
    for step in pipeline.transform:
        is_for_one = len(step.tables) == 1 and not is_pattern(step.tables[0])
        for template in step.route.templates if step.route else ():
            writers[template] += 1 if is_for_one else 2
    return frozenset(
        template.format(pipeline=pipeline.name)
        for template, count in writers.items()
        if count > 1 and "{table}" not in template
    )
