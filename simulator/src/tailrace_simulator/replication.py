"""DynamoDB as a writer to Kinesis: which streams a table's changes go to, when and how often they arrive. Pure.

As AWS documents, a change record may come more than once, and later than the records of later changes.
Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/kds.html
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from uuid import UUID

from tailrace_simulator.change_records import Change, Precision, change_record, partition_key
from tailrace_simulator.faults import REPLICATION, Fault, Faults
from tailrace_simulator.kinesis.account import Account
from tailrace_simulator.kinesis.service import reshard
from tailrace_simulator.kinesis.streams import Stream
from tailrace_simulator.settings import Settings


@dataclass
class Destination:
    """A Kinesis stream that a table's changes go to, or went to."""

    stream_arn: str
    precision: Precision | None
    is_active: bool = True


@dataclass(order=True)
class _Delivery:
    """A record on its way."""

    due_ms: float
    number: int
    table: str = field(compare=False)
    stream: Stream = field(compare=False)
    key: str = field(compare=False)
    data: bytes = field(compare=False)
    created_us: int | None = field(compare=False)
    """None for a repeat."""


class Replication:
    """Puts the changes of tables into Kinesis streams."""

    def __init__(self, account: Account, faults: Faults, settings: Settings, *, region: str, seed: int) -> None:
        self.failed: Counter[str] = Counter()
        """Change records that no stream took, by table: too large, or the stream is gone."""
        self.overtaken: Counter[str] = Counter()
        """Changes, by table, that came into a stream after a newer change of their item; repeats do not count."""
        self._account = account
        self._faults = faults
        self._settings = settings
        self._region = region
        self._random = random.Random(f"{seed}/replication")
        self._created_us = 0
        self._numbers = itertools.count()
        self._newest_us: dict[tuple[str, str], int] = {}
        """When the newest change of each item was made that came into a stream, by stream and partition key."""
        self._under_way: list[_Delivery] = []

    def send(self, change: Change, destinations: Iterable[Destination], now_ms: int) -> None:
        """Send a change that was made now to every active destination."""
        self._created_us = max(now_ms * 1000 + self._random.randrange(1000), self._created_us + 1)
        for destination in destinations:
            if destination.is_active:
                self._send(change, destination, now_ms)
        self.deliver(now_ms)

    def deliver(self, now_ms: int) -> None:
        """Put what is due by now."""
        while self._under_way and self._under_way[0].due_ms <= now_ms:
            delivery = heapq.heappop(self._under_way)
            if self._account.streams.get(delivery.stream.name) is delivery.stream:
                delivery.stream.put(delivery.key, delivery.data, now_ms)
                self._see_order(delivery)
            else:
                self.failed[delivery.table] += 1

    def _send(self, change: Change, destination: Destination, now_ms: int) -> None:
        stream = self._account.streams.get(destination.stream_arn.rpartition("/")[2])
        decision = self._faults.decide(REPLICATION, change.table, change.table)
        data = self._record(change, destination)
        key = partition_key(change)
        if stream is None or len(data) + len(key) > stream.record_kib * 1024:
            self.failed[change.table] += 1
            return
        reshard(stream, decision, now_ms)
        rng = decision.random
        due_ms = now_ms + (rng.uniform(0, self._settings.delay_s * 1000) if Fault.DELAY in decision.faults else 0)
        first = _Delivery(due_ms, next(self._numbers), change.table, stream, key, data, self._created_us)
        heapq.heappush(self._under_way, first)
        if Fault.REPEAT in decision.faults:
            again_ms = due_ms + rng.uniform(0, self._settings.repeat_s * 1000)
            if rng.random() < 0.5:
                data = self._record(change, destination)
            again = replace(first, due_ms=again_ms, number=next(self._numbers), data=data, created_us=None)
            heapq.heappush(self._under_way, again)

    def _record(self, change: Change, destination: Destination) -> bytes:
        """Encode a change, with an eventID of its own; AWS does not say in which order it lists the keys."""
        names = self._random.sample(list(change.keys), len(change.keys))
        return change_record(
            change._replace(keys={name: change.keys[name] for name in names}),
            created_us=self._created_us,
            event_id=str(UUID(int=self._random.getrandbits(128), version=4)),
            region=self._region,
            precision=destination.precision,
        )

    def _see_order(self, delivery: _Delivery) -> None:
        if delivery.created_us is None:
            return
        item = delivery.stream.name, delivery.key
        newest_us = self._newest_us.get(item, 0)
        self.overtaken[delivery.table] += delivery.created_us < newest_us
        self._newest_us[item] = max(newest_us, delivery.created_us)
