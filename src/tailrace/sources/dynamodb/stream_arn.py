"""The ARN of a DynamoDB stream, taken apart: its table's, `arn:aws:dynamodb:REGION:ACCOUNT:table/NAME`, and a label.

The label follows as `/stream/LABEL`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from tailrace.core.ports import ReadError, ReadFailure
from tailrace.errors import excerpt

_TABLE: Final = re.compile(r"arn:[^:]*:dynamodb:(?P<region>[^:/]*):[^:/]*:table/(?P<table>[a-zA-Z0-9_.-]+)")
_STREAM: Final = re.compile(rf"{_TABLE.pattern}/stream/[^/\s]+")


class StreamArn(NamedTuple):
    """What a stream's ARN says."""

    table: str
    region: str


@lru_cache(maxsize=1024)
def parse(stream_arn: str) -> StreamArn:
    """Take an ARN apart; the label may hold colons. Raises `ReadError` GONE for anything else."""
    found = _STREAM.fullmatch(stream_arn)
    if found is None:
        raise ReadError(
            f"{excerpt(stream_arn)!r} is not the ARN of a DynamoDB stream",
            ReadFailure.GONE,
            hint="it looks like arn:aws:dynamodb:REGION:ACCOUNT:table/NAME/stream/LABEL",
        )
    return StreamArn(**found.groupdict())


def is_stream_of(arn: str, table: str) -> bool:
    """Return whether an ARN names a stream of `table`."""
    found = _STREAM.fullmatch(arn)
    return found is not None and found["table"] == table


def is_table(arn: str, table: str) -> bool:
    """Return whether an ARN names `table` itself."""
    found = _TABLE.fullmatch(arn)
    return found is not None and found["table"] == table


def table_of(arn: str) -> str | None:
    """Return the table that an ARN names, or a stream of it; None for anything else."""
    found = _TABLE.fullmatch(arn) or _STREAM.fullmatch(arn)
    return None if found is None else found["table"]
