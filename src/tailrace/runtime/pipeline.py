"""Wires a pipeline: the only place that joins the protocol with its adapters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from tailrace import formats
from tailrace.config import Pipeline
from tailrace.config.problem import InvalidError
from tailrace.core.checkpoint import Start
from tailrace.core.lane import LaneOptions
from tailrace.core.pacing import Pacing
from tailrace.core.ports import Lister, ShardReader, TableStream
from tailrace.errors import WorldError
from tailrace.kafka import checkpoint_topic, clients, topics
from tailrace.kafka.checkpoint_topic import Follower
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.kafka.membership import Membership
from tailrace.kafka.topics import TopicSpec
from tailrace.runtime.converter import Converter
from tailrace.runtime.lister import Engine, ListerLoop
from tailrace.sources.aws_session import AwsSession, AwsSettings
from tailrace.sources.dynamodb_streams import DynamoDBStreams
from tailrace.sources.stream_arn import table_of

_STARTS: dict[Literal["trim_horizon", "latest"], Start] = {"trim_horizon": "TRIM_HORIZON", "latest": "LATEST"}

DEAD_LETTERS_MAX_BYTES = "8388608"
CHANGES_MAX_BYTES = "4194304"
"""An item has up to 400 KB, an envelope two images of it, and JSON escapes what DynamoDB does not."""


def make_source(pipeline: Pipeline) -> DynamoDBStreams:
    """Make the reader and lister of a pipeline. Raises WorldError for credentials or a region that are not there."""
    source = pipeline.source
    session = AwsSession(
        AwsSettings(
            region=source.region,
            endpoint_url=source.endpoint_url,
            profile=source.profile,
            role_arn=source.role_arn,
            external_id=source.external_id.get_secret_value() if source.external_id else None,
        )
    )
    return DynamoDBStreams(
        session,
        readers=source.readers,
        describe_stream_per_second=source.discovery.describe_stream_per_second,
    )


def table_topic(pipeline: Pipeline, table: str) -> TopicSpec:
    """Say what a table's topic is like when it has to be made."""
    properties = {"max.message.bytes": CHANGES_MAX_BYTES} | pipeline.topics.properties
    return TopicSpec(pipeline.topic_of(table), pipeline.topics.partitions, replication(pipeline), properties)


def dead_letters_topic(pipeline: Pipeline) -> TopicSpec:
    """Say what the topic of the dead letters is like when it has to be made."""
    properties = {"max.message.bytes": DEAD_LETTERS_MAX_BYTES}
    return TopicSpec(pipeline.dead_letters_topic, 1, replication(pipeline), properties)


def replication(pipeline: Pipeline) -> int | None:
    """Give the replication factor that the file asks for; None leaves it to the number of brokers."""
    return None if pipeline.topics.replication == "auto" else pipeline.topics.replication


def check_view_type(pipeline: Pipeline, stream: TableStream) -> None:
    """Raise WorldError when the format cannot serve the stream's view type."""
    if stream.view_type is None:
        return
    why = formats.serves(pipeline.format, stream.view_type)
    if why is not None:
        raise WorldError(f"table {stream.table}: {why}")


class PipelineParts:
    """What a worker of one pipeline is built of (`runtime.worker.Parts`)."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Reach for the source; Kafka is reached by `prepare`. Raises WorldError."""
        self.pipeline = pipeline
        self.name = pipeline.name
        self.lane_count = pipeline.lanes
        self.reader_count = pipeline.source.readers
        self.lane_options = LaneOptions(
            batch_changes=pipeline.batch.changes,
            batch_bytes=pipeline.batch.size_bytes,
            linger_ms=pipeline.batch.linger_ms,
            buffer_bytes=2 * pipeline.batch.size_bytes,
            room_bytes=pipeline.buffer_bytes,
            pacing=Pacing(pipeline.source.poll.min_ms, pipeline.source.poll.max_ms),
            errors_fail=pipeline.errors == "fail",
        )
        self._source = make_source(pipeline)
        self.reader: ShardReader = self._source
        self.lister: Lister = self._source
        self.converter = Converter(
            formats.make_format(pipeline.format, pipeline=pipeline.name, numbers=pipeline.numbers),
            pipeline=pipeline.name,
            topic_of=pipeline.topic_of,
            table_of=table_of,
            dead_letters_topic=pipeline.dead_letters_topic,
            tombstones=pipeline.tombstones and formats.tombstone_after_delete(pipeline.format),
            errors_fail=pipeline.errors == "fail",
        )
        self._admin = clients.admin(pipeline.kafka)

    def prepare(self) -> None:
        """Make the pipeline's own topics, or check them. Raises WorldError."""
        pipeline = self.pipeline
        checkpoint_topic.ensure(self._admin, pipeline.kafka, pipeline.name, pipeline.lanes, replication(pipeline))
        topics.ensure(self._admin, pipeline.kafka, [dead_letters_topic(pipeline)])

    def prepare_table(self, stream: TableStream) -> None:
        """Make a table's topic, and check that the format serves its stream. Raises WorldError."""
        check_view_type(self.pipeline, stream)
        try:
            spec = table_topic(self.pipeline, stream.table)
        except InvalidError as error:
            raise WorldError(str(error), hint="change `topic` in the pipeline file") from error
        topics.ensure(self._admin, self.pipeline.kafka, [spec])

    def producer(self, lane: int, incarnation: int) -> LaneProducer:
        """Make a lane's producer."""
        return LaneProducer(
            lane,
            incarnation,
            pipeline=self.name,
            checkpoint_topic=self.pipeline.checkpoints_topic,
            dead_letters_topic=self.pipeline.dead_letters_topic,
            properties=self.pipeline.kafka,
        )

    def follower(self) -> Follower:
        """Make the follower of the checkpoint topic."""
        return Follower(self.pipeline.kafka, self.name, self.lane_count)

    def membership(
        self,
        owner: str,
        on_assigned: Callable[[list[int]], None],
        on_revoked: Callable[[list[int]], None],
        on_lost: Callable[[list[int]], None],
    ) -> Membership:
        """Make the membership of the pipeline's group."""
        return Membership(
            self.pipeline.kafka,
            self.name,
            owner,
            on_assigned=on_assigned,
            on_revoked=on_revoked,
            on_lost=on_lost,
        )

    def lister_loop(self, engine: Engine, incarnation: int) -> ListerLoop:
        """Make the lister's loop for one taking of lane 0."""
        source = self.pipeline.source
        return ListerLoop(
            engine,
            self.lister,
            incarnation,
            table_names=lambda: [
                table for table in self.lister.table_names(list(source.tables)) if source.wants(table)
            ],
            wanted=source.wants,
            start=_STARTS[source.start],
            interval_s=source.discovery.interval_ms / 1000,
            prepare_table=self.prepare_table,
        )

    def close(self) -> None:
        """Close the connections to AWS."""
        self._source.close()
