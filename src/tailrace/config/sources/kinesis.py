"""The source `kinesis`: Kinesis Data Streams, with the changes of DynamoDB tables or with any other records."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from tailrace.config.fields import Flag, TablePattern, Text, as_tuple, as_written
from tailrace.config.problem import InvalidError, quoted, shown
from tailrace.config.rights import AwsRight, RightsNeeded, arns, rights_to_read_tables
from tailrace.config.source import EventSource, Source, TableEntry, is_pattern
from tailrace.config.units import duration
from tailrace.core.checkpoint import Start
from tailrace.errors import WorldError
from tailrace.moments import parse_ms

_ARN_PATTERN = r"^arn:aws[a-z-]*:kinesis:([a-z0-9-]+):([0-9]{12}):stream/([A-Za-z0-9_.-]{1,128})$"
_STREAM_PATTERN = r"^[A-Za-z0-9_.*?-]{1,128}$"
_CONSUMER_PATTERN = r"^[A-Za-z0-9_.-]{1,128}$"
_MOMENT_PATTERN = r"^([0-9]{11,15}|[0-9]{4}-[0-9]{2}-[0-9]{2}.*)$"

_READING = (
    "kinesis:DescribeStreamSummary",
    "kinesis:GetRecords",
    "kinesis:GetShardIterator",
    "kinesis:ListShards",
)
_STARTS: dict[str, Start] = {"trim_horizon": "TRIM_HORIZON", "latest": "LATEST"}


def _stream(value: str) -> str:
    if value.startswith("arn:"):
        if not re.fullmatch(_ARN_PATTERN, value):
            raise InvalidError(
                f"{quoted(value)} is not the ARN of a stream",
                "write e.g. `arn:aws:kinesis:us-east-1:123456789012:stream/shop-cdc`",
            )
    elif not re.fullmatch(_STREAM_PATTERN, value):
        raise InvalidError(
            f"{quoted(value)} cannot be a stream's name",
            "a name has 1 to 128 letters, digits, `_`, `-` and `.`; in a pattern `*` and `?` stand for others",
        )
    return value


def _consumer(value: str) -> str:
    if not re.fullmatch(_CONSUMER_PATTERN, value):
        raise InvalidError(
            f"{quoted(value)} cannot be a consumer's name", "use 1 to 128 letters, digits, `_`, `-` and `.`"
        )
    return value


def _start(value: Any) -> Any:
    """Return the word, or the time in milliseconds since the epoch."""
    if isinstance(value, str) and value in _STARTS:
        return value
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    try:
        if re.fullmatch(_MOMENT_PATTERN, text):
            return parse_ms(text)
    except ValueError:
        pass
    raise InvalidError(
        f"must be trim_horizon, latest or a time, not {shown(value)}",
        "write a time as 2026-01-31T12:00:00Z or as milliseconds since the epoch",
    )


StreamPattern = Annotated[
    Text,
    AfterValidator(_stream),
    WithJsonSchema({"type": "string", "anyOf": [{"pattern": _STREAM_PATTERN}, {"pattern": _ARN_PATTERN}]}),
]
StartAt = Annotated[
    Literal["trim_horizon", "latest"] | int,
    BeforeValidator(_start),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": list(_STARTS)},
                {"type": "string", "pattern": _MOMENT_PATTERN},
                {"type": "integer", "minimum": 10_000_000_000},
            ]
        }
    ),
]


class KinesisSource(Source):
    """Kinesis Data Streams: which streams, what their records are, and what becomes of repeats and late changes."""

    type: Literal["kinesis"] = Field(description="The method that reads the changes.")
    streams: Annotated[tuple[StreamPattern, ...], BeforeValidator(as_tuple)] = Field(
        min_length=1,
        description="Streams to read: names, patterns in which `*` and `?` stand for other characters, or ARNs for "
        "streams of another account.",
        examples=[["shop-cdc"]],
    )
    records: Literal["auto", "dynamodb", "raw"] = Field(
        default="auto",
        description="What the records are: changes of DynamoDB tables (`dynamodb`; anything else becomes a dead "
        "letter), bytes to pass on as they are (`raw`), or whichever each record is (`auto`).",
    )
    start: StartAt = Field(
        default="trim_horizon",
        description="Where a stream begins that the pipeline has not read before: at the oldest record that it still "
        "holds, at the records written from now on, or at those that arrived from a time on (ISO 8601 or milliseconds "
        "since the epoch).",
        examples=["2026-01-31T12:00:00Z"],
    )
    late: Literal["flag", "reorder", "drop"] = Field(
        default="flag",
        description="What becomes of a change that arrives after a newer change of its item: it is published with a "
        "mark, brought into order if it arrives within `late_wait`, or left out.",
    )
    late_wait_ms: Annotated[int, duration("100ms", "1m")] = Field(
        default=as_written("2s"),
        alias="late_wait",
        description="How long `late: reorder` holds changes back; what arrives later still is marked.",
    )
    window_ms: Annotated[int, duration("1s", "24h")] = Field(
        default=as_written("10m"),
        alias="window",
        description="How far back repeats are looked for, by the records' arrival in the stream. So much is read again "
        "after a restart, without publishing it.",
    )
    fan_out: Literal["polling", "enhanced"] = Field(
        default="polling",
        description="Whether shards are polled, sharing 2 MB and 5 reads a second with other readers, or pushed to a "
        "registered consumer of its own (enhanced fan-out, which AWS bills).",
    )
    consumer: Annotated[Text, AfterValidator(_consumer)] | None = Field(
        default=None,
        description="Name of the registered consumer of `fan_out: enhanced`; it is registered if there is none.",
        examples=["tailrace-shop"],
        json_schema_extra={"pattern": _CONSUMER_PATTERN},
    )
    deaggregate: Flag = Field(
        default=True, description="Whether records that the Kinesis Producer Library aggregated are taken apart."
    )
    tables: Annotated[tuple[TablePattern, ...], BeforeValidator(as_tuple)] = Field(
        default=(),
        description="Tables whose changes are published, names and patterns; those of others are left out. Without "
        "it, all. Does not concern raw records.",
        examples=[["orders", "users-*"]],
    )
    exclude: Annotated[tuple[TablePattern, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="Tables whose changes are left out although `tables` matches them."
    )

    has_streams: ClassVar = True
    tables_path: ClassVar = ("source", "streams")
    examples: ClassVar = {"streams": "streams: [shop-cdc]"}

    @property
    def tables_read(self) -> tuple[TableEntry, ...]:
        """The entries of `streams`, by name."""
        return tuple(TableEntry(name_of(text), (*self.tables_path, index)) for index, text in enumerate(self.streams))

    @property
    def arns(self) -> dict[str, str]:
        """The ARNs of the streams that the file gives by ARN, by name."""
        return {name_of(text): text for text in self.streams if text.startswith("arn:")}

    @property
    def start_position(self) -> Start:
        """`start` as AWS calls it; a time is in `start_ms`."""
        return "TRIM_HORIZON" if isinstance(self.start, int) else _STARTS[self.start]

    @property
    def start_ms(self) -> int | None:
        """The time at which new streams begin, milliseconds since the epoch; None when `start` is none."""
        return self.start if isinstance(self.start, int) else None

    @property
    def summary(self) -> str:
        """How many streams or patterns are named."""
        return f"{len(self.streams)} stream pattern{'s' if len(self.streams) > 1 else ''}"

    @property
    def only_table(self) -> str | None:
        """The only table whose changes can be published, or the only stream, of raw records."""
        names = self.tables if self.records == "dynamodb" else ()
        if self.records == "raw":
            names = tuple(entry.text for entry in self.tables_read)
        return names[0] if len(names) == 1 and not is_pattern(names[0]) else None

    @property
    def carries_tables(self) -> bool:
        """Yes, unless all records are raw."""
        return self.carries_changes

    @property
    def carries_unnamed(self) -> bool:
        """Yes, where `tables` is left out or has patterns."""
        return self.carries_changes and (not self.tables or any(map(is_pattern, self.tables)))

    @property
    def carries_changes(self) -> bool:
        """Yes, unless all records are raw."""
        return self.records != "raw"

    @property
    def tables_published(self) -> tuple[str, ...]:
        """The entries of `tables`."""
        return self.tables

    @property
    def tables_unpublished(self) -> tuple[str, ...]:
        """The entries of `exclude`."""
        return self.exclude

    def publishes(self, table: str) -> bool:
        """Return whether the changes of a table are published, or the raw records of a stream of this name."""
        if any(fnmatchcase(table, each) for each in self.exclude):
            return False
        return not self.tables or any(fnmatchcase(table, each) for each in self.tables) or self.reads(table)

    def tables_of(self, entry: str) -> tuple[str, ...]:
        """Return the stream itself, of raw records; else the tables that `tables` names."""
        if self.records == "raw":
            return (entry,)
        return tuple(table for table in self.tables if not is_pattern(table) and self.publishes(table))

    @property
    def event_source(self) -> EventSource:
        """Source: https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-create.html#events-kinesis-permissions."""
        return EventSource(
            "Kinesis Data Streams",
            "Kinesis",
            "stream {table}",
            "the stream forgets them when its retention period is over",
            self.start_position if self.start_ms is None else "AT_TIMESTAMP",
            self.start_ms,
            (
                "kinesis:DescribeStream",
                *_READING,
            ),
            ("kinesis:ListStreams",),
            "^arn:aws[a-z-]*:kinesis:[a-z0-9-]+:[0-9]{12}:stream/{table}$",
            "aws kinesis describe-stream-summary --stream-name {table} --query StreamDescriptionSummary.StreamARN",
        )

    def rights(self, needed: RightsNeeded) -> Iterator[AwsRight]:
        """Yield what streams need, and the tables behind them."""
        names = [entry.text for entry in self.tables_read]
        by_name = dict(zip(names, arns("kinesis", self.region, [f"stream/{name}" for name in names]), strict=True))
        streams = tuple((by_name | self.arns).values())
        yield AwsRight("reading", _READING, streams)
        if any(entry.is_pattern for entry in self.tables_read):
            yield AwsRight("patterns in `streams`", ("kinesis:ListStreams",), ("*",))
        if self.consumer is not None:
            yield AwsRight("fan_out: enhanced", ("kinesis:RegisterStreamConsumer",), streams)
            consumers = tuple(f"{stream}/consumer/{self.consumer}:*" for stream in streams)
            yield AwsRight(
                "fan_out: enhanced", ("kinesis:DescribeStreamConsumer", "kinesis:SubscribeToShard"), consumers
            )
        tables = arns("dynamodb", self.region, [f"table/{each}" for each in self.tables or ("*",)])
        if needed.snapshots:
            yield AwsRight("snapshots", ("dynamodb:DescribeTable",), tables)
        yield from rights_to_read_tables(needed, tables)
        if needed.repairs and self.carries_unnamed:
            yield AwsRight("on_gap: resnapshot, tables not named", ("dynamodb:ListTables",), ("*",))
            yield AwsRight(
                "on_gap: resnapshot, tables not named", ("dynamodb:DescribeKinesisStreamingDestination",), tables
            )

    def missing_table(self, table: str) -> WorldError:
        """Return the error for a stream that does not exist."""
        return WorldError(
            f"there is no stream {table}",
            hint=f"create it: aws kinesis create-stream --stream-name {table} --stream-mode-details "
            "StreamMode=ON_DEMAND"
            + (f" --endpoint-url {self.endpoint_url}" if self.endpoint_url else "")
            + "; or correct the name, source.region or source.endpoint_url",
        )

    def missing_stream(self, table: str) -> WorldError:
        """Return the error for a stream that cannot be read yet."""
        return WorldError(f"stream {table} is being created", hint="try again when it is active")

    def sample_stream(self, table: str) -> str:
        """Return an ARN of a DynamoDB stream, of no account: samples are records of these."""
        return f"arn:aws:dynamodb:{self.region or 'us-east-1'}:000000000000:table/{table}/stream/1"

    @field_validator("streams")
    @classmethod
    def _one_account_each(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        arns = [text for text in value if text.startswith("arn:")]
        names = [name_of(text) for text in arns]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise InvalidError(
                f"names two streams {quoted(twice)} of different accounts or regions",
                "give each a pipeline of its own: topics are named after streams",
            )
        return value

    @model_validator(mode="after")
    def _agrees(self) -> KinesisSource:
        if self.fan_out == "enhanced" and self.consumer is None:
            raise InvalidError("has `fan_out: enhanced` without `consumer`", "add e.g. `consumer: tailrace-shop`")
        if self.fan_out == "polling" and self.consumer is not None:
            raise InvalidError("has `consumer` without `fan_out: enhanced`", "add it, or leave `consumer` out")
        if "late_wait_ms" in self.model_fields_set and self.late != "reorder":
            raise InvalidError("has `late_wait` without `late: reorder`", "add it, or leave `late_wait` out")
        if self.records == "raw" and (self.tables or self.exclude):
            raise InvalidError(
                "has `tables` or `exclude` with `records: raw`", "leave them out: raw records are of no table"
            )
        if self.region is not None:
            for arn in self.arns.values():
                if (region := arn.split(":")[3]) != self.region:
                    raise InvalidError(
                        f"reads {self.region} and names a stream of {region}", "give each region a pipeline of its own"
                    )
        return self


def name_of(text: str) -> str:
    """Return the name in a stream's ARN; names and patterns are returned as they are."""
    return text.rpartition(":stream/")[2]
