"""What every redrive does: converts source records again, compares them with the topics, publishes what is missing.

All redrives of a pipeline share the transactional id `<name>.redrive`: one that begins to publish fences any other and
ends what that left open. Only then does it read what was published: nothing can be committed behind its back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, Self

import msgspec
from confluent_kafka import Message

from tailrace import formats
from tailrace.config import Pipeline
from tailrace.convert.converter import documented
from tailrace.core.page import Page
from tailrace.core.ports import SourcePage
from tailrace.core.redrive import Published, SourcePosition
from tailrace.core.shard import ShardRef, is_sequence_number
from tailrace.errors import WorldError
from tailrace.kafka import clients, headers
from tailrace.kafka.topic_reader import TopicReader
from tailrace.operations.publisher import Publisher
from tailrace.operations.record_view import header_texts
from tailrace.remedy import RedriveAgain
from tailrace.wiring.pipeline import (
    make_converter,
    make_documents,
    record_reader,
    shard_suffix,
    topics_met,
)
from tailrace.wiring.sources import decode_again
from tailrace.wiring.transformations import Transformations

AGAIN: Final = RedriveAgain()
CREATED_MARGIN_MS: Final = 60_000
"""Creation times are rounded, and may go back within an item: topics are read from so much earlier."""

Outcome = Literal["published", "dropped", "present", "superseded", "skipped", "failed", "lost"]
"""What becomes of a change: `dropped` by the transformation, `present` in its topic already, `superseded` by a newer
change of its key and left out, `skipped` because it repeats another or is late, `failed` to be converted or published
again, `lost`: it cannot be read any more."""


class Redriven(msgspec.Struct, frozen=True):
    """What became of one change, or would become of it."""

    table: str
    shard: str
    sequence: str
    outcome: Outcome
    stage: str = ""
    """Of a dead letter, where it had failed; of one that fails again, where it does now. Connect's name; empty when its
    record cannot be read again."""
    exception: str = ""
    reason: str = ""
    partition: int | None = None
    """Where the dead letter stands in its topic."""
    offset: int | None = None


class Report(msgspec.Struct):
    """What a redrive has done, or with `dry_run` would do."""

    pipeline: str
    dry_run: bool
    changes: list[Redriven] = []
    lost: list[str] = []
    """Sentences about ranges that cannot be read any more."""
    refused: list[str] = []
    """Sentences about messages that are not what they should be."""

    @property
    def is_whole(self) -> bool:
        """Nothing failed, nothing is lost, every message was understood."""
        return not (self.lost or self.refused or any(one.outcome in {"failed", "lost"} for one in self.changes))


class Converted(msgspec.Struct, frozen=True):
    """What is made of one record of the source now: records to publish, none when it is dropped, or a dead letter."""

    page: Page
    letter: Mapping[str, str] | None = None
    """The headers of the dead letter, when it fails."""


class Republisher(Publisher):
    """A context manager for one redrive."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Find the user's functions. Raises WorldError."""
        super().__init__(pipeline, "redrive", AGAIN)
        self._converter = make_converter(pipeline, Transformations(pipeline), always_set_aside=True, as_json=True)
        self._documents = make_documents(pipeline)

    def decode(self, shard: ShardRef, body: bytes) -> SourcePage:
        """Decode an answer of GetRecords or a Lambda event. Raises ReadError."""
        return decode_again(self.pipeline, shard, body)

    def convert(self, shard: ShardRef, source: SourcePage) -> Converted:
        """Convert the one record of a page again, with the headers of a redrive. Raises WorldError for a bad topic."""
        table = source.records[0].origin.table
        if not self.pipeline.source.publishes(table):
            raise WorldError(f"the file leaves table {table} out", hint=f"see {self.pipeline.source.tables_key}")
        topics_met(self.pipeline, table, shard.stream)
        page = self._converter.convert(shard, source, time.time_ns())
        if page.records and page.records[0].is_dead_letter:
            return Converted(page, header_texts(page.records[0].headers))
        records = [headers.marked(headers.REDRIVEN, shard, record) for record in page.records]
        return Converted(msgspec.structs.replace(page, records=records))

    def commit(self, pages: tuple[Page, ...]) -> None:
        """Publish pages in one transaction, as `Publisher.commit`: until here their records are compared as JSON."""
        if self._documents is not None:
            pages = tuple(documented(page, self._documents) for page in pages)
        super().commit(pages)

    def fence_shards(self, shards: Iterable[ShardRef]) -> None:
        """Fence the functions that serve `shards`: what a frozen one left open is never committed. Raises WorldError.

        One that works on a later batch just now has it delivered again.
        """
        for shard in shards:
            self._open(shard_suffix(shard)).close()


class TopicsOfChanges:
    """Reads the topics that records are to be published to, and goes on reading them. A context manager."""

    def __init__(self, republisher: Republisher, topics: Iterable[str], since_ms: int) -> None:
        kafka = republisher.pipeline.kafka
        since_ms = max(0, since_ms - CREATED_MARGIN_MS)
        self._readers = {topic: TopicReader(kafka, topic, since_ms) for topic in republisher.existing(topics)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        for reader in self._readers.values():
            reader.close()

    def read(self, visit: Callable[[str, Message], None]) -> None:
        """Show `visit` what was committed since the last call."""
        for topic, reader in self._readers.items():
            for message in reader.read():
                visit(topic, message)


def compare(published: Published, pipeline: Pipeline) -> Callable[[str, Message], None]:
    """Return what takes the records of topics into `published`. A tombstone tells nothing that its delete does not."""
    null_is_delete = formats.FORMATS[pipeline.format.type].null_is_delete
    reader = record_reader(pipeline)

    def visit(topic: str, message: Message) -> None:
        key, value = clients.as_bytes(message.key()), clients.as_bytes(message.value())
        key = None if key is None else reader.key(key)
        value = None if value is None else reader.value(value)
        if published.wants(topic, key) and (value is not None or null_is_delete):
            replayed = headers.is_replayed(message)
            published.add(topic, key, value, position_of(message, value), message.timestamp()[1], replayed=replayed)

    return visit


def position_of(message: Message, value: bytes | None) -> SourcePosition | None:
    """Return which change a record is of: a marked one says it in its headers, others in the value, or not at all.

    `value` is its value as JSON.
    """
    texts = header_texts(message.headers())
    if not texts.keys().isdisjoint({headers.REDRIVEN, headers.REPLAYED}) and is_sequence_number(
        sequence := texts.get(headers.SEQUENCE, "")
    ):
        stream, shard = texts.get(headers.STREAM, ""), texts.get(headers.SHARD, "")
        return SourcePosition(stream, shard, int(sequence), message.timestamp()[1])
    found = None if value is None else formats.read(value)
    return None if found is None else found.position
