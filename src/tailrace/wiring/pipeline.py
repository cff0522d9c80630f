"""Wires a pipeline: the only place that joins the protocol with its adapters."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection

from tailrace import formats
from tailrace.config import Pipeline
from tailrace.config.definition import definition_of
from tailrace.config.sources.dynamodb_streams import DynamoDBStreamsSource
from tailrace.convert.converter import Converter
from tailrace.core.lane_options import LaneOptions
from tailrace.core.pacing import Pacing
from tailrace.core.ports import Enumerator, PageDecoder, ShardReader, TableStream
from tailrace.core.shard import ShardRef
from tailrace.errors import TopicError, WorldError
from tailrace.kafka import checkpoint_topic, clients, topics
from tailrace.kafka.checkpoint_topic import Follower
from tailrace.kafka.clients import Admin, LastingAdmin
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.kafka.membership import Membership
from tailrace.kafka.topic_limits import TopicLimits
from tailrace.kafka.topics import TopicKeeper, TopicSpec
from tailrace.sources.aws.http import Crc32
from tailrace.sources.aws.session import AwsSession, AwsSettings
from tailrace.sources.dynamodb.stream_arn import table_of
from tailrace.sources.dynamodb.stream_record import decode_page
from tailrace.sources.dynamodb.streams import DynamoDBStreams
from tailrace.wiring.transcoder import choose
from tailrace.wiring.transformations import Transformations
from tailrace.worker.enumerator import Engine, EnumeratorLoop

DEAD_LETTERS_MAX_BYTES = "8388608"
CHANGES_MAX_BYTES = "4194304"
"""An item has up to 400 KB, an envelope two images of it, and JSON escapes what DynamoDB does not."""


def make_source(pipeline: Pipeline, decode: PageDecoder = decode_page, crc32: Crc32 = zlib.crc32) -> DynamoDBStreams:
    """Make the reader and enumerator of a pipeline. Raises WorldError for credentials or a region that are not
    there."""
    source = _dynamodb_streams(pipeline)
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
        decode=decode,
        crc32=crc32,
        readers=source.readers,
        describe_stream_per_second=source.discovery.describe_stream_per_second,
    )


def list_tables(pipeline: Pipeline, enumerator: Enumerator) -> list[str]:
    """List the tables that a pipeline reads: those that it names, there or not, and those that match.

    Raises ReadError.
    """
    source = pipeline.source
    names = enumerator.table_names([entry.text for entry in source.tables_read])
    return [name for name in names if source.reads(name)]


def _dynamodb_streams(pipeline: Pipeline) -> DynamoDBStreamsSource:
    assert isinstance(pipeline.source, DynamoDBStreamsSource)
    return pipeline.source


def table_topics(pipeline: Pipeline, table: str) -> list[TopicSpec]:
    """Return what each topic that a table's changes may go to, its own or its route's, is like when it is made.

    Raises TopicError when it can have none.
    """
    return [_topic_of_changes(pipeline, topic) for topic in pipeline.topics_of(table)]


def _topic_of_changes(pipeline: Pipeline, topic: str) -> TopicSpec:
    properties = {"max.message.bytes": CHANGES_MAX_BYTES} | pipeline.topics.properties
    return TopicSpec(topic, pipeline.topics.partitions, replication(pipeline), properties)


def dead_letters_topic(pipeline: Pipeline) -> TopicSpec:
    """Return what the topic of the dead letters is like when it has to be made."""
    properties = {"max.message.bytes": DEAD_LETTERS_MAX_BYTES}
    return TopicSpec(pipeline.dead_letters_topic, 1, replication(pipeline), properties)


def replication(pipeline: Pipeline) -> int | None:
    """Return the replication factor that the file asks for; None leaves it to the number of brokers."""
    return None if pipeline.topics.replication == "auto" else pipeline.topics.replication


def faults(pipeline: Pipeline, transformations: Transformations, stream: TableStream) -> list[str]:
    """Say in sentences why the format or the transformation cannot serve a table. Raises TopicError."""
    why = formats.serves(pipeline.format.type, stream.view_type) if stream.view_type else None
    transformation = transformations.of(stream.table)
    found = [why] if why else []
    return found + (transformation.faults(stream.view_type, stream.key_names) if transformation else [])


def check_table(pipeline: Pipeline, transformations: Transformations, stream: TableStream) -> None:
    """Raise WorldError when the format or the transformation cannot serve a table."""
    if found := faults(pipeline, transformations, stream):
        raise WorldError(f"table {stream.table}: {'; '.join(found)}")


def make_limits(pipeline: Pipeline, admin: LastingAdmin) -> TopicLimits:
    """Make what knows how much the pipeline's topics take at a time."""

    def describe(names: Collection[str]) -> dict[str, int | None]:
        with admin.use() as client:
            return topics.most_bytes(client, pipeline.kafka, names)

    return TopicLimits(
        pipeline.kafka,
        topics_of=lambda table: (*pipeline.topics_of(table), pipeline.dead_letters_topic),
        describe=describe,
    )


