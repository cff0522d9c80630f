"""`python -m benchmarks.verify_run KEYS`: compares a made-up table with a made-up topic; prints CPU and memory as JSON.

Table and topic are made in this process, page by page; what is measured converts, spills and compares as
`tailrace verify` does.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec

from benchmarks.measure import Measured, peak_memory_mb
from tailrace.config import from_flags
from tailrace.core.change import Change, Origin
from tailrace.core.ports import Rows, SourceRecord, TableFacts
from tailrace.formats.item_state import ItemStates
from tailrace.operations.progress import unheard
from tailrace.operations.published_items import PublishedItems
from tailrace.operations.table_comparison import TableComparison
from tailrace.operations.table_scan import TableScan
from tailrace.operations.topic_states import TopicState
from tailrace.wiring.pipeline import make_converter
from tailrace.wiring.transformations import Transformations

_PAGE_ITEMS = 4_000
_ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/orders"


class _Made:
    """A table, its topic, and no changes in flight."""

    def __init__(self, keys: int) -> None:
        self._keys = keys
        pipeline = from_flags(["orders"], "localhost:9092", region="us-east-1", name="shop").pipeline
        self._converter = make_converter(pipeline, Transformations(pipeline))
        self.published = PublishedItems(
            pipeline, TableFacts("orders", _ARN, {"id": "S"}, keys, 0, None), self._converter, keeps_keys=True
        )

    def scan(self, _facts: TableFacts, segment: int, total: int, cursor: str | None, **_options: Any) -> Rows:
        begin = int(cursor) if cursor else self._keys * segment // total
        segment_end = self._keys * (segment + 1) // total
        end = min(begin + _PAGE_ITEMS, segment_end)
        return Rows([_row(number) for number in range(begin, end)], str(end) if end < segment_end else None, 0, 0.0)

    def read(self, states: ItemStates, _heard: Callable[[int], None]) -> Iterator[TopicState]:
        for begin in range(0, self._keys, _PAGE_ITEMS):
            rows = [_row(number) for number in range(begin, min(begin + _PAGE_ITEMS, self._keys))]
            for item in self.published.of(rows):
                for (key, topic), state in item.states.items():
                    yield TopicState(key, topic, state, 1)


class _Pending:
    def await_delivery(self) -> None:
        """Every change has come into the stream: there are none."""

    def read(self, _take: object) -> dict[Any, str]:
        return {}

    def wait_published(self, _ends: object, _timeout_s: float) -> bool:
        return True

    def is_served(self) -> bool:
        return True


def _row(number: int) -> SourceRecord:
    keys = b'{"id":{"S":"order-%012d"}}' % number
    item = b'{"id":{"S":"order-%012d"},"total":{"N":"%d.5"},"state":{"S":"open"}}' % (number, number)
    change = Change(
        op="r",
        table="orders",
        keys=keys,
        before=None,
        after=item,
        created_ms=1,
        event_id="",
        sequence="",
        shard_id="",
        stream_arn=_ARN,
        region="us-east-1",
        view_type="NEW_AND_OLD_IMAGES",
    )
    return SourceRecord(Origin("orders", "", 1, item), change)


def main() -> None:
    """Compare as many keys as the command line says."""
    keys = int(sys.argv[1])
    made = _Made(keys)
    reader = cast(Any, made)
    with tempfile.TemporaryDirectory() as folder:
        compared = TableComparison(
            made.published,
            scan=TableScan(reader, made.published.facts, 1e9),
            pending=cast(Any, _Pending()),
            topics=reader,
            folder=Path(folder),
            progress=unheard,
        )
        begun_s = time.process_time()
        compared.run(timeout_s=60)
        cpu_s = time.process_time() - begun_s
    assert compared.counts["equal"] == keys, compared.counts
    sys.stdout.write(msgspec.json.encode(Measured(keys, cpu_s, peak_memory_mb())).decode())


if __name__ == "__main__":
    main()
