"""Kinesis Data Streams as a service of AWS."""

from __future__ import annotations

from typing import Final

from tailrace.aws.service import Service
from tailrace.core.ports import ReadFailure

KINESIS: Final = Service(
    name="Kinesis",
    endpoint_name="kinesis",
    signing_name="kinesis",
    action_prefix="kinesis",
    target="Kinesis_20131202",
    json_version="1.1",
    hints={
        ReadFailure.EXPIRED: "another iterator is needed",
        ReadFailure.TRIMMED: "raise the stream's retention",
        ReadFailure.GONE: "create the stream, or correct source.streams, source.region or source.endpoint_url",
        ReadFailure.THROTTLED: "a shard allows five reads and 2 MB a second to all readers together: let fewer "
        "read it, or set source.fan_out to enhanced",
    },
)
