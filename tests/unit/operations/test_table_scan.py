"""Tables are read in segments, slower when they throttle, and no thread outlives a failure."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, cast
from unittest.mock import patch

import pytest

from tailrace.aws.errors import RefusedRequestError
from tailrace.core.change import Origin
from tailrace.core.ports import ReadError, ReadFailure, Rows, SourceRecord, TableFacts
from tailrace.core.read_rate import ReadRate
from tailrace.operations import table_scan
from tailrace.operations.table_scan import SEGMENTS, TableScan

FACTS = TableFacts("orders", "arn", {"id": "S"}, 0, 0, None)


class Reader:
    """Pages of one item, three a segment; fails as it is told to."""

    def __init__(self, *failures: ReadFailure) -> None:
        self.failures = list(failures)
        self.calls = 0
        self._lock = threading.Lock()

    def scan(self, facts: TableFacts, segment: int, total: int, cursor: str | None, **_options: Any) -> Rows:
        with self._lock:
            self.calls += 1
            if self.failures:
                raise ReadError("no", self.failures.pop())
        place = int(cursor or 0)
        record = SourceRecord(Origin("orders", "", segment * 10 + place, b"{}"), None)
        return Rows([record], str(place + 1) if place < 2 else None, 0, 5.0)

    def get(self, facts: TableFacts, keys: Sequence[bytes], **_options: Any) -> Rows:
        self.calls += 1
        if b"bad" in keys:
            raise RefusedRequestError("no such key", ReadFailure.UNAVAILABLE)
        return Rows([SourceRecord(Origin("orders", "", 0, key), None) for key in keys], None, 0, 1.0)


def scan_of(reader: Reader, units_per_s: float = 1e9) -> TableScan:
    return TableScan(cast(Any, reader), FACTS, units_per_s)


@pytest.fixture(autouse=True)
def quick() -> Any:
    with patch.object(table_scan, "_BACKOFF_S", 0.001), patch.object(table_scan, "_HEARD_S", 0.01):
        yield


@pytest.mark.parametrize("failure", [ReadFailure.UNAVAILABLE, ReadFailure.THROTTLED])
def test_every_page_of_every_segment_is_read_once_also_after_failures(failure: ReadFailure) -> None:
    taken: list[int] = []
    scan = scan_of(Reader(failure, failure))

    def take(rows: Sequence[SourceRecord]) -> None:
        taken.extend(row.origin.created_ms for row in rows)

    with patch.object(ReadRate, "throttled"):
        scan.scan(take, lambda _items: None)
    assert sorted(taken) == [segment * 10 + place for segment in range(SEGMENTS) for place in range(3)]
    assert (scan.items, scan.read_units) == (3 * SEGMENTS, 15.0 * SEGMENTS)


def test_what_does_not_pass_ends_it() -> None:
    with pytest.raises(ReadError):
        scan_of(Reader(ReadFailure.DENIED)).scan(lambda _rows: None, lambda _items: None)


def test_a_failure_of_the_caller_ends_every_thread() -> None:
    reader = Reader()

    def fail(_rows: Sequence[SourceRecord]) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk"):
        scan_of(reader).scan(fail, lambda _items: None)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scan")]


def test_progress_that_raises_ends_it() -> None:
    def interrupt(_items: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan_of(Reader(), units_per_s=1).scan(lambda _rows: None, interrupt)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scan")]


def test_a_key_that_no_item_can_have_is_left_out_of_those_that_are_read() -> None:
    reader = Reader()
    found = scan_of(reader).get([b"one", b"bad", b"two"])
    assert ([record.origin.body for record in found], reader.calls) == ([b"one", b"two"], 4)
