"""The pipeline file's shape: every key with its type, its default and what it means."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SecretStr,
    Strict,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from tailrace.config.document import typed
from tailrace.config.interpolate import Interpolated
from tailrace.config.problem import InvalidError, kind_of, nearest, quoted
from tailrace.config.secrets import MASK, is_credential, is_secret, without_user_info
from tailrace.config.units import duration, size
from tailrace.formats import FormatName, Numbers
from tailrace.kafka import properties
from tailrace.kafka.checkpoint_topic import topic_name

TOPIC_LENGTH_MAX = 249
_TOPIC = re.compile(rf"^[A-Za-z0-9._-]{{1,{TOPIC_LENGTH_MAX}}}$")
_PROPERTY_SCHEMA: dict[str, Any] = {"type": ["string", "number", "boolean"]}
_PLACEHOLDERS = ("pipeline", "table")
_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$"
_TABLE_PATTERN = r"^[A-Za-z0-9_.*?-]{1,255}$"


def topic_fault(topic: str) -> str:
    """Tell why `topic` cannot be a topic's name, or nothing. Source: org.apache.kafka.common.internals.Topic."""
    if topic in {".", ".."} or not _TOPIC.match(topic):
        return f"a topic's name has 1 to {TOPIC_LENGTH_MAX} letters, digits, `.`, `_` and `-`"
    return ""


def _pipeline_name(value: str) -> str:
    if not re.fullmatch(_NAME_PATTERN, value):
        raise InvalidError(
            f"{quoted(value)} cannot be a pipeline's name",
            "use 1 to 200 letters, digits, `.`, `_` and `-`, a letter or digit first: topics are named after it",
        )
    return value


def _table_pattern(value: str) -> str:
    if value.startswith("arn:"):
        raise InvalidError(
            "must be a table's name, not its ARN", "give the part after `table/`; the region has its own key"
        )
    is_pattern = "*" in value or "?" in value
    if not re.fullmatch(_TABLE_PATTERN, value) or (len(value) < 3 and not is_pattern):
        raise InvalidError(
            f"{quoted(value)} cannot be a table's name",
            "a name has 3 to 255 letters, digits, `_`, `-` and `.`; in a pattern `*` and `?` stand for others",
        )
    return value


def _template(value: str) -> str:
    for placeholder in re.findall(r"\{([^{}]*)\}", value):
        if placeholder not in _PLACEHOLDERS:
            raise InvalidError(
                f"has the unknown placeholder {quoted('{' + placeholder + '}')}",
                nearest(placeholder, _PLACEHOLDERS) or "there are {pipeline} and {table}",
            )
    fixed = re.sub(r"\{[^{}]*\}", "x", value)
    if fault := topic_fault(fixed):
        raise InvalidError(f"{quoted(value)} cannot name a topic", fault)
    return value


def _topic(value: str) -> str:
    if fault := topic_fault(value):
        raise InvalidError(f"{quoted(value)} cannot name a topic", fault)
    return value


def _endpoint(value: str) -> str:
    if re.match(r"^[a-z]+://[^/]*@", value):
        raise InvalidError(
            "must not hold a user or password", "AWS credentials come from the environment or the profile"
        )
    if not re.fullmatch(r"https?://[A-Za-z0-9._\[\]:-]+(/[^\s?#]*)?", value):
        raise InvalidError(f"{quoted(value)} is not a URL of a service", "write e.g. `http://localhost:8000`")
    return value


