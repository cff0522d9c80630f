"""What makes records of an answer of GetRecords: pure Python (`stream_record`) or the native transcoder."""

from __future__ import annotations

from typing import Protocol

from tailrace.core.ports import SourcePage
from tailrace.core.shard import ShardRef


class PageDecoder(Protocol):
    """Decodes the body of an answer of GetRecords. Safe to call from many threads at once."""

    def __call__(self, body: bytes, *, shard: ShardRef, table: str, region: str) -> SourcePage:
        """Return its records in their order. Raises `ReadError` when the answer as a whole cannot be understood."""
        ...
