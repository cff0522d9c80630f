"""The pipeline file's shape: every key with its type, its default and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, WithJsonSchema, model_validator

from tailrace.config.fields import (
    Flag,
    Name,
    Part,
    Replication,
    Template,
    Text,
    TopicName,
    Whole,
    as_written,
    topic_fault,
)
from tailrace.config.format import AnyFormat
from tailrace.config.function import LambdaFunction
from tailrace.config.lake import Lakes
from tailrace.config.problem import quoted
from tailrace.config.property_maps import PROPERTY_SCHEMA, ConnectProperties, KafkaProperties
from tailrace.config.record_schema import AnyRecordSchema, RegisteredSchema
from tailrace.config.replica import Replica
from tailrace.config.rights import AwsRight, RightsNeeded
from tailrace.config.snapshot import OnGapAction, OnGapKey, SnapshotKey
from tailrace.config.source import is_pattern
from tailrace.config.sources import AnySource
from tailrace.config.transform import Steps
from tailrace.config.units import duration, size
from tailrace.connect.chain import Chain
from tailrace.errors import TopicError
from tailrace.formats import FORMATS, Numbers
from tailrace.kafka.checkpoint_topic import topic_name


class Topics(Part):
    """How missing topics of tables are made. Existing ones are used as they are."""

    partitions: Whole = Field(default=6, ge=1, le=100_000, description="Partitions of a topic that is made.")
    replication: Replication = Field(
        default="auto",
        description="Replicas of a topic that is made; `auto` takes 3, or as many as there are brokers when fewer.",
    )
    properties: Annotated[
        dict[str, str], WithJsonSchema({"type": "object", "additionalProperties": dict(PROPERTY_SCHEMA)})
    ] = Field(
        default={},
        description="Any topic property of Kafka for the topics that are made.",
        examples=[{"cleanup.policy": "compact", "retention.ms": "604800000"}],
    )
    names: dict[Text, TopicName] = Field(
        default={},
        description="Topics of single tables, in place of what `topic` makes of their names.",
        examples=[{"orders": "shop-orders"}],
    )


class Batch(Part):
    """When a lane commits its transaction: at whichever bound is met first."""

    changes: Whole = Field(default=5_000, ge=1, le=100_000, description="Most changes in a transaction.")
    size_bytes: Annotated[int, size("64KiB", "256MiB")] = Field(
        default=as_written("8MiB"), alias="bytes", description="Most bytes of records in a transaction."
    )
    linger_ms: Annotated[int, duration("0ms", "10s")] = Field(
        default=as_written("50ms"),
        alias="linger",
        description="Longest wait of a change for others to share its transaction; ten times that while full pages "
        "say that the lane's shards are behind.",
    )


class Pipeline(Part):
    """One pipeline: the tables that it reads, the topics that it writes, and how."""

    name: Name = Field(
        description="The pipeline's name. Its topics, its consumer group and its transactional ids begin with it; "
        "workers with the same name share the work.",
        examples=["shop"],
    )
    kafka: KafkaProperties = Field(
        description="Properties of librdkafka: `bootstrap.servers`, and any other (SASL, TLS, tuning). "
        "Each client gets those that it knows."
    )
    source: AnySource = Field(description="Where the changes come from.")
    snapshot: SnapshotKey = Field(
        default=as_written("never"), description="Whether and how the present items of tables are read, too."
    )
    on_gap: OnGapKey = Field(
        default=as_written({}),
        description="What happens to a table when changes of it were lost: it stops until an operator accepts the "
        "loss, or is read again.",
    )
    topic: Template = Field(
        default="{pipeline}.{table}",
        description="Name of each table's topic. `{pipeline}` and `{table}` are filled in, and `{stream}` where "
        "streams are read.",
    )
    topics: Topics = Field(default=as_written({}), description="How missing topics are made.")
    transform: Steps = Field(
        default=(),
        description="What is changed, dropped and routed on the way: a function of yours, or a list of steps.",
    )
    format: AnyFormat = Field(default=as_written("debezium"), description="What a record's value looks like.")
    connect: ConnectProperties = Field(
        default=as_written({}),
        description="Kafka Connect's own properties for what it does with records: `key.converter` and "
        "`value.converter` with theirs, `transforms` and `predicates`. Without it, records are what the format makes.",
        examples=[{"value.converter": "org.apache.kafka.connect.json.JsonConverter"}],
    )
    record_schema: AnyRecordSchema | None = Field(
        default=None,
        alias="schema",
        description="With which schemas records are written, for consumers that need them. Without it, with none.",
        examples=[{"type": "connect-json"}, {"type": "avro", "registry": {"url": "http://localhost:8081"}}],
    )
    numbers: Numbers = Field(
        default="exact",
        description="DynamoDB's numbers as JSON numbers with all their digits (up to 38), or as JSON strings.",
    )
    tombstones: Flag = Field(
        default=True, description="Whether a delete is followed by a record with a null value, for compaction."
    )
    errors: Literal["dead-letter", "fail"] = Field(
        default="dead-letter",
        description="What becomes of a change that cannot be converted or published: set aside with its reason, "
        "or its shard stops.",
    )
    dead_letters: TopicName | None = Field(
        default=None, description="Topic of the dead letters. Without it, `<name>.dead-letters`."
    )
    lanes: Whole = Field(
        default=16,
        ge=1,
        le=1024,
        description="Slices of the work; no more workers than lanes have work. Once the pipeline has run, "
        "a rescale can raise it, and nothing can lower it.",
    )
    batch: Batch = Field(default=as_written({}), description="When a lane commits.")
    buffer_bytes: Annotated[int, size("1MiB", "1GiB")] = Field(
        default=as_written("48MiB"),
        alias="buffer",
        description="Most bytes of changes that a worker holds in memory, over all of its lanes; one lane holds at "
        "most two batches of it. A lane that holds nothing may always read one page (1 MB).",
    )
    lakes: Lakes = Field(
        default=(),
        alias="lake",
        description="The data lake that a process of its own writes the topics to, or a list of several, each with a "
        "name. Workers ignore it.",
    )
    replica: Replica | None = Field(
        default=None,
        description="Copies of the tables in another account or region, which a process of its own keeps. "
        "Workers ignore it.",
    )
    function: LambdaFunction = Field(
        default=as_written({}), alias="lambda", description="How AWS Lambda runs the pipeline, when it is the method."
    )

    examples: ClassVar = {
        "name": "name: shop",
        "kafka": "kafka: {bootstrap.servers: localhost:9092}",
        "source": "source: {type: dynamodb-streams, tables: [orders]}",
    }

    @model_validator(mode="before")
    @classmethod
    def _name_the_stream(cls, data: Any) -> Any:
        """Fill in `{stream}` where the source names one stream: so rows of snapshots have a topic, too."""
        if not isinstance(data, Mapping) or not isinstance(data.get("source"), Mapping):
            return data
        topic, streams = data.get("topic"), data["source"].get("streams")
        if (
            not isinstance(topic, str)
            or "{stream}" not in topic
            or not isinstance(streams, list | tuple)
            or len(streams) != 1
        ):
            return data
        name = streams[0].rpartition(":stream/")[2] if isinstance(streams[0], str) else "*"
        return data if is_pattern(name) else {**data, "topic": topic.replace("{stream}", name)}

    @property
    def checkpoints_topic(self) -> str:
        """The compacted topic of the checkpoints; each of its partitions is a lane."""
        return topic_name(self.name)

    @property
    def dead_letters_topic(self) -> str:
        """The topic of the dead letters."""
        return self.dead_letters or f"{self.name}.dead-letters"

    @property
    def reads_back(self) -> bool:
        """Whether its records say enough to compare them with tables, and to find deletes."""
        return not self.makes_connect_records and FORMATS[self.format.type].reads_back

    @property
    def makes_connect_records(self) -> bool:
        """Whether its records have Connect's schemas, and go through its transforms and converters."""
        schema = self.record_schema
        return bool(self.connect_properties) or (schema is not None and schema.mode != "document")

    @property
    def connect_properties(self) -> Mapping[str, str]:
        """Connect's properties for what becomes of records; none: the format makes them."""
        return {**(self.record_schema.converters if self.record_schema else {}), **self.connect}

    @property
    def asks_schema_registry(self) -> bool:
        """Whether its records have the ids of a schema registry."""
        return isinstance(self.record_schema, RegisteredSchema) or any(
            name.endswith(".schema.registry.url") for name in self.connect
        )

    def on_gap_of(self, entry: str) -> OnGapAction:
        """Return what happens when changes of a table, or of a stream of several, were lost."""
        return self.on_gap.of(entry) or ("resnapshot" if self.snapshot.mode == "when_needed" else "fail")

    @property
    def parts_streams(self) -> bool:
        """Whether the changes that come with different streams go to different topics."""
        return "{stream}" in self.topic

    @property
    def aws_rights(self) -> tuple[AwsRight, ...]:
        """What AWS must allow for what the file asks for."""
        repairs = self.snapshot.mode == "when_needed" or self.on_gap.resnapshots_any
        found = self.source.rights(RightsNeeded(self.snapshot.mode != "never" or repairs, repairs))
        role = self.source.role_arn
        return (*([AwsRight("role_arn", ("sts:AssumeRole",), (role,))] if role else []), *found)

    def topic_of(self, table: str, stream: str | None = None) -> str:
        """Return the topic of a table's changes that come with a stream, by name; None: whatever they come with.

        Raises `TopicError` when that would be no topic's name, or one of the pipeline's own topics: a pattern may
        match any table. And when it depends on the stream, and that is not given.
        """
        template = self.topics.names.get(table, self.topic)
        if stream is None and "{stream}" in template:
            raise TopicError(
                f"the topic of table {table} depends on the stream", hint="leave `{stream}` out of `topic`, or name one"
            )
        return self.filled(template, table, stream)

    def topics_of(self, table: str, stream: str | None = None) -> tuple[str, ...]:
        """Return every topic that a table's changes may go to: its own, or those of its route.

        Without `stream`, those of every stream that the file names; the others are known once records come.
        Raises `TopicError`.
        """
        made = self._topics_made(table, stream)
        return tuple(dict.fromkeys(topic for each in made for topic in self._chain.topics_of(each)))

    def topic_beginnings(self, pattern: str) -> dict[str, bool]:
        """Return what the topics of tables that match a pattern begin with; False: it is the whole name.

        The beginning is empty where Connect's transforms rename topics.
        """
        beginning = pattern[: min((pattern.find(each) for each in "*?" if each in pattern), default=len(pattern))]
        routes = [step.route.templates for step in self.transform if step.route]
        found = dict.fromkeys((name for table, name in self.topics.names.items() if fnmatchcase(table, pattern)), False)
        for template in (self.topic, *(each for templates in routes for each in templates)):
            head, brace, rest = template.replace("{pipeline}", self.name).partition("{")
            found[head + (beginning if rest.startswith("table}") else "")] = bool(brace)
        return found if all(self._chain.topics_of(name) == (name,) for name in found if name) else {"": True}

    @cached_property
    def _chain(self) -> Chain:
        return Chain(self.connect)

    def _topics_made(self, table: str, stream: str | None) -> tuple[str, ...]:
        """Return the topics that a table's changes may go to before Connect's transforms."""
        streams = self.source.named_tables if stream is None and self.parts_streams else (stream,)
        own = tuple(self.topic_of(table, each) for each in streams)  # dead letters of a table with a route name it too
        routes = [step.route for step in self.transform if step.route and step.is_for(table)]
        if not routes:
            return own
        if len(routes) > 1:
            raise TopicError(f"table {table} has {len(routes)} routes in `transform`", hint="make one of them")
        return tuple(dict.fromkeys(self.filled(template, table) for template in routes[0].templates))

    def is_routed(self, table: str) -> bool:
        """Return whether a table's changes have a route."""
        return any(step.route and step.is_for(table) for step in self.transform)

    def filled(self, template: str, table: str, stream: str | None = None) -> str:
        """Return the topic that a template stands for. Raises `TopicError` as `topic_of` does."""
        topic = template.format(pipeline=self.name, table=table, stream=stream)
        if fault := topic_fault(topic):
            raise TopicError(f"the topic of table {table} would be {quoted(topic)}", hint=fault)
        for own, what in ((self.checkpoints_topic, "checkpoints"), (self.dead_letters_topic, "dead letters")):
            if topic == own:
                raise TopicError(
                    f"the topic of table {table} would be {quoted(topic)}, that of the {what}",
                    hint="give `topic` another form, e.g. `{pipeline}.table.{table}`",
                )
        return topic

    def shown(self) -> dict[str, Any]:
        """Return the pipeline as its file holds it, defaults filled in, with `***` for each secret."""
        return self.model_dump(mode="json", by_alias=True)
