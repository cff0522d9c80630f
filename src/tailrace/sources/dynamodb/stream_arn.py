"""The ARN of a DynamoDB stream, taken apart: `arn:aws:dynamodb:REGION:ACCOUNT:table/NAME/stream/LABEL`."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from tailrace.core.ports import ReadError, ReadFailure
from tailrace.errors import excerpt

_ARN: Final = re.compile(
    r"arn:[^:]*:dynamodb:(?P<region>[^:/]*):[^:/]*:table/(?P<table>[a-zA-Z0-9_.-]+)/stream/[^/\s]+"
)


class StreamArn(NamedTuple):
    """What a stream's ARN says."""

    table: str
    region: str


@lru_cache(maxsize=1024)
def parse(stream_arn: str) -> StreamArn:
    """Take an ARN apart; the label may hold colons. Raises `ReadError` GONE for anything else."""
    found = _ARN.fullmatch(stream_arn)
    if found is None:
        raise ReadError(
            f"{excerpt(stream_arn)!r} is not the ARN of a DynamoDB stream",
            ReadFailure.GONE,
            hint="it looks like arn:aws:dynamodb:REGION:ACCOUNT:table/NAME/stream/LABEL",
        )
    return StreamArn(**found.groupdict())


def is_stream_of(stream_arn: str, table: str) -> bool:
    """Return whether an ARN names a stream of `table`."""
    try:
        return table_of(stream_arn) == table
    except ReadError:
        return False


def table_of(stream_arn: str) -> str:
    """Return the table of a stream. Raises `ReadError` GONE."""
    return parse(stream_arn).table
