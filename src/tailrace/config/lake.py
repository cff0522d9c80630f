"""The `lake` key: which data lake the topics go to, and how its files are cut."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from tailrace.config.fields import Endpoint, Part, Region, Role, TablePattern, Text, as_tuple, as_written
from tailrace.config.lake_columns import ColumnChoice, ColumnOptions
from tailrace.config.problem import InvalidError, quoted
from tailrace.config.property_maps import CatalogProperties
from tailrace.config.rights import AwsRight, partition_of
from tailrace.config.units import duration, size

TableKind = Literal["changes", "current"]
"""What is kept of a table: the log of its changes, or its present state."""

S3 = "s3://"
FOLDER = "file:///"
GCS = "gs://"
AZURE = ("abfs://", "abfss://")
_GLUE = tuple(
    f"glue:{action}" for action in ("GetDatabase", "CreateDatabase", "GetTable", "CreateTable", "UpdateTable")
)
_LOCATION_PATTERN = (
    r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?|gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/.*)?|"
    r"abfss?://[a-z0-9$][a-z0-9-]{1,62}@[a-z0-9][a-z0-9.-]*(/.*)?|file:///.+)$"
)
_FORMS = (
    "write `s3://bucket/prefix`, `gs://bucket/prefix`, `abfss://container@account.dfs.core.windows.net/prefix` or "
    "`file:///absolute/path`"
)
_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"
_PART_PATTERN = r"^((year|month|day|hour)\(__ts\)|[^()\s]+)$"


def _location(value: str) -> str:
    if not re.match(_LOCATION_PATTERN, value) or ".." in value.split("/"):
        raise InvalidError(f"{quoted(value)} is no location", _FORMS)
    return value.rstrip("/")


def _name(value: str) -> str:
    if not re.match(_NAME_PATTERN, value):
        raise InvalidError(
            f"{quoted(value)} is no name of a lake",
            "use up to 100 letters, digits, `_` and `-`, a letter or digit first",
        )
    return value


def _partition(value: str) -> str:
    if not re.match(_PART_PATTERN, value):
        raise InvalidError(
            f"{quoted(value)} is nothing to partition by",
            "write year(__ts), month(__ts), day(__ts) or hour(__ts), or the name of a column",
        )
    return value


Location = Annotated[Text, AfterValidator(_location), WithJsonSchema({"type": "string", "pattern": _LOCATION_PATTERN})]
LakeName = Annotated[Text, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": _NAME_PATTERN})]
PartitionText = Annotated[
    Text, AfterValidator(_partition), WithJsonSchema({"type": "string", "pattern": _PART_PATTERN})
]


class PartitionBy(NamedTuple):
    """By what the files of a table are kept apart."""

    column: str
    unit: Literal["year", "month", "day", "hour"] | None
    """The part of a time; None: the column's value."""

    @property
    def directory(self) -> str:
        """What the names of its directories begin with, before `=`; hardly a column of a table is called so.

        Hive, Spark and Flink take names that begin with an underscore for hidden.
        """
        return f"tailrace_ts_{self.unit}" if self.unit else f"tailrace_by_{self.column}"


class FileBounds(Part):
    """When a file is finished: at whichever bound is met first."""

    size_bytes: Annotated[int, size("64KiB", "4GiB")] = Field(
        default=as_written("128MiB"), alias="bytes", description="Wanted size of a file, as it is stored."
    )
    age_ms: Annotated[int, duration("1s", "24h")] = Field(
        default=as_written("5m"), alias="age", description="Longest wait of a change for its file to be finished."
    )


class CurrentBounds(Part):
    """How far the present state of tables may be behind."""

    lag_ms: Annotated[int, duration("1s", "24h")] = Field(
        default=as_written("1m"),
        alias="lag",
        description="Longest wait of a change to be merged. Each merge rewrites the files that hold a changed item.",
    )
    keep_ms: Annotated[int, duration("1m", "720h")] = Field(
        default=as_written("1h"),
        alias="keep",
        description="How long files that a merge has replaced remain for readers; of Parquet.",
    )


