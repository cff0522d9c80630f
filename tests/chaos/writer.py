"""Writes batches of changes to the simulator: a few hot items and a long tail, each change told before it is made.

No fault meets a write, so that each is made exactly once, in the order of its item.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from bisect import bisect
from collections.abc import Callable, Sequence
from typing import Any

import urllib3

from tailrace.local.checker import WrittenOp

BATCH = 25
"""Writes that BatchWriteItem takes at most."""
ZIPF = 1.0
"""The item of rank n is changed n to this power times less often than the first."""
_DELETES = 0.15
_CATCH_UP_S = 2.0
"""How far it may lag behind its rate before it forgets what it owes."""
_REST_S = 0.5
_TEXTS = ("", "short", "a longer text " * 8, "long " * 300)

HOT = 800
"""Items, those that are changed most, that the tables hold before their streams begin."""
QUIET = 600
"""Items of each table that it holds before its stream begins, and that nobody changes."""
_QUIET_TEXT = "quiet " * 500

Told = Callable[[str, str, WrittenOp, int], None]
"""Called with table, key, op and version of a change, before it is made."""


class _Item:
    def __init__(self, table: str, name: str) -> None:
        self.table = table
        self.id = name
        self.key = json.dumps({"id": self.id}, separators=(",", ":"))
        self.version = 0
        self.exists = False


class Writer:
    """Makes `changes` changes at `rate` a second, in a thread; rests while `must_rest`."""

    def __init__(
        self,
        endpoint_url: str,
        tables: Sequence[str],
        *,
        seed: int,
        items: int,
        changes: int,
        rate: float,
        told: Told,
        must_rest: Callable[[], bool],
    ) -> None:
        self.made = 0
        self.rested_s = 0.0
        self.error: Exception | None = None
        """What ended it early."""
        self._items = [_Item(tables[number % len(tables)], f"item-{number}") for number in range(items)]
        self._quiet = [_Item(table, f"quiet-{number}") for table in tables for number in range(QUIET)]
        self._weights = list(itertools.accumulate(1 / rank**ZIPF for rank in range(1, items + 1)))
        self._random = random.Random(f"{seed}/writer")
        self._changes = changes
        self._rate = rate
        self._told = told
        self._must_rest = must_rest
        self._endpoint_url = endpoint_url
        self._http = urllib3.PoolManager(timeout=30, retries=False)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    @property
    def ended(self) -> bool:
        """Whether it makes no more changes."""
        return not self._thread.is_alive()

    @property
    def hottest(self) -> int:
        """Changes of the item that was changed most."""
        return max(item.version for item in self._items)

    @property
    def quiet(self) -> frozenset[tuple[str, str]]:
        """The items that nobody changes, by table and key."""
        return frozenset((item.table, item.key) for item in self._quiet)

    def load(self, loaded: Callable[[str, str, int], None]) -> None:
        """Write what the tables hold before their streams begin; call `loaded` with table, key and version of each."""
        items = [*self._items[:HOT], *self._quiet]
        for at in range(0, len(items), BATCH):
            requests: dict[str, list[dict[str, Any]]] = {}
            for item in items[at : at + BATCH]:
                item.version, item.exists = 1, True
                loaded(item.table, item.key, item.version)
                requests.setdefault(item.table, []).append(self._put(item, _QUIET_TEXT))
            self._send(requests)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Make no more changes; those under way are made."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        next_s = time.monotonic()
        try:
            while self.made < self._changes and not self._stopping.wait(max(0.0, next_s - time.monotonic())):
                if self._must_rest():
                    self.rested_s += _REST_S
                    next_s = time.monotonic() + _REST_S
                    continue
                count = min(BATCH, self._changes - self.made)
                self._write(count)
                self.made += count
                next_s = max(next_s + count / self._rate, time.monotonic() - _CATCH_UP_S)
        except Exception as error:  # told by whoever looks
            self.error = error

    def _write(self, count: int) -> None:
        chosen: dict[int, _Item] = {}
        while len(chosen) < count:
            number = bisect(self._weights, self._random.random() * self._weights[-1])
            chosen.setdefault(number, self._items[number])
        requests: dict[str, list[dict[str, Any]]] = {}
        for item in chosen.values():
            requests.setdefault(item.table, []).append(self._change(item))
        self._send(requests)

    def _send(self, requests: dict[str, list[dict[str, Any]]]) -> None:
        answer = self._http.request(
            "POST",
            self._endpoint_url,
            body=json.dumps({"RequestItems": requests}).encode(),
            headers={"X-Amz-Target": "DynamoDB_20120810.BatchWriteItem", "Authorization": "any"},
        )
        if answer.status != 200:
            raise RuntimeError(f"the simulator refused a batch: {answer.data.decode(errors='replace')}")

    def _change(self, item: _Item) -> dict[str, Any]:
        op: WrittenOp = "c" if not item.exists else "d" if self._random.random() < _DELETES else "u"
        item.version += 1
        item.exists = op != "d"
        self._told(item.table, item.key, op, item.version)
        if op == "d":
            return {"DeleteRequest": {"Key": {"id": {"S": item.id}}}}
        return self._put(item, self._random.choice(_TEXTS))

    def _put(self, item: _Item, text: str) -> dict[str, Any]:
        written: dict[str, Any] = {
            "id": {"S": item.id},
            "version": {"N": str(item.version)},
            "written_ns": {"N": str(time.time_ns())},
            "amount": {"N": f"{self._random.randrange(10_000)}.{self._random.randrange(100):02}"},
            "text": {"S": text},
        }
        return {"PutRequest": {"Item": written}}
