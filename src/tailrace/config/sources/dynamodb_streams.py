"""The source `dynamodb-streams`: the streams of tables, read shard by shard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from tailrace.config.fields import Endpoint, Part, TablePattern, Text, Whole, as_tuple, as_written
from tailrace.config.problem import InvalidError, shown
from tailrace.config.rights import AwsRight, RightsNeeded, arns, rights_to_read_tables
from tailrace.config.source import EventSource, Source, TableEntry
from tailrace.config.units import duration
from tailrace.core.change import ViewType
from tailrace.core.checkpoint import Start
from tailrace.core.tags import WantedTag, WantedTags, in_words
from tailrace.errors import WorldError


def _not_empty(value: Any) -> Any:
    if value == []:
        raise InvalidError("is empty", "add e.g. `tables: [orders]`, or leave it out and add `tags`")
    return as_tuple(value)


def _one_or_more(value: Any) -> Any:
    """Take one text for a list of it."""
    if isinstance(value, bool | int | float):
        written = str(value).lower() if isinstance(value, bool) else value
        raise InvalidError(f"must be text or a list of it, not {shown(value)}", f'put it in quotes: "{written}"')
    if value == []:
        raise InvalidError("is empty", "give one value or more, or `*` for any")
    if isinstance(value, list) and len(value) > 1 and "*" in value:
        raise InvalidError("has `*` beside other values", "leave the others out: `*` stands for any")
    return (value,) if isinstance(value, str) else as_tuple(value)


TagKey = Annotated[Text, Field(min_length=1, max_length=128)]
TagValue = Annotated[Text, Field(max_length=256)]
TagValues = Annotated[
    tuple[TagValue, ...],
    Field(min_length=1, max_length=20),
    BeforeValidator(_one_or_more),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "maxLength": 256},
                {"type": "array", "items": {"type": "string", "maxLength": 256}, "minItems": 1, "maxItems": 20},
            ]
        }
    ),
]
"""Limits of AWS: https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_TagFilter.html."""

_ANY_VALUE = ("*",)
"""AWS allows no tag this value."""

_READING = ("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator")
_STARTS: dict[Literal["trim_horizon", "latest"], Start] = {"trim_horizon": "TRIM_HORIZON", "latest": "LATEST"}


class Poll(Part):
    """How often an open shard is read: quickly after changes, slower the longer it is quiet."""

    min_ms: Annotated[int, duration("10ms", "1m")] = Field(
        default=as_written("100ms"),
        alias="min",
        description="Pause after a page that held changes. Every read is billed.",
    )
    max_ms: Annotated[int, duration("10ms", "5m")] = Field(
        default=as_written("1s"), alias="max", description="Longest pause between two reads of a quiet shard."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Poll:
        if self.min_ms > self.max_ms:
            raise InvalidError("has a `min` above its `max`", "swap them")
        return self


class Discovery(Part):
    """How the one worker that lists tables and shards paces itself."""

    interval_ms: Annotated[int, duration("1s", "1h")] = Field(
        default=as_written("10s"),
        alias="interval",
        description="Time between two listings of the tables and their shards.",
    )
    describe_stream_per_second: Whole = Field(
        default=5,
        ge=1,
        le=10,
        description="Most DescribeStream calls in a second. AWS allows 10 for the whole account and region.",
    )


class DynamoDBStreamsSource(Source):
    """DynamoDB Streams: which tables, with whose permissions, and how often they are read."""

    type: Literal["dynamodb-streams"] = Field(description="The method that reads the changes.")
    tags: Annotated[dict[TagKey, TagValues], Field(max_length=50)] = Field(
        default={},
        description="Tags of the tables to stream: a table needs all of the keys, each with one of its values, or "
        "with any if that is `*`. With `tables` it must match both.",
        examples=[{"datalake-ingest": "true", "environment": ["prod", "staging"]}],
    )
    tables: Annotated[tuple[TablePattern, ...], BeforeValidator(_not_empty)] = Field(
        default=(),
        description="Tables to stream: names, and patterns in which `*` and `?` stand for other characters. Needed "
        "unless there are `tags`.",
        examples=[["orders", "users-*"]],
        json_schema_extra={"minItems": 1},
    )
    exclude: Annotated[tuple[TablePattern, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="Tables to leave out although `tables` matches them: names and patterns."
    )
    tagging_endpoint_url: Endpoint | None = Field(
        default=None,
        description="Another endpoint than AWS's own for the Resource Groups Tagging API, which `tags` need.",
        examples=["http://localhost:8000"],
    )
    enable_streams: ViewType | None = Field(
        default=None,
        description="View type with which workers switch on the streams of tables that have none. Without it such "
        "tables are not streamed.",
        examples=["NEW_AND_OLD_IMAGES"],
    )
    start: Literal["trim_horizon", "latest"] = Field(
        default="trim_horizon",
        description="Where a shard without a checkpoint begins: at the oldest change that the stream still holds "
        "(24 hours), or at the changes made from now on.",
    )
    poll: Poll = Field(default=as_written({}), description="How often open shards are read.")
    readers: Whole = Field(
        default=16, ge=1, le=1024, description="Shards that one worker reads at the same time, over all of its lanes."
    )
    discovery: Discovery = Field(default=as_written({}), description="How tables and shards are listed.")

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["tables"]}, {"required": ["tags"]}]})
    tables_path: ClassVar = ("source", "tables")

    @property
    def start_position(self) -> Start:
        """`start` as AWS calls it."""
        return _STARTS[self.start]

    @property
    def tables_read(self) -> tuple[TableEntry, ...]:
        """The entries of `tables`; all tables when there are only `tags`."""
        if "tables" not in self.model_fields_set:
            return (TableEntry("*", ("source", "tags")),)
        return tuple(TableEntry(text, (*self.tables_path, index)) for index, text in enumerate(self.tables))

    @property
    def tags_read(self) -> WantedTags:
        """The entries of `tags`, by key."""
        return tuple(
            WantedTag(key, () if values == _ANY_VALUE else values) for key, values in sorted(self.tags.items())
        )

    @property
    def tables_left_out(self) -> tuple[str, ...]:
        """The entries of `exclude`."""
        return self.exclude

    @property
    def stream_to_enable(self) -> ViewType | None:
        """`enable_streams`."""
        return self.enable_streams

    @property
    def summary(self) -> str:
        """How many tables or patterns are named, or the tags."""
        if "tables" not in self.model_fields_set:
            return f"tables with the tags {in_words(self.tags_read)}"
        return f"{len(self.tables)} table pattern{'s' if len(self.tables) > 1 else ''}"

    @property
    def event_source(self) -> EventSource:
        """Source: https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html#events-dynamodb-permissions."""
        return EventSource(
            "DynamoDB Streams",
            "DynamoDB",
            "stream of table {table}",
            "DynamoDB forgets them after 24 hours",
            self.start_position,
            None,
            _READING,
            ("dynamodb:ListStreams",),
            "^arn:aws[a-z-]*:dynamodb:[a-z0-9-]+:[0-9]{12}:table/{table}/stream/.+$",
            "aws dynamodb describe-table --table-name {table} --query Table.LatestStreamArn",
        )

    def rights(self, needed: RightsNeeded) -> Iterator[AwsRight]:
        """Yield what tables and their streams need."""
        tables = arns("dynamodb", self.region, [f"table/{entry.text}" for entry in self.tables_read])
        yield AwsRight("reading", ("dynamodb:DescribeTable",), tables)
        yield AwsRight("reading", _READING, tuple(f"{table}/stream/*" for table in tables))
        if self.tags:
            yield AwsRight("tags", ("tag:GetResources",), ("*",))
            yield AwsRight("tags", ("dynamodb:ListTagsOfResource",), tables)
        elif any(entry.is_pattern for entry in self.tables_read):
            yield AwsRight("patterns in `tables`", ("dynamodb:ListTables",), ("*",))
        if self.enable_streams is not None:
            yield AwsRight("enable_streams", ("dynamodb:UpdateTable",), tables)
        yield from rights_to_read_tables(needed, tables)

    @field_validator("tables")
    @classmethod
    def _or_tags(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not value and info.data.get("tags", ...) == {}:
            raise InvalidError("is missing", "add e.g. `tables: [orders]`, or `tags`")
        return value

    def missing_table(self, table: str) -> WorldError:
        """Return the error for a table that does not exist."""
        return WorldError(
            f"there is no table {table}", hint="create it, or correct the name, source.region or source.endpoint_url"
        )

    def missing_stream(self, table: str) -> WorldError:
        """Return the error for a table whose stream is off, with the command that switches it on."""
        return WorldError(
            f"table {table} has no stream",
            hint=f"switch it on: aws dynamodb update-table --table-name {table} --stream-specification "
            "StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES"
            + (f" --endpoint-url {self.endpoint_url}" if self.endpoint_url else "")
            + "; or set source.enable_streams, and workers do it",
        )

    def sample_stream(self, table: str) -> str:
        """Return an ARN of the table's region, of no account."""
        return f"arn:aws:dynamodb:{self.region or 'us-east-1'}:000000000000:table/{table}/stream/1"
