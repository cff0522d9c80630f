"""What a stream is at this moment: created when, and how long it keeps its records."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tailrace.aws.ask import Call, ask
from tailrace.aws.errors import Subject, broken
from tailrace.aws.http import AwsClient
from tailrace.aws.pace import Pace
from tailrace.core.ports import ReadError, ReadFailure
from tailrace.sources.kinesis import stream_ref
from tailrace.sources.kinesis.policy import HOUR_MS
from tailrace.sources.kinesis.stream_ref import StreamRef

_CALLS_PER_SECOND: Final = 10
"""Half of what AWS allows an account."""
_KEPT_S: Final = 5.0
"""How old a description may be: a stream takes longer to be deleted and created again."""
_READABLE: Final = {"ACTIVE", "UPDATING"}

_Seconds = Annotated[float, Meta(ge=0, le=9_223_372_036)]


class _Summary(msgspec.Struct, rename="pascal"):
    stream_name: str
    stream_a_r_n: str = msgspec.field(name="StreamARN")
    stream_status: str
    retention_period_hours: Annotated[int, Meta(ge=1, le=100_000)]
    stream_creation_timestamp: _Seconds


class _Answer(msgspec.Struct, rename="pascal"):
    stream_description_summary: _Summary


class Description(msgspec.Struct, frozen=True):
    """A stream that can be read."""

    ref: StreamRef
    retention_ms: int


class Descriptions:
    """Describes streams, and remembers it for some seconds. Safe to call from many threads at once."""

    def __init__(
        self,
        client: AwsClient,
        region: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._region = region
        self._clock = clock
        self._sleep = sleep
        self._pace = Pace(_CALLS_PER_SECOND, clock, sleep)
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Description]] = {}

    def of(self, name_or_arn: str) -> Description:
        """Describe a stream now. Raises `ReadError`: GONE when there is none, UNAVAILABLE while it is created."""
        is_arn = name_or_arn.startswith("arn:")
        arn = name_or_arn if is_arn else f"arn:aws:kinesis:{self._region}:*:stream/{name_or_arn}"
        subject = Subject(f"stream {name_or_arn.rpartition('/')[2]}", arn)
        call = Call(self._client, "DescribeStreamSummary", subject, self._pace)
        request = {"StreamARN" if is_arn else "StreamName": name_or_arn}
        found = ask(call, request, _Answer, self._sleep).stream_description_summary
        if found.stream_status == "DELETING":
            raise ReadError(f"{subject.words} is being deleted", ReadFailure.GONE)
        if found.stream_status not in _READABLE:
            raise ReadError(
                f"{subject.words} is not active yet: {found.stream_status}",
                ReadFailure.UNAVAILABLE,
                hint="it is tried again",
            )
        ref = stream_ref.of(found.stream_a_r_n, round(found.stream_creation_timestamp * 1000))
        if ref is None or found.stream_a_r_n != name_or_arn != ref.name:
            raise broken(call.operation, subject, f"it describes {found.stream_a_r_n}")
        description = Description(ref, found.retention_period_hours * HOUR_MS)
        with self._lock:
            self._known[ref.arn] = self._clock(), description
        return description

    def check(self, stream: StreamRef) -> Description:
        """Return the description of a stream. Raises `ReadError`, GONE when it was deleted, or is another now."""
        with self._lock:
            at_s, known = self._known.get(stream.arn, (0.0, None))
        if known is None or self._clock() - at_s > _KEPT_S:
            known = self.of(stream.arn)
        if known.ref.created_ms != stream.created_ms:
            raise ReadError(
                f"stream {stream.name} was deleted and created again",
                ReadFailure.GONE,
                hint="what was in the former stream is lost",
            )
        return known
