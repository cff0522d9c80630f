"""Changes of items for copies of tables: written to a topic in transactions, some aborted, and remembered."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from support.background_transactions import BackgroundTransactions
from support.kafka_clients import TIMEOUT_S
from support.stream_changes import stream_change
from tailrace.core.change import Change, Op
from tailrace.formats import make_format

ITEMS = 200


class ItemChanges(BackgroundTransactions):
    """Changes items; `items` is what a table would hold."""

    def __init__(self, kafka: dict[str, str], topic: str, table: str, seed: int) -> None:
        super().__init__(kafka, seed)
        self.items: dict[str, dict[str, Any]] = {}
        """DynamoDB JSON by id."""
        self.changes = 0
        self._topic = topic
        self._table = table
        self._format = make_format("dynamodb-json", pipeline="shop", numbers="exact")

    def transaction(self, records: int, *, commit: bool) -> None:
        """Change items, or try to."""
        made = dict(self.items)
        self._producer.begin_transaction()
        for _ in range(records):
            self.changes += 1
            name = f"item-{self._random.randrange(ITEMS)}"
            if self._random.random() < 0.3:
                made.pop(name, None)
                change = self.change("d", name, None)
            else:
                made[name] = item_of(name, self.changes)
                change = self.change("u", name, made[name])
            record = self._format.encode(change, 0)
            self._producer.produce(self._topic, record.value, record.key, timestamp=change.created_ms)
        self._producer.flush(TIMEOUT_S)  # an abort would purge what is still on its way
        if commit:
            self._producer.commit_transaction(TIMEOUT_S)
            self.items = made
        else:
            self._producer.abort_transaction(TIMEOUT_S)

    def put(self, *items: dict[str, Any]) -> None:
        """Write items as they are; they are not remembered."""
        self._producer.begin_transaction()
        for item in items:
            record = self._format.encode(self.change("u", item["id"]["S"], item), 0)
            self._producer.produce(self._topic, record.value, record.key)
        self._producer.commit_transaction(TIMEOUT_S)

    def change(self, op: Op, name: str, item: dict[str, Any] | None) -> Change:
        """Return a change as a stream brings it."""
        return stream_change(
            op,
            msgspec.json.encode({"id": {"S": name}}),
            None,
            msgspec.json.encode(item) if item is not None else None,
            created_ms=time.time_ns() // 1_000_000,
            table=self._table,
        )


def item_of(name: str, number: int) -> dict[str, Any]:
    """Return an item whose number says which of its states is newer, with what plain JSON loses."""
    return {
        "id": {"S": name},
        "n": {"N": str(number)},
        "tags": {"SS": ["a", f"t{number % 7}"]},
        "raw": {"B": "AAEC"},
        "ids": {"NS": [str(number % 5), "1.5"] if number % 5 else ["1.5"]},
    }
