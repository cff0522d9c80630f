"""Reads the changes that a workload made from the topics of the format `debezium`, committed ones only.

Records of a replay are repetitions and are left out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Self

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from tailrace.core.change import Op
from tailrace.errors import WorldError
from tailrace.kafka import clients, headers
from tailrace.local.checker import FoundChange, FoundOp
from tailrace.operations.tail import follow

_READ_TIMEOUT_S = 60.0


class _Image(msgspec.Struct):
    version: int | None = None
    written_ns: int | None = None


class _Place(msgspec.Struct):
    table: str


class _Envelope(msgspec.Struct):
    op: Op
    source: _Place
    before: _Image | None
    after: _Image | None


# Not strict: with `numbers: string` a version is a string.
_decode = msgspec.json.Decoder(_Envelope, strict=False).decode


class Interpreter:
    """Makes `FoundChange`s of records; a tombstone belongs to the table of the last record with its key."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str | None, bytes | None], str] = {}

    def __call__(self, message: Message, seen_ns: int) -> FoundChange:
        """Interpret one record of a table's topic, seen at `seen_ns`."""
        key, value = message.key(), message.value()
        item = message.topic(), key
        op: FoundOp = "tombstone"
        version = written_ns = None
        if value is not None:
            envelope = _decode(value)
            op, version = envelope.op, _version(envelope)
            written_ns = envelope.after.written_ns if envelope.after else None
            self._tables[item] = envelope.source.table
        return FoundChange(
            table=self._tables.get(item, ""),
            key=(key or b"").decode(),
            op=op,
            version=version,
            topic=message.topic() or "",
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            seen_ns=seen_ns,
            written_ns=written_ns,
            snapshot=_snapshot(message),
            late=(headers.LATE, b"true") in (message.headers() or ()),
        )


def _snapshot(message: Message) -> str | None:
    """Return the id of the snapshot that published a record."""
    values = [header[1] for header in message.headers() or () if header[0] == headers.SNAPSHOT]
    value = clients.as_bytes(values[0]) if values else None
    return None if value is None else value.decode()


def _version(envelope: _Envelope) -> int | None:
    """Return the version that the change made: that of the new image, or the one after that of the old image."""
    if envelope.after is not None and envelope.after.version is not None:
        return envelope.after.version
    if envelope.before is not None and envelope.before.version is not None:
        return envelope.before.version + 1
    return None


def read_committed(kafka: Mapping[str, str], topics: Collection[str]) -> list[FoundChange]:
    """Read the topics from their beginning to their end as of this call; a topic that does not exist holds nothing.

    Raises WorldError when Kafka does not answer.
    """
    own = {
        "group.id": "tailrace-checker",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
    }
    consumer = clients.consumer(kafka, own)
    interpret = Interpreter()
    found: list[FoundChange] = []
    try:
        known = consumer.list_topics(timeout=clients.REQUEST_TIMEOUT_S).topics
        ahead = {(topic, partition) for topic in topics if topic in known for partition in known[topic].partitions}
        consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in ahead])
        deadline_s = time.monotonic() + _READ_TIMEOUT_S
        while ahead:
            message = consumer.poll(1.0)
            if message is None:
                if time.monotonic() > deadline_s:
                    raise WorldError(f"the end of {sorted(ahead)} was not reached in {_READ_TIMEOUT_S:.0f} s")
                continue
            error = message.error()
            if error is None:
                if not headers.is_replayed(message):
                    found.append(interpret(message, time.time_ns()))
            elif error.code() == KafkaError._PARTITION_EOF:
                ahead.discard((message.topic() or "", message.partition()))
            elif not error.retriable():
                raise clients.world_error(error, f"reading the topic {message.topic()}", kafka)
    except KafkaException as error:
        raise clients.world_error(error, "reading the topics", kafka) from error
    finally:
        consumer.close()
    return found


class LiveReader:
    """Follows topics in a thread of its own, and keeps each change with the time at which it was seen.

    A context manager. `on_change` is called in that thread. A topic that is not there yet is taken up when it is.
    """

    def __init__(
        self,
        kafka: Mapping[str, str],
        topics: Collection[str],
        on_change: Callable[[FoundChange, Message], None] = lambda _change, _message: None,
    ) -> None:
        self.found: list[FoundChange] = []
        self.follows_all = threading.Event()
        """Set when every topic was found: what is written from then on is seen at once."""
        self._kafka = kafka
        self._topics = frozenset(topics)
        self._followed: set[str] = set()
        self._on_change = on_change
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live reader", daemon=True)
        self._error: WorldError | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop following."""
        self._stopping.set()
        self._thread.join()

    def check(self) -> None:
        """Raise the WorldError for which the reader had to give up, if there is one."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        interpret = Interpreter()
        try:
            for message in follow(
                self._kafka, self._topics.__contains__, "beginning", self._stopping.is_set, self._take_up
            ):
                if headers.is_replayed(message):
                    continue
                change = interpret(message, time.time_ns())
                self.found.append(change)
                self._on_change(change, message)
        except WorldError as error:
            self._error = error

    def _take_up(self, topics: list[str]) -> None:
        self._followed.update(topics)
        if self._followed == self._topics:
            self.follows_all.set()