def make_converter(
    pipeline: Pipeline,
    transformations: Transformations,
    limits: TopicLimits | None = None,
    *,
    always_set_aside: bool = False,
) -> Converter:
    """Make what turns a source's pages into records; with `limits` it marks those that are too large.

    With `always_set_aside`, what cannot be converted is a dead letter whatever the file says of errors.
    """
    return Converter(
        formats.make_format(pipeline.format.type, pipeline=pipeline.name, numbers=pipeline.numbers),
        pipeline=pipeline.name,
        topic_of=pipeline.topic_of,
        table_of=table_of,
        dead_letters_topic=pipeline.dead_letters_topic,
        tombstones=pipeline.tombstones and formats.tombstone_after_delete(pipeline.format.type),
        errors_fail=pipeline.errors == "fail" and not always_set_aside,
        transformation_of=transformations.of,
        limits=limits,
    )


def make_producer(
    pipeline: Pipeline, suffix: str, epoch: int = 0, *, limits: TopicLimits | None = None
) -> LaneProducer:
    """Make the producer that fences all others of the transactional id `<name>.<suffix>`."""
    return LaneProducer(
        f"{pipeline.name}.{suffix}",
        epoch,
        pipeline=pipeline.name,
        checkpoint_topic=pipeline.checkpoints_topic,
        dead_letters_topic=pipeline.dead_letters_topic,
        properties=pipeline.kafka,
        limits=limits,
    )


def lane_suffix(lane: int) -> str:
    """Name a lane in transactional ids."""
    return f"lane-{lane}"


def shard_suffix(shard: ShardRef) -> str:
    """Name a shard in transactional ids."""
    return f"shard-{shard.shard_id}"


def prepare_topics(pipeline: Pipeline, admin: Admin) -> None:
    """Make the pipeline's own topics, or check them. Raises WorldError."""
    checkpoint_topic.ensure(admin, pipeline.kafka, pipeline.name, pipeline.lanes, replication(pipeline))
    topics.ensure(admin, pipeline.kafka, [dead_letters_topic(pipeline)])


class PipelineParts:
    """What a worker of one pipeline is built of (`runtime.worker.Parts`)."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Reach for the source; Kafka is reached by `prepare`. Raises WorldError."""
        self.pipeline = pipeline
        self.name = pipeline.name
        self.lane_count = pipeline.lanes
        self.definition = definition_of(pipeline)
        source = _dynamodb_streams(pipeline)
        self.reader_count = source.readers
        self.lane_options = LaneOptions(
            batch_changes=pipeline.batch.changes,
            batch_bytes=pipeline.batch.size_bytes,
            linger_ms=pipeline.batch.linger_ms,
            buffer_bytes=2 * pipeline.batch.size_bytes,
            memory_bytes=pipeline.buffer_bytes,
            pacing=Pacing(source.poll.min_ms, source.poll.max_ms),
            errors_fail=pipeline.errors == "fail",
        )
        self.transcoder = choose()
        self._transformations = Transformations(pipeline)
        self._source = make_source(
            pipeline, self.transcoder.decoder(pipeline, self._transformations.of), self.transcoder.crc32
        )
        self.reader: ShardReader = self._source
        self.enumerator: Enumerator = self._source
        self._admin = LastingAdmin(pipeline.kafka)
        self._limits = make_limits(pipeline, self._admin)
        self.converter = make_converter(pipeline, self._transformations, self._limits)
        self._topics = TopicKeeper(self._admin, pipeline.kafka)

    def prepare(self) -> None:
        """Make the pipeline's own topics, or check them. Raises WorldError."""
        with self._admin.use() as admin:
            prepare_topics(self.pipeline, admin)

    def ping_kafka(self, timeout_s: float) -> None:
        """Ask Kafka whether it is there. Raises WorldError that says why it is not."""
        with self._admin.use() as admin:
            clients.ping(admin, self.pipeline.kafka, timeout_s)

    def topics_of(self, table: str) -> list[str]:
        """Return the topics that a table's changes may go to; none when the table can have none."""
        try:
            return list(self.pipeline.topics_of(table))
        except TopicError:
            return []

    def prepare_table(self, stream: TableStream) -> None:
        """Make a table's topics, and check that it can be served.

        Raises WorldError; UnreachableError when that says nothing of the table.
        """
        check_table(self.pipeline, self._transformations, stream)
        for spec in table_topics(self.pipeline, stream.table):
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
        source = _dynamodb_streams(self.pipeline)
        return EnumeratorLoop(
            engine,
            self.enumerator,
            epoch,
            table_names=lambda: list_tables(self.pipeline, self.enumerator),
            wanted=source.reads,
            start=source.start_position,
            interval_s=source.discovery.interval_ms / 1000,
            prepare_table=self.prepare_table,
        )

    def close(self) -> None:
        """Close the connections to AWS."""
        self._source.close()
