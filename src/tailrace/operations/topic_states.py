"""The states that a table's topics show, read to their ends and on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Final, Self

import msgspec

from tailrace.config import Pipeline
from tailrace.formats.item_state import ItemStates
from tailrace.kafka import clients
from tailrace.kafka.topic_reader import TopicReader
from tailrace.wiring.pipeline import record_reader

_HEARD_RECORDS: Final = 5_000
"""How often progress is reported."""


class TopicState(msgspec.Struct, frozen=True):
    """What one record shows."""

    key: bytes
    topic: int
    """Its number."""
    state: bytes
    created_ms: int
    """The record's timestamp: when the change was made, or the row was read."""


class TopicStates:
    """Reads the topics of one table. A context manager; for one thread."""

    def __init__(self, pipeline: Pipeline, topics: Sequence[str]) -> None:
        """Begin at the beginning."""
        self._pipeline = pipeline
        self._topics = list(topics)
        self._reader = record_reader(pipeline)
        self._opened = ExitStack()
        self._readers: dict[int, TopicReader] = {}
        self.records = 0

    def __enter__(self) -> Self:
        there = clients.metadata(clients.admin(self._pipeline.kafka), self._pipeline.kafka).topics
        for number, topic in enumerate(self._topics):
            if topic in there:
                self._readers[number] = self._opened.enter_context(TopicReader(self._pipeline.kafka, topic))
        return self

    def __exit__(self, *_failure: object) -> None:
        self._opened.close()

    def read(self, states: ItemStates, heard: Callable[[int], None]) -> Iterator[TopicState]:
        """Yield what was committed since the last call, in the order of each key; `heard` gets the number of records.

        Raises WorldError.
        """
        for number, reader in self._readers.items():
            for message in reader.read():
                self.records += 1
                if self.records % _HEARD_RECORDS == 0:
                    heard(self.records)
                key, value = clients.as_bytes(message.key()), clients.as_bytes(message.value())
                if key is None:
                    continue  # no change: whatever wrote it, no item has no key
                state = states.of(None if value is None else self._reader.value(value))
                yield TopicState(self._reader.key(key), number, state, max(0, message.timestamp()[1]))
