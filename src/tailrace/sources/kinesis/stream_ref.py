"""What a pipeline calls a stream: its ARN and, behind it, when it was created.

A stream that is deleted and created again has the same ARN, and its shards the same ids. The creation time tells the
two apart: `arn:aws:kinesis:REGION:ACCOUNT:stream/NAME/MILLISECONDS`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from tailrace.core.ports import ReadError, ReadFailure
from tailrace.errors import excerpt

_REF: Final = re.compile(
    r"(?P<arn>arn:[^:]*:kinesis:(?P<region>[^:/]*):[^:/]*:stream/(?P<name>[a-zA-Z0-9_.-]{1,128}))/(?P<created>[0-9]{1,16})"
)


class StreamRef(NamedTuple):
    """A stream, taken apart."""

    arn: str
    region: str
    name: str
    created_ms: int

    @property
    def text(self) -> str:
        """What `parse` takes apart."""
        return f"{self.arn}/{self.created_ms}"


@lru_cache(maxsize=1024)
def parse(stream: str) -> StreamRef:
    """Take a stream's text apart. Raises `ReadError` GONE for anything else."""
    found = _REF.fullmatch(stream)
    if found is None:
        raise ReadError(
            f"{excerpt(stream)!r} is not a stream of Kinesis",
            ReadFailure.GONE,
            hint="it looks like arn:aws:kinesis:REGION:ACCOUNT:stream/NAME/CREATED",
        )
    return StreamRef(found["arn"], found["region"], found["name"], int(found["created"]))


def is_ref(stream: str) -> bool:
    """Return whether a text is a stream of Kinesis."""
    return _REF.fullmatch(stream) is not None


def of(arn: str, created_ms: int) -> StreamRef | None:
    """Return the stream with an ARN that was created at a time; None when the ARN is not a stream's."""
    found = _REF.fullmatch(f"{arn}/{created_ms}")
    return None if found is None else StreamRef(found["arn"], found["region"], found["name"], created_ms)
