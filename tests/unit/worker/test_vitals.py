"""What shows that a worker works: reads that do not end, reads that fail for long."""

from __future__ import annotations

import threading
import time

import pytest

from support.lanes import shards_of_lane
from support.waiting import wait_for
from tailrace.core.ports import ReadFailure
from tailrace.worker import vitals
from tailrace.worker.vitals import Vitals
from tailrace.worker.worker_watch import sentence_of

SHARD = next(shards_of_lane(1))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads are overdue, and fail for too long, after a moment."""
    monkeypatch.setattr(vitals, "OVERDUE_S", 0.05)
    monkeypatch.setattr(vitals, "FAILING_S", 0.05)


def test_a_function_that_does_not_return_is_named_with_its_place() -> None:
    signs, returns = Vitals(), threading.Event()

    def never_returns() -> None:
        returns.wait()

    def read() -> None:
        under_way = signs.read_began(SHARD, "orders")
        under_way.converting = True
        never_returns()
        signs.read_succeeded()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        wait_for("the read is overdue", lambda: bool(signs.overdue()))
        (overdue,) = signs.overdue()
        assert (overdue.shard, overdue.converting) == (SHARD, True)
        assert sentence_of(overdue).startswith(
            f"table orders, shard {SHARD.shard_id}: converting a page of it has taken"
        )
    finally:
        returns.set()
        thread.join()
    assert signs.overdue() == []


def test_reads_fail_for_too_long_only_while_none_succeeds() -> None:
    signs = Vitals()

    def fail(failure: ReadFailure) -> None:
        signs.read_began(SHARD, "orders")
        signs.read_failed(failure, "GetRecords failed: no route to host; check the network")

    fail(ReadFailure.UNAVAILABLE)
    assert signs.reads_fail_why() is None
    wait_for("it has failed for too long", lambda: signs.reads_fail_why() is not None)
    assert str(signs.reads_fail_why()).endswith(" s: GetRecords failed: no route to host; check the network")
    signs.read_began(SHARD, "orders")
    signs.read_succeeded()
    assert signs.reads_fail_why() is None
    fail(ReadFailure.TRIMMED)
    time.sleep(0.1)
    assert signs.reads_fail_why() is None, "an answer about the shard shows that the source answers"
