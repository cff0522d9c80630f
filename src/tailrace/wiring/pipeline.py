"""Wires a pipeline: the only place that joins the protocol with its adapters."""

from __future__ import annotations

from collections.abc import Collection

from tailrace import formats
from tailrace.config import Pipeline
from tailrace.config.record_schema import RegisteredSchema
from tailrace.connect.registered import MakeIds, Registry
from tailrace.connect.registered_documents import AS_WRITTEN, DocumentReader, Documents, RecordReader
from tailrace.convert.converter import Converter
from tailrace.core.ports import TableStream
from tailrace.core.shard import ShardRef
from tailrace.errors import WorldError
from tailrace.formats.documents import KEY
from tailrace.kafka import checkpoint_topic, clients, topics
from tailrace.kafka.client_factory import ClientFactory
from tailrace.kafka.clients import Admin, LastingAdmin
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.kafka.schema_registry import make_ids
from tailrace.kafka.topic_limits import TopicLimits
from tailrace.kafka.topics import TopicSpec
from tailrace.wiring.connect_records import make_connect_encoder
from tailrace.wiring.sources import name_of
from tailrace.wiring.transformations import Transformations

DEAD_LETTERS_MAX_BYTES = "8388608"
CHANGES_MAX_BYTES = "4194304"
"""An item has up to 400 KB, an envelope two images of it, and JSON escapes what DynamoDB does not."""


def table_topics(pipeline: Pipeline, table: str, stream: str | None = None) -> list[TopicSpec]:
    """Return what each topic that a table's changes may go to, its own or its route's, is like when it is made.

    `stream` is the name of the stream that the changes come with; None: any. Raises TopicError when it can have none.
    """
    return [_topic_of_changes(pipeline, topic) for topic in pipeline.topics_of(table, stream)]


def topics_met(pipeline: Pipeline, table: str, stream: str) -> list[TopicSpec]:
    """Return the same of a table whose changes are met in `stream`, as the ports call it. Raises TopicError."""
    return table_topics(pipeline, table, name_of(stream))


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
    """Return, as sentences, why the format or the transformation cannot serve a table. Raises TopicError."""
    why = formats.FORMATS[pipeline.format.type].why_not(stream.view_type) if stream.view_type else None
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
    ids: MakeIds = make_ids,
    as_json: bool = False,
) -> Converter:
    """Make what turns a source's pages into records; with `limits` it marks those that are too large.

    With `always_set_aside`, what cannot be converted is a dead letter whatever the file says of errors. `ids` makes
    what knows the ids of a schema registry. With `as_json`, documents stay the JSON that their format makes, to be
    compared.
    """
    made = formats.make_format(pipeline.format.type, pipeline=pipeline.name, numbers=pipeline.numbers)
    return Converter(
        made.encode,
        pipeline=pipeline.name,
        topic_of=lambda table, stream: pipeline.topic_of(table, name_of(stream)),
        dead_letters_topic=pipeline.dead_letters_topic,
        tombstones=pipeline.tombstones,
        errors_fail=pipeline.errors == "fail" and not always_set_aside,
        transformation_of=transformations.of,
        limits=limits,
        connect=make_connect_encoder(pipeline, made, ids),
        documents=None if as_json else make_documents(pipeline, ids),
    )


def make_documents(pipeline: Pipeline, ids: MakeIds = make_ids) -> Documents | None:
    """Make what writes messages as documents; None where they stay JSON, or have schemas of another kind."""
    schema, value = pipeline.record_schema, formats.FORMATS[pipeline.format.type].document
    if not isinstance(schema, RegisteredSchema) or schema.mode != "document" or value is None:
        return None
    registry = Registry(schema.registry, schema.auto_register)
    return Documents(schema.type, KEY, value, strategy=schema.subject_name_strategy, ids=ids(registry))


def record_reader(pipeline: Pipeline) -> RecordReader:
    """Return what reads the pipeline's records back as the JSON that their format made."""
    schema, value = pipeline.record_schema, formats.FORMATS[pipeline.format.type].document
    if not isinstance(schema, RegisteredSchema) or schema.mode != "document" or value is None:
        return AS_WRITTEN
    return DocumentReader(schema.type, KEY, value)


def make_producer(
    pipeline: Pipeline,
    suffix: str,
    epoch: int = 0,
    *,
    limits: TopicLimits | None = None,
    factory: ClientFactory = clients,
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
        factory=factory,
    )


def lane_suffix(lane: int) -> str:
    """Name a lane in transactional ids."""
    return f"lane-{lane}"


def snapshot_suffix(lane: int) -> str:
    """Name a snapshot lane in transactional ids."""
    return f"{lane_suffix(lane)}.snapshot"


def shard_suffix(shard: ShardRef) -> str:
    """Name a shard in transactional ids."""
    return f"shard-{shard.shard_id}"


def prepare_topics(pipeline: Pipeline, admin: Admin) -> None:
    """Make the pipeline's own topics, or check them. Raises WorldError."""
    checkpoint_topic.ensure(admin, pipeline.kafka, pipeline.name, pipeline.lanes, replication(pipeline))
    topics.ensure(admin, pipeline.kafka, [dead_letters_topic(pipeline)])
