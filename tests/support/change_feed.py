"""Puts change records into a Kinesis stream as DynamoDB may: some of them twice, some behind later ones of an item."""

from __future__ import annotations

import random
from collections import deque
from typing import Any, Final
from uuid import UUID

from botocore.exceptions import ClientError

from support.waiting import wait_for
from tailrace.local.checker import Written, WrittenOp
from tailrace.local.dynamodb import REGION
from tailrace_simulator.change_records import Change, change_record, partition_key

REPEATED: Final = 0.05
DELAYED: Final = 0.05
_LAG_MAX: Final = 400
"""Records that may be put between a change's place in the order and itself, or its repeat."""
_PUT_MAX: Final = 500
"""The most that PutRecords takes."""


class ChangeFeed:
    """The changes of a table's items; a seed determines them, and which are repeated and delayed."""

    def __init__(self, kinesis: Any, stream: str, *, table: str, items: int, seed: int) -> None:
        self.history: list[Written] = []
        self.repeated = 0
        self._kinesis = kinesis
        self._stream = stream
        self._table = table
        self._random = random.Random(seed)
        self._versions = dict.fromkeys((f"item-{number}" for number in range(items)), 0)
        self._states: dict[str, dict[str, Any]] = {}
        self._created_us = 1_700_000_000_000_000
        self._sent = 0
        self._waiting: deque[tuple[int, dict[str, Any]]] = deque()
        """What is still to be put, and behind which record."""

    def put(self, changes: int) -> None:
        """Make so many changes, and put what is due of them and of those before."""
        due = []
        for _ in range(changes):
            due += self._made()
        self._put(due)

    def finish(self) -> None:
        """Put all that is still waiting."""
        self._put([record for _, record in self._waiting])
        self._waiting.clear()

    def _made(self) -> list[dict[str, Any]]:
        """Make a change; return what is to be put now."""
        draw = self._random
        change, created_us = self._change()
        entry = self._entry(change, created_us)
        self._sent += 1
        now = []
        if draw.random() < DELAYED:
            self._waiting.append((self._sent + draw.randint(1, _LAG_MAX), entry))
        else:
            now.append(entry)
        if draw.random() < REPEATED:
            self.repeated += 1
            self._waiting.append((self._sent + draw.randint(1, _LAG_MAX), self._entry(change, created_us)))
        now += [record for place, record in self._waiting if place <= self._sent]
        self._waiting = deque(each for each in self._waiting if each[0] > self._sent)
        return now

    def _change(self) -> tuple[Change, int]:
        """Let an item come, change or go."""
        name = self._random.choice(list(self._versions))
        version = self._versions[name] = self._versions[name] + 1
        self._created_us += self._random.randint(1, 1_000)
        before = self._states.pop(name, None)
        op: WrittenOp = "c" if before is None else "d" if self._random.random() < 0.2 else "u"
        after = None if op == "d" else {"id": {"S": name}, "version": {"N": str(version)}}
        if after is not None:
            self._states[name] = after
        self.history.append(Written(self._table, f'{{"id":"{name}"}}', op, version, self._created_us * 1_000))
        return Change(self._table, {"id": {"S": name}}, before, after, expired=False), self._created_us

    def _entry(self, change: Change, created_us: int) -> dict[str, Any]:
        """Return a record of the change, with an event id of its own."""
        event_id = str(UUID(int=self._random.getrandbits(128), version=4))
        data = change_record(change, created_us=created_us, event_id=event_id, region=REGION, precision="MICROSECOND")
        return {"Data": data, "PartitionKey": partition_key(change)}

    def _put(self, records: list[dict[str, Any]]) -> None:
        for first in range(0, len(records), _PUT_MAX):
            left = records[first : first + _PUT_MAX]

            def are_put() -> bool:
                nonlocal left
                try:
                    answers = self._kinesis.put_records(StreamName=self._stream, Records=left)["Records"]
                except ClientError:  # its shards are changing
                    return False
                left = [record for record, answer in zip(left, answers, strict=True) if "ErrorCode" in answer]
                return not left

            wait_for("the records are put", are_put)
