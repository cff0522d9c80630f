"""The `replica` key: where copies of the tables are kept, and how they are written."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, Strict, WithJsonSchema

from tailrace.config.fields import Endpoint, Part, Region, Role, TablePattern, Text, Whole, as_written
from tailrace.config.problem import InvalidError, quoted
from tailrace.config.rights import AwsRight
from tailrace.config.transform import ConditionText, Steps
from tailrace.config.units import duration

_TABLE: re.Pattern[str] = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_WRITES = ("PutItem", "DeleteItem", "UpdateItem", "DescribeTable", "DescribeTimeToLive")


def _target(value: str) -> str:
    if not _TABLE.fullmatch(value.replace("{table}", "xxx")):
        raise InvalidError(f"{quoted(value)} cannot name a table", "write e.g. `{table}-dr`")
    return value


def _control_table(value: str) -> str:
    if not _TABLE.fullmatch(value):
        raise InvalidError(f"{quoted(value)} cannot name a table", "use 3 to 255 letters, digits, `_`, `-` and `.`")
    return value


def _as_mapping(value: Any) -> Any:
    """Accept one template for all tables."""
    return {"*": value} if isinstance(value, str) else value


TargetName = Annotated[Text, AfterValidator(_target)]
Targets = Annotated[
    dict[TablePattern, TargetName],
    Field(min_length=1),
    BeforeValidator(_as_mapping),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}]}),
]


class Replica(Part):
    """Copies of the tables that `tailrace replicate` keeps in another account or region."""

    region: Region | None = Field(
        default=None, description="AWS region of the copies. Without it AWS_REGION or the profile decides."
    )
    role_arn: Role | None = Field(default=None, description="Role to assume for writing, of the copies' account.")
    external_id: Annotated[SecretStr, Strict(False)] | None = Field(
        default=None,
        min_length=2,
        max_length=1224,
        description="External id that the role's trust policy asks for. Needs `role_arn`.",
    )
    profile: Text | None = Field(
        default=None, min_length=1, description="Named profile of the AWS configuration files to take credentials from."
    )
    endpoint_url: Endpoint | None = Field(
        default=None, description="Another endpoint than AWS's own.", examples=["http://localhost:8001"]
    )
    tables: Targets = Field(
        default=as_written({"*": "{table}"}),
        description="Names of the copies: one with `{table}` in it, or one for each table or pattern, of which the "
        "last that matches counts. A table that none matches has no copy.",
        examples=["{table}-dr", {"orders": "orders-eu"}],
    )
    write: Literal["version", "transaction"] = Field(
        default="version",
        description="How an older state is kept from following a newer one: each item has an attribute with its "
        "version, or items and position are written in one transaction, at twice the cost.",
    )
    version_attribute: Annotated[Text, Field(min_length=1, max_length=255)] = Field(
        default="tailrace_version", description="The attribute with the version, with `write: version`."
    )
    keep_deleted_ms: Annotated[int, duration("1h", "2160h")] = Field(
        default=as_written("168h"),
        alias="keep_deleted",
        description="How long the key and version of a deleted item stay, with `write: version`.",
    )
    control_table: Annotated[Text, AfterValidator(_control_table)] | None = Field(
        default=None,
        description="Table beside the copies that says how far they are; it is made when there is none. Without it, "
        "`<name>-replica`.",
    )
    write_capacity: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None,
        description="Write capacity units a second that a process may use. Without it, as much as is not throttled.",
    )
    delay_ms: Annotated[int, duration("0s", "168h")] = Field(
        default=as_written("0s"),
        alias="delay",
        description="How old a change must be before it is written, to have time to stop after a mistake.",
    )
    filter: ConditionText | None = Field(
        default=None,
        description="JMESPath expression over the change; an item for which it is not true is not in the copy.",
        examples=["item.status != 'draft'"],
    )
    transform: Steps = Field(
        default=(), description="Steps that items go through on their way to the copy, as those of `transform`."
    )

    def target_of(self, table: str) -> str | None:
        """Return the name of a table's copy; None when it has none."""
        found = [target for pattern, target in self.tables.items() if fnmatchcase(table, pattern)]
        return found[-1].replace("{table}", table) if found else None

    def control_table_of(self, pipeline: str) -> str:
        """Return the name of the control table."""
        return self.control_table or f"{pipeline}-replica"

    @property
    def is_elsewhere(self) -> bool:
        """Whether anything says that the copies are not where the tables are."""
        return any((self.region, self.role_arn, self.profile, self.endpoint_url))

    def aws_rights(self, pipeline: str) -> tuple[AwsRight, ...]:
        """Return what AWS must allow, of the copies' account."""
        region = self.region or "*"

        def arn(table: str) -> str:
            return f"arn:aws:dynamodb:{region}:*:table/{table}"

        copies = tuple(dict.fromkeys(arn(each.replace("{table}", "*")) for each in self.tables.values()))
        needed = tuple(f"dynamodb:{each}" for each in _WRITES)
        control = ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DescribeTable")
        return (
            *([AwsRight("replica.role_arn", ("sts:AssumeRole",), (self.role_arn,))] if self.role_arn else []),
            AwsRight("replica", needed, copies),
            AwsRight("replica", (*control, "dynamodb:CreateTable"), (arn(self.control_table_of(pipeline)),)),
        )