class Lake(Part):
    """A data lake that `tailrace lake` writes the topics to."""

    name: LakeName = Field(
        default="main", description="Its name, which tells it from other lakes of the file.", examples=["raw"]
    )
    location: Location = Field(
        description="Where its files are: a prefix of a bucket in S3, or in a store with the same conditional writes, "
        "in Google Cloud Storage or Azure, or a folder of this machine.",
        examples=["s3://analytics/shop", "gs://analytics/shop", "file:///srv/lake"],
    )
    format: Literal["parquet", "iceberg", "delta"] = Field(
        default="parquet", description="What its files are: Parquet alone, or tables of Apache Iceberg or Delta Lake."
    )
    engine: Literal["tailrace", "flink"] = Field(
        default="tailrace",
        description="What writes it: Tailrace itself, or a job of Apache Flink, which writes `changes` in Parquet from "
        "topics of the format debezium.",
    )
    tables: Annotated[tuple[TableKind, ...], Field(min_length=1), BeforeValidator(as_tuple)] = Field(
        default=("changes",),
        description="What is kept of a table: `changes`, the log of all of its changes, and `current`, its present "
        "state.",
        examples=[["changes", "current"]],
    )
    catalog: CatalogProperties | None = Field(
        default=None,
        description="The catalog of Iceberg tables: its `type`, `sql`, `glue` or `rest`, and properties of pyiceberg.",
        examples=[{"type": "glue"}, {"type": "rest", "uri": "https://catalog.example.com", "warehouse": "analytics"}],
    )
    current: CurrentBounds = Field(default=as_written({}), description="How far `current` tables may be behind.")
    partition_by: Annotated[tuple[PartitionText, ...], Field(max_length=4), BeforeValidator(as_tuple)] = Field(
        default=(),
        description="By what the files of a table are kept apart in directories: year, month, day or hour of `__ts`, "
        "or columns. It cannot change once there are files.",
        examples=[["day(__ts)"]],
    )
    columns: dict[TablePattern, dict[Text, ColumnChoice]] = Field(
        default={},
        description="What is declared of columns, by table and attribute: a type, a name, or that it is left out.",
        examples=[{"orders": {"price": "decimal(12, 2)", "note": {"drop": True}}}],
    )
    file: FileBounds = Field(default=as_written({}), description="When a file is finished.")
    endpoint_url: Endpoint | None = Field(
        default=None, description="Another endpoint of the store than its own.", examples=["http://localhost:9000"]
    )
    region: Region | None = Field(
        default=None, description="AWS region of the bucket. Without it AWS_REGION or the profile decides."
    )
    role_arn: Role | None = Field(default=None, description="Role to assume for writing to the bucket.")
    profile: Text | None = Field(
        default=None, min_length=1, description="Named profile of the AWS configuration files to take credentials from."
    )

    examples: ClassVar = {"location": "location: s3://bucket/prefix"}

    @property
    def partitions(self) -> tuple[PartitionBy, ...]:
        """What `partition_by` means."""
        found = (re.fullmatch(r"(year|month|day|hour)\((.+)\)", each) for each in self.partition_by)
        return tuple(
            PartitionBy(match[2], match[1]) if match else PartitionBy(text, None)  # type: ignore[arg-type]
            for match, text in zip(found, self.partition_by, strict=True)
        )

    def columns_of(self, table: str) -> Mapping[str, ColumnOptions]:
        """Return what is declared of a table's columns; of patterns the last counts."""
        found: dict[str, ColumnOptions] = {}
        for pattern, options in self.columns.items():
            if fnmatchcase(table, pattern):
                found |= options
        return found

    @property
    def aws_rights(self) -> tuple[AwsRight, ...]:
        """What AWS must allow."""
        if not self.location.startswith(S3):
            return ()
        bucket, _, prefix = self.location.removeprefix(S3).partition("/")
        arn = f"arn:{partition_of(self.region or '')}:s3:::{bucket}"
        objects = f"{arn}/{prefix}/*" if prefix else f"{arn}/*"
        has_copies = self.format == "parquet" and "current" in self.tables
        removes = ("s3:DeleteObject",) if self.format == "delta" or has_copies else ()
        return (
            *([AwsRight("lake.role_arn", ("sts:AssumeRole",), (self.role_arn,))] if self.role_arn else []),
            AwsRight("lake", ("s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", *removes), (objects,)),
            AwsRight("lake", ("s3:ListBucket",), (arn,)),
            *([AwsRight("lake.catalog", _GLUE, ("*",))] if self.catalog and self.catalog.get("type") == "glue" else []),
        )


def _as_lakes(value: Any) -> Any:
    """Accept one lake as a list of it."""
    return (value,) if isinstance(value, Mapping) else as_tuple(value)


class OneOrSeveral:
    """Makes the JSON Schema accept both forms."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        several = handler(schema)
        return {"anyOf": [several["items"], several]}


Lakes = Annotated[tuple[Lake, ...], BeforeValidator(_as_lakes), OneOrSeveral]
"""The lakes of a file, each of which is written on its own."""