def _region(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", value):
        raise InvalidError(f"{quoted(value)} is not a region", "write e.g. `us-east-1`")
    return value


def _role(value: str) -> str:
    if not re.fullmatch(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+", value):
        raise InvalidError(
            f"{quoted(value)} is not the ARN of a role", "write e.g. `arn:aws:iam::123456789012:role/tailrace`"
        )
    return value


def _replication(value: Any) -> Any:
    value = _untyped(value)
    if value != "auto" and (not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 32767):
        raise InvalidError(f"must be `auto` or a whole number from 1, not {quoted(value)}")
    return value


def _untyped(value: Any) -> Any:
    """Give text that came from `${…}` the value that it would have, had it been written in the file."""
    if isinstance(value, Interpolated):
        for kind in ("bool", "int"):
            if (result := typed(kind, value)) is not value:
                return result
    return value


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _as_written(default: str | dict[str, Any]) -> Any:
    """Give a default in the file's form; validation gives it the field's type."""
    return default


Text = Annotated[str, Strict()]
Whole = Annotated[int, Strict(), BeforeValidator(_untyped)]
Flag = Annotated[bool, Strict(), BeforeValidator(_untyped)]
Name = Annotated[Text, AfterValidator(_pipeline_name), WithJsonSchema({"type": "string", "pattern": _NAME_PATTERN})]
TablePattern = Annotated[
    Text, AfterValidator(_table_pattern), WithJsonSchema({"type": "string", "pattern": _TABLE_PATTERN})
]
TopicName = Annotated[Text, AfterValidator(_topic), WithJsonSchema({"type": "string", "pattern": _TOPIC.pattern})]


class KafkaProperties(Mapping[str, str]):
    """The properties of librdkafka, as they are; shown and stored in any other form without their secrets."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = {name: str(value) for name, value in values.items()}
        self._hidden = {
            name
            for name, value in values.items()
            if is_secret(name) or (isinstance(value, Interpolated) and is_credential(name))
        }

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"KafkaProperties({self.shown()})"

    def shown(self) -> dict[str, str]:
        """Give the properties with `***` for each secret."""
        return {
            name: MASK if name in self._hidden else without_user_info(value) for name, value in self._values.items()
        }

    @classmethod
    def _validate(cls, value: object) -> KafkaProperties:
        if not isinstance(value, Mapping):
            raise InvalidError(
                f"must be a mapping of librdkafka properties, not {kind_of(value)}",
                "write `bootstrap.servers: localhost:9092` below it",
            )
        return cls(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(cls.shown)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        known = sorted((properties.COMMON | properties.PRODUCER | properties.CONSUMER) - set(properties.OWNED))
        return {
            "type": "object",
            "required": ["bootstrap.servers"],
            "properties": dict.fromkeys(known, _PROPERTY_SCHEMA)
            | {
                "bootstrap.servers": {
                    "type": "string",
                    "description": "Brokers to begin with: `host:port`, several with commas between.",
                    "examples": ["localhost:9092"],
                }
            },
            "additionalProperties": False,
        }


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)


class Poll(_Part):
    """How often an open shard is read: quickly after changes, slower the longer it is quiet."""

    min_ms: Annotated[int, duration("10ms", "1m")] = Field(
        default=_as_written("100ms"),
        alias="min",
        description="Pause after a page that held changes. Every read is billed.",
    )
    max_ms: Annotated[int, duration("10ms", "5m")] = Field(
        default=_as_written("1s"), alias="max", description="Longest pause between two reads of a quiet shard."
    )


class Discovery(_Part):
    """How the one worker that lists tables and shards paces itself."""

    interval_ms: Annotated[int, duration("1s", "1h")] = Field(
        default=_as_written("10s"),
        alias="interval",
        description="Time between two listings of the tables and their shards.",
    )
    describe_stream_per_second: Whole = Field(
        default=5,
        ge=1,
        le=10,
        description="Most DescribeStream calls in a second. AWS allows 10 for the whole account and region.",
    )


class Source(_Part):
    """DynamoDB Streams: which tables, with whose permissions, and how often they are read."""

    type: Literal["dynamodb-streams"] = Field(description="The method that reads the changes.")
    region: Annotated[Text, AfterValidator(_region)] | None = Field(
        default=None,
        description="AWS region of the tables. Without it AWS_REGION, AWS_DEFAULT_REGION or the profile decides.",
        examples=["us-east-1"],
    )
    endpoint_url: Annotated[Text, AfterValidator(_endpoint)] | None = Field(
        default=None,
        description="Another endpoint than AWS's own for DynamoDB and its streams, such as DynamoDB Local.",
        examples=["http://localhost:8000"],
    )
    profile: Text | None = Field(
        default=None, min_length=1, description="Named profile of the AWS configuration files to take credentials from."
    )
    role_arn: Annotated[Text, AfterValidator(_role)] | None = Field(
        default=None,
        description="Role to assume for reading, for tables of another account.",
        examples=["arn:aws:iam::123456789012:role/tailrace"],
    )
    external_id: Annotated[SecretStr, Strict(False)] | None = Field(
        default=None,
        min_length=2,
        max_length=1224,
        description="External id that the role's trust policy asks for. Needs `role_arn`.",
    )
    tables: Annotated[tuple[TablePattern, ...], BeforeValidator(_as_tuple)] = Field(
        min_length=1,
        description="Tables to stream: names, and patterns in which `*` and `?` stand for other characters.",
        examples=[["orders", "users-*"]],
    )
    exclude: Annotated[tuple[TablePattern, ...], BeforeValidator(_as_tuple)] = Field(
        default=(), description="Tables to leave out although `tables` matches them: names and patterns."
    )
    start: Literal["trim_horizon", "latest"] = Field(
        default="trim_horizon",
        description="Where a shard without a checkpoint begins: at the oldest change that the stream still holds "
        "(24 hours), or at the changes made from now on.",
    )
    poll: Poll = Field(default=_as_written({}), description="How often open shards are read.")
    readers: Whole = Field(
        default=16, ge=1, le=1024, description="Shards that one worker reads at the same time, over all of its lanes."
    )
    discovery: Discovery = Field(default=_as_written({}), description="How tables and shards are listed.")

    def wants(self, table: str) -> bool:
        """Tell whether `tables` matches `table` and `exclude` does not."""
        return _matches(table, self.tables) and not _matches(table, self.exclude)


def _matches(table: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(table, pattern) for pattern in patterns)


class Topics(_Part):
    """How missing topics of tables are made. Existing ones are used as they are."""

    partitions: Whole = Field(default=6, ge=1, le=100_000, description="Partitions of a topic that is made.")
    replication: Annotated[
        int | Literal["auto"],
        BeforeValidator(_replication),
        WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": 32767}]}),
    ] = Field(
        default="auto",
        description="Replicas of a topic that is made; `auto` takes 3, or as many as there are brokers when fewer.",
    )
    properties: Annotated[
        dict[str, str], WithJsonSchema({"type": "object", "additionalProperties": _PROPERTY_SCHEMA})
    ] = Field(
        default={},
        description="Any topic property of Kafka for the topics that are made.",
        examples=[{"cleanup.policy": "compact", "retention.ms": "604800000"}],
    )


class Batch(_Part):
    """When a lane commits its transaction: at whichever bound is met first."""

    changes: Whole = Field(default=5_000, ge=1, le=100_000, description="Most changes in a transaction.")
    size_bytes: Annotated[int, size("64KiB", "256MiB")] = Field(
        default=_as_written("8MiB"), alias="bytes", description="Most bytes of records in a transaction."
    )
    linger_ms: Annotated[int, duration("0ms", "10s")] = Field(
        default=_as_written("50ms"),
        alias="linger",
        description="Longest wait of a change for others to share its transaction.",
    )


class Pipeline(_Part):
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
    source: Source = Field(description="Where the changes come from.")
    topic: Annotated[Text, AfterValidator(_template)] = Field(
        default="{pipeline}.{table}",
        description="Name of each table's topic. `{pipeline}` and `{table}` are filled in.",
    )
    topics: Topics = Field(default=_as_written({}), description="How missing topics are made.")
    format: FormatName = Field(default="debezium", description="What a record's value looks like.")
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
        description="Slices of the work; no more workers than lanes have work. Fixed when the pipeline first runs.",
    )
    batch: Batch = Field(default=_as_written({}), description="When a lane commits.")
    buffer_bytes: Annotated[int, size("1MiB", "1GiB")] = Field(
        default=_as_written("48MiB"),
        alias="buffer",
        description="Most bytes of changes that a worker holds in memory, over all of its lanes; one lane holds at "
        "most two batches of it.",
    )

    @property
    def checkpoints_topic(self) -> str:
        """The compacted topic of the checkpoints; each of its partitions is a lane."""
        return topic_name(self.name)

    @property
    def dead_letters_topic(self) -> str:
        """The topic of the dead letters."""
        return self.dead_letters or f"{self.name}.dead-letters"

    def topic_of(self, table: str) -> str:
        """Give the topic of a table's changes.

        Raises `InvalidError` when that would be no topic's name, or one of the pipeline's own topics: a pattern of
        `source.tables` may match any table.
        """
        topic = self.topic.format(pipeline=self.name, table=table)
        if fault := topic_fault(topic):
            raise InvalidError(f"the topic of table {table} would be {quoted(topic)}", fault)
        for own, what in ((self.checkpoints_topic, "checkpoints"), (self.dead_letters_topic, "dead letters")):
            if topic == own:
                raise InvalidError(
                    f"the topic of table {table} would be {quoted(topic)}, that of the {what}",
                    "give `topic` another form, e.g. `{pipeline}.table.{table}`",
                )
        return topic

    def shown(self) -> dict[str, Any]:
        """Give the pipeline as its file holds it, defaults filled in, with `***` for each secret."""
        return self.model_dump(mode="json", by_alias=True)
