"""What finding deletes needs of the topics and of the format, as models."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any
from unittest.mock import patch

import tailrace.snapshot.deletes
from simulation.broker import Broker, Entry
from simulation.clients import PARTITIONS
from simulation.simulated_time import sleep
from simulation.source import DELETED_WORD
from simulation.workers import encode
from tailrace.connect.registered_documents import RecordReader
from tailrace.core.change import Change, Message, Op
from tailrace.formats.format import Format, ReadRecord
from tailrace.formats.number import Numbers
from tailrace.snapshot.last_records import LastRecord

LOOK_MS = 100


class ModelFormat(Format):
    """The simplest of formats."""

    def __init__(self, *, pipeline: str, numbers: Numbers) -> None:
        """It needs nothing."""

    def encode(self, change: Change, now_ns: int) -> Message:
        return encode(change, now_ns)

    def delete_after(self, key: bytes, last: bytes, change: Change, now_ns: int) -> Message | None:
        return None if last.endswith(DELETED_WORD) else Message(key, b"%b %b" % (last, DELETED_WORD))

    @classmethod
    def read(cls, value: bytes) -> ReadRecord | None:
        op: Op | None = "d" if value.endswith(DELETED_WORD) else None
        return ReadRecord(op=op, table=None, stream=None, item=b"", position=None)


class ModelLastRecords:
    """The last record of each key of a topic, or of one partition of it (`snapshot.last_records.LastRecords`)."""

    def __init__(
        self,
        broker: Broker,
        rng: random.Random,
        _user: Mapping[str, str],
        topic: str,
        partition: int | None,
        is_alive: Callable[[bytes, bytes | None], bool | None],
        _reader: RecordReader,
    ) -> None:
        self._broker = broker
        self._rng = rng
        self._places = [(topic, each) for each in range(PARTITIONS) if partition in {None, each}]
        self._is_alive = is_alive
        self._last: dict[bytes, tuple[int, Entry]] = {}

    def catch_up(self) -> None:
        """Read on to the present end, past transactions that are open now."""
        ends = {place: self._broker.logs[place].next_offset for place in self._places}
        for place, end in ends.items():
            log = self._broker.logs[place]
            while log.last_stable_offset < end:
                sleep(LOOK_MS, "Catch up")
            sleep(self._rng.randint(1, 50), "Catch up")
            self._last |= {entry.message.key or b"": (place[1], entry) for entry in log.committed(0, end)[0]}

    def alive(self, first_offset: int, end_offset: int, limit: int) -> list[LastRecord]:
        found = [record for record in self._found(self._last) if first_offset <= record.offset < end_offset]
        return sorted(found, key=lambda record: record.offset)[:limit]

    def of_keys(self, keys: Iterable[bytes]) -> list[LastRecord]:
        return list(self._found(keys))

    def close(self) -> None:
        """Nothing to close."""

    def _found(self, keys: Iterable[bytes]) -> Iterator[LastRecord]:
        for key in keys:
            if key in self._last:
                partition, entry = self._last[key]
                if self._is_alive(key, entry.message.value):
                    yield LastRecord(key, entry.message.value or b"", partition, entry.offset)


@contextlib.contextmanager
def model_topics(broker: Broker, rng: random.Random) -> Iterator[None]:
    """Let deletes be found in the topics of the model, in which a record's key is the item's."""
    module: Any = tailrace.snapshot.deletes
    with (
        patch.object(module, "LastRecords", partial(ModelLastRecords, broker, rng)),
        patch.object(module, "key_attributes", lambda key, _types: key),
        patch.object(module, "DELETES_PER_CHUNK", 2),
    ):
        yield
