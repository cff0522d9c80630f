"""Makes the topics of the tables that are met in a stream's records before their page is answered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from tailrace.core.ports import ReadError, ReadFailure, ShardReader, SourcePage
from tailrace.core.shard import Position, ShardRef
from tailrace.errors import WorldError
from tailrace.process.host import Host

_MADE_FOR_S: Final = 30.0
"""How long a table's topics count as made: they may be deleted."""


class TopicsFirst(ShardReader):
    """Reads as the reader that it is given. Safe to call from many threads at once."""

    def __init__(self, reader: ShardReader, make_topics: Callable[[str, str], None], host: Host) -> None:
        """`make_topics` makes the topics of a table in a stream, unless they are there.

        It raises WorldError when it cannot.
        """
        self._reader = reader
        self._make_topics = make_topics
        self._host = host
        self._lock = threading.Lock()
        self._made_s: dict[tuple[str, str], float] = {}

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> SourcePage:
        """Read the next page. Raises `ReadError`, UNAVAILABLE also while a topic cannot be made."""
        page = self._reader.read(shard, position, iterator)
        for table in dict.fromkeys(record.origin.table for record in page.records if record.skipped is None):
            self._ensure(table, shard.stream)
        return page

    def _ensure(self, table: str, stream: str) -> None:
        now_s = self._host.monotonic_s()
        with self._lock:
            if now_s - self._made_s.get((table, stream), -_MADE_FOR_S) < _MADE_FOR_S:
                return
            try:
                self._make_topics(table, stream)
            except WorldError as error:
                raise ReadError(error.message, ReadFailure.UNAVAILABLE, hint=error.hint) from error
            self._made_s[table, stream] = now_s
