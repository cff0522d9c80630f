"""Lists tables: all of them, and those that write their changes into a Kinesis stream.

Sources: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ListTables.html and
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DescribeKinesisStreamingDestination.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tailrace.aws.ask import Call, ask, ask_pages
from tailrace.aws.errors import Subject
from tailrace.aws.http import AwsClient
from tailrace.core.ports import ReadError, ReadFailure
from tailrace.sources.dynamodb.table_description import table_subject

_TABLES_MAX: Final = 100


class _TableNames(msgspec.Struct, rename="pascal"):
    table_names: list[Annotated[str, Meta(pattern=r"\A[a-zA-Z0-9_.-]{1,255}\Z")]]
    last_evaluated_table_name: str | None = None

    @property
    def last(self) -> str | None:
        return self.last_evaluated_table_name


class _Destination(msgspec.Struct, rename="pascal"):
    stream_arn: str


class _Destinations(msgspec.Struct, rename="pascal"):
    kinesis_data_stream_destinations: list[_Destination] = []


def list_tables(client: AwsClient, region: str, sleep: Callable[[float], None]) -> Iterator[str]:
    """Yield the names of all tables of the account and region. Raises `ReadError`."""
    call = Call(client, "ListTables", Subject(f"region {region}", "*"))
    for page in ask_pages(call, {"Limit": _TABLES_MAX}, "ExclusiveStartTableName", _TableNames, sleep):
        yield from page.table_names


def writes_to(client: AwsClient, table: str, stream_arn: str, region: str, sleep: Callable[[float], None]) -> bool:
    """Return whether a table writes its changes into a Kinesis stream, or has until lately. Raises `ReadError`."""
    call = Call(client, "DescribeKinesisStreamingDestination", table_subject(table, region))
    try:
        found = ask(call, {"TableName": table}, _Destinations, sleep)
    except ReadError as error:
        if error.failure is ReadFailure.GONE:  # it was deleted since it was listed
            return False
        raise
    return any(each.stream_arn == stream_arn for each in found.kinesis_data_stream_destinations)
