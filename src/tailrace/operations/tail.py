"""Follows topics as records are committed to them, without a consumer group that would stay behind.

`tail` follows those of a pipeline, `tail_topic` any one; `follow` is what both stand on.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from tailrace.config import LoadedPipeline, Pipeline
from tailrace.connect.registered_documents import AS_WRITTEN, RecordReader
from tailrace.errors import WorldError
from tailrace.formats import FORMATS
from tailrace.kafka import clients
from tailrace.kafka.topic_reader import TopicReader
from tailrace.kafka.watched_consumer import WatchedConsumer, passes
from tailrace.operations import preconditions
from tailrace.operations.record_view import RecordView, ShownOp, header_texts, view
from tailrace.wiring.pipeline import record_reader

_LOOK_S = 2.0
"""Time between two looks for new topics and partitions."""
_POLL_S = 0.2

Start = Literal["beginning", "end"] | int
"""Where to begin; a number is a time in milliseconds since the epoch: only records of that time or later."""


def tables_by_topic(pipeline: Pipeline) -> Callable[[str], str | None]:
    """Return the function that tells which table's changes a topic of the pipeline holds; None for other topics."""
    routed = [(template, step) for step in pipeline.transform if step.route for template in step.route.templates]
    matches = [_tables_of(pipeline, template, step.tables) for template, step in routed]
    matches.append(_tables_of(pipeline, pipeline.topic, ()))
    own = {pipeline.checkpoints_topic, pipeline.dead_letters_topic}

    def table_of(topic: str) -> str | None:
        if topic in own:
            return None
        return next((table for match in matches if (table := match(topic)) is not None), None)

    return table_of


def _tables_of(pipeline: Pipeline, template: str, tables: tuple[str, ...]) -> Callable[[str], str | None]:
    """Return the function that tells which table a topic of one template stands for."""
    text = re.escape(template.replace("{pipeline}", pipeline.name))
    for name in ("table", "stream"):
        first, *more = text.split(re.escape(f"{{{name}}}"))
        if more:
            text = f"{first}(?P<{name}>.+?){f'(?P={name})'.join(more)}"
    pattern = re.compile(text)
    only = tables[0] if tables else pipeline.source.only_table

    def table_of(topic: str) -> str | None:
        found = pattern.fullmatch(topic)
        if found is None:
            return None
        groups = found.groupdict()
        if "stream" in groups and not pipeline.source.reads(groups["stream"]):
            return None
        table = groups.get("table") or only or groups.get("stream")
        return table if table is not None and pipeline.source.publishes(table) else None

    return table_of


