"""DescribeTable: what a table is.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TableDescription.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from tailrace.aws.ask import Call, ask
from tailrace.aws.errors import Subject, broken
from tailrace.aws.http import AwsClient
from tailrace.core.change import ViewType

ACTIVE: Final = "ACTIVE"
"""The status of a table that may be changed."""


class StreamSpecification(msgspec.Struct, rename="pascal"):
    """Whether the table has a stream, and what its records carry."""

    stream_enabled: bool = False
    stream_view_type: ViewType | None = None


class KeyElement(msgspec.Struct, rename="pascal"):
    """A key attribute."""

    attribute_name: str


class AttributeDefinition(msgspec.Struct, rename="pascal"):
    """The type of an attribute that is part of a key, of the table or of an index."""

    attribute_name: str
    attribute_type: str


class ProvisionedThroughput(msgspec.Struct, rename="pascal"):
    """What the table may use; 0 when it is on-demand."""

    read_capacity_units: int = 0


class BillingModeSummary(msgspec.Struct, rename="pascal"):
    """Absent from a table that was always provisioned."""

    billing_mode: str = "PROVISIONED"


class WarmThroughput(msgspec.Struct, rename="pascal"):
    """What the table is ready for at once."""

    read_units_per_second: int | None = None


class TableDescription(msgspec.Struct, rename="pascal"):
    """The fields that anyone here needs."""

    table_name: str
    table_status: str = ACTIVE
    table_arn: str = ""
    key_schema: list[KeyElement] = []
    """The partition key first."""
    attribute_definitions: list[AttributeDefinition] = []
    item_count: int = 0
    table_size_bytes: int = 0
    provisioned_throughput: ProvisionedThroughput | None = None
    billing_mode_summary: BillingModeSummary | None = None
    warm_throughput: WarmThroughput | None = None
    latest_stream_arn: str | None = None
    stream_specification: StreamSpecification | None = None


class UpdatedTable(msgspec.Struct, rename="pascal"):
    """The answer of UpdateTable."""

    table_description: TableDescription


class _Answer(msgspec.Struct, rename="pascal"):
    table: TableDescription


def describe_table(client: AwsClient, table: str, region: str, sleep: Callable[[float], None]) -> TableDescription:
    """Describe a table. Raises `ReadError`, GONE when there is none."""
    call = Call(client, "DescribeTable", table_subject(table, region))
    found = ask(call, {"TableName": table}, _Answer, sleep).table
    if found.table_name != table:
        raise broken(call.operation, call.subject, f"it describes the table {found.table_name}")
    return found


def table_subject(table: str, region: str) -> Subject:
    """Return what calls about a table name in their errors."""
    return Subject(f"table {table}", f"arn:aws:dynamodb:{region}:*:table/{table}")
