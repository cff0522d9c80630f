"""What a worker is built of: the only part of the wiring that loads the engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from tailrace.config import Pipeline
from tailrace.config.definition import definition_of
from tailrace.core.lane_options import LaneOptions
from tailrace.core.ports import ShardReader, TableStream
from tailrace.errors import TopicError
from tailrace.kafka import checkpoint_topic, clients
from tailrace.kafka.checkpoint_topic import Follower
from tailrace.kafka.clients import LastingAdmin
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.kafka.membership import Membership
from tailrace.kafka.topics import TopicKeeper
from tailrace.process.host import ThreadedHost
from tailrace.wiring.pipeline import (
    check_table,
    lane_suffix,
    make_converter,
    make_limits,
    make_producer,
    prepare_topics,
    table_topics,
    topics_met,
)
from tailrace.wiring.snapshot_parts import PipelineSnapshotParts
from tailrace.wiring.sources import make_source, reading_of
from tailrace.wiring.table_choice import TableChoice
from tailrace.wiring.transcoder import choose
from tailrace.wiring.transformations import Transformations
from tailrace.worker.enumerator import Engine, EnumeratorLoop
from tailrace.worker.topics_first import TopicsFirst


class PipelineParts:
    """What a worker of one pipeline is built of (`worker.worker.Parts`)."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Reach for the source; Kafka is reached by `prepare`. Raises WorldError."""
        self.pipeline = pipeline
        self.name = pipeline.name
        self.lane_count = pipeline.lanes
        self.definition = definition_of(pipeline)
        self._reading = reading_of(pipeline)
        self.reader_count = self._reading.readers
        self.transcoder = choose()
        self.transformations = Transformations(pipeline)
        self.source = make_source(pipeline, self.transcoder, self.transformations.of)
        self.reader: ShardReader = self.source
        if pipeline.source.carries_tables:
            self.reader = TopicsFirst(self.source, self._make_topics, ThreadedHost())
        self.lane_options = LaneOptions(
            self.source.policy,
            batch_changes=pipeline.batch.changes,
            batch_bytes=pipeline.batch.size_bytes,
            linger_ms=pipeline.batch.linger_ms,
            buffer_bytes=2 * pipeline.batch.size_bytes,
            memory_bytes=pipeline.buffer_bytes,
            pacing=self._reading.pacing,
            errors_fail=pipeline.errors == "fail",
        )
        self._admin = LastingAdmin(pipeline.kafka)
        self._limits = make_limits(pipeline, self._admin)
        self.converter = make_converter(pipeline, self.transformations, self._limits)
        self._topics = TopicKeeper(self._admin, pipeline.kafka)

    def prepare(self) -> None:
        """Make the pipeline's own topics, or check them. Raises WorldError."""
        with self._admin.use() as admin:
            prepare_topics(self.pipeline, admin)

    def ping_kafka(self, timeout_s: float) -> None:
        """Ask Kafka whether it is there. Raises WorldError that says why it is not."""
        with self._admin.use() as admin:
            clients.ping(admin, self.pipeline.kafka, checkpoint_topic.topic_name(self.name), timeout_s)

    def topics_of(self, table: str) -> list[str]:
        """Return the topics that a table's changes may go to; none when the table can have none."""
        try:
            tables = self.pipeline.source.tables_of(table)
            return [topic for each in tables for topic in self.pipeline.topics_of(each, table)]
        except TopicError:
            return []

    def prepare_table(self, stream: TableStream) -> None:
        """Make a table's topics, and check that it can be served.

        Raises WorldError; UnreachableError when that says nothing of the table.
        """
        for table in self.pipeline.source.tables_of(stream.table):
            check_table(self.pipeline, self.transformations, msgspec.structs.replace(stream, table=table))
            self._make_topics(table, stream.stream)

    def _make_topics(self, table: str, stream: str | None) -> None:
        for spec in table_topics(self.pipeline, table) if stream is None else topics_met(self.pipeline, table, stream):
            self._topics.ensure(spec)

    def producer(self, lane: int, epoch: int) -> LaneProducer:
        """Make a lane's producer."""
        return make_producer(self.pipeline, lane_suffix(lane), epoch, limits=self._limits)

    def follower(self, on_replaced: Callable[[], None]) -> Follower:
        """Make the follower of the checkpoint topic."""
        return Follower(self.pipeline.kafka, self.name, range(self.lane_count), on_replaced=on_replaced)

    def membership(
        self,
        owner: str,
        on_assigned: Callable[[list[int]], None],
        on_revoked: Callable[[list[int]], None],
        on_lost: Callable[[list[int]], None],
        on_replaced: Callable[[], None],
    ) -> Membership:
        """Make the membership of the pipeline's group."""
        return Membership(
            self.pipeline.kafka,
            self.name,
            owner,
            on_assigned=on_assigned,
            on_revoked=on_revoked,
            on_lost=on_lost,
            on_replaced=on_replaced,
        )

    def enumerator_loop(self, engine: Engine, epoch: int) -> EnumeratorLoop:
        """Make the enumerator's loop for one taking of lane 0."""
        view_type = self.pipeline.source.stream_to_enable
        choice = TableChoice(self.pipeline.source, self.source)
        return EnumeratorLoop(
            engine,
            self.source,
            epoch,
            policy=self.source.policy,
            table_names=choice.names,
            other_tags=choice.other_tags if self.pipeline.source.tags_read else None,
            wanted=self.pipeline.source.reads,
            start=self._reading.start,
            since_ms=self._reading.start_ms,
            interval_s=self._reading.listing_interval_ms / 1000,
            prepare_table=self.prepare_table,
            enable_stream=partial(self.source.enable_stream, view_type=view_type) if view_type else None,
        )

    def snapshots(self) -> PipelineSnapshotParts:
        """Make what the worker's snapshots are made of."""
        return PipelineSnapshotParts(self.pipeline, self.source.policy, self.transformations)

    def close(self) -> None:
        """Close the connections to the source."""
        self.source.close()