class Tailed(msgspec.Struct, frozen=True):
    """One committed record, and what it says."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, str]
    table: str
    """The table that it is of; the topic, where nothing tells."""
    view: RecordView


class Wanted:
    """Which records are meant. What is None asks for nothing."""

    def __init__(
        self, *, table: str | None = None, key: str | None = None, ops: Collection[ShownOp] | None = None
    ) -> None:
        """`*` and `?` stand for other characters of a table; a key holds the text `key`, or equals it as JSON."""
        self.table = table
        self._key_text = key
        self._key_object = _object(key)
        self._ops = ops

    def takes(self, record: RecordView, table: str) -> bool:
        """Return whether a record of `table` is meant."""
        if self._ops is not None and record.op not in self._ops:
            return False
        if self.table is not None and not fnmatchcase(table, self.table):
            return False
        if self._key_object is not None:
            return _object(record.key) == self._key_object
        return self._key_text is None or self._key_text in record.key


def _object(text: str | None) -> dict[str, Any] | None:
    """Read a JSON object with exact numbers; None for anything else."""
    try:
        value = json.loads(text or "", parse_float=Decimal, parse_int=Decimal)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _never() -> bool:
    return False


def _unheard(_topics: list[str]) -> None:
    """Hear nothing."""


def tail(
    loaded: LoadedPipeline,
    wanted: Wanted | None = None,
    *,
    start: Start = "end",
    until_ms: int | None = None,
    stopped: Callable[[], bool] = _never,
    found: Callable[[list[str]], None] = _unheard,
) -> Iterator[Tailed]:
    """Return the wanted records of a pipeline's topics, its dead letters among them; otherwise as `follow`.

    With `until_ms`, return those of that time or before that the topics hold now, and end. Raises WorldError when the
    pipeline does not exist or has no such table.
    """
    pipeline, wanted = loaded.pipeline, wanted or Wanted()
    preconditions.require_pipeline(pipeline, [wanted.table] if wanted.table else [])
    table_of = tables_by_topic(pipeline)
    null_is_delete = FORMATS[pipeline.format.type].null_is_delete
    reader = record_reader(pipeline)

    def is_ours(topic: str) -> bool:
        return topic == pipeline.dead_letters_topic or table_of(topic) is not None

    for message in _read(pipeline.kafka, is_ours, start, until_ms, stopped=stopped, found=found):
        record = _tailed(message, table_of, reader, null_is_delete=null_is_delete)
        if wanted.takes(record.view, record.table):
            yield record


def tail_topic(
    kafka: Mapping[str, str],
    topic: str,
    wanted: Wanted | None = None,
    *,
    start: Start = "end",
    until_ms: int | None = None,
    stopped: Callable[[], bool] = _never,
    found: Callable[[list[str]], None] = _unheard,
) -> Iterator[Tailed]:
    """Return the wanted records of one topic, otherwise as `tail`. Raises WorldError when it does not exist.

    A null value is a tombstone once the topic has shown a value that says itself what changed, else a delete.
    """
    require_topic(kafka, topic)
    wanted = wanted or Wanted()
    has_envelopes = False
    for message in _read(kafka, {topic}.__contains__, start, until_ms, stopped=stopped, found=found):
        record = _tailed(message, lambda _: None, AS_WRITTEN, null_is_delete=not has_envelopes)
        has_envelopes = has_envelopes or record.view.has_envelope
        if wanted.takes(record.view, record.table):
            yield record


def _tailed(
    message: Message, table_of: Callable[[str], str | None], reader: RecordReader, *, null_is_delete: bool
) -> Tailed:
    topic, headers = message.topic() or "", header_texts(message.headers())
    key, value = clients.as_bytes(message.key()), clients.as_bytes(message.value())
    key = None if key is None else reader.key(key)
    value = None if value is None else reader.value(value)
    shown = view(key, value, headers, null_is_delete=null_is_delete)
    return Tailed(
        topic,
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        key,
        value,
        headers,
        shown.table or table_of(topic) or topic,
        shown,
    )


def _read(
    kafka: Mapping[str, str],
    wanted: Callable[[str], bool],
    start: Start,
    until_ms: int | None,
    *,
    stopped: Callable[[], bool],
    found: Callable[[list[str]], None],
) -> Iterator[Message]:
    """Return the records from `start` on, as they come, or up to `until_ms` as far as they are there."""
    if until_ms is None:
        yield from follow(kafka, wanted, start, stopped, found)
        return
    if start == "end":
        return
    topics = sorted(filter(wanted, clients.metadata(clients.admin(kafka), kafka).topics))
    found(topics)
    since_ms = start if isinstance(start, int) else None
    for topic in topics:
        with TopicReader(kafka, topic, since_ms) as reader:
            for message in reader.read():
                if stopped():
                    return
                if (since_ms or 0) <= message.timestamp()[1] <= until_ms:
                    yield message


def follow(
    kafka: Mapping[str, str],
    wanted: Callable[[str], bool],
    start: Start,
    stopped: Callable[[], bool],
    found: Callable[[list[str]], None],
) -> Iterator[Message]:
    """Return the committed records of every wanted topic, as they come, until `stopped`.

    A topic or partition that appears later is read from its beginning: all in it is new. From a time on, a record of an
    earlier time is left out wherever it stands. `found` is told the topics of new partitions. Raises `WorldError` when
    Kafka cannot be reached or refuses.
    """
    consumer = WatchedConsumer(kafka, {"group.id": "tailrace-tail"}, "reader of the topics")
    assigned: set[tuple[str, int]] = set()
    first_look, look_at = True, time.monotonic()
    try:
        while not stopped():
            if time.monotonic() >= look_at:
                new = _partitions(consumer.client, wanted, first=first_look) - assigned
                if new:
                    consumer.assign(_starts(consumer.client, sorted(new), start if first_look else "beginning"))
                    found(sorted({topic for topic, _ in new}))
                assigned |= new
                first_look, look_at = False, time.monotonic() + _LOOK_S
            message = consumer.poll(_POLL_S)
            if message is None:
                continue
            if (error := message.error()) is None:
                if not isinstance(start, int) or message.timestamp()[1] >= start:
                    yield message
            elif not passes(error):
                raise clients.world_error(error, f"reading the topic {message.topic()}", kafka)
    except KafkaException as error:
        raise clients.world_error(error, "reading the topics", kafka) from error
    finally:
        consumer.close()


def _starts(consumer: Consumer, partitions: list[tuple[str, int]], start: Start) -> list[TopicPartition]:
    """Return where each partition is read from."""
    if not isinstance(start, int):
        offset = OFFSET_END if start == "end" else OFFSET_BEGINNING
        return [TopicPartition(*partition, offset) for partition in partitions]
    starts = []
    for partition in partitions:
        # Its end first: a record that comes meanwhile is read.
        bounds = consumer.get_watermark_offsets(TopicPartition(*partition), timeout=clients.REQUEST_TIMEOUT_S)
        if bounds is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        (at,) = consumer.offsets_for_times([TopicPartition(*partition, start)], timeout=clients.REQUEST_TIMEOUT_S)
        starts.append(TopicPartition(*partition, at.offset if at.offset >= 0 else bounds[1]))
    return starts


def _partitions(consumer: Consumer, wanted: Callable[[str], bool], *, first: bool) -> set[tuple[str, int]]:
    """List the partitions of the wanted topics. Later than at first a failure passes: there will be another look."""
    try:
        topics = consumer.list_topics(timeout=clients.REQUEST_TIMEOUT_S if first else _LOOK_S).topics
    except KafkaException:
        if first:
            raise
        return set()
    return {(name, partition) for name, topic in topics.items() if wanted(name) for partition in topic.partitions}


def require_topic(kafka: Mapping[str, str], topic: str) -> None:
    """Raise `WorldError` unless the topic exists."""
    if topic not in clients.metadata(clients.admin(kafka), kafka).topics:
        raise WorldError(f"the topic {topic} does not exist", hint="check its name, or give the pipeline file instead")
