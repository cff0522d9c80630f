"""What a worker's watch makes of what it sees: readiness, and the lines of the log."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar, cast

import pytest

from support.checkpoints import table, view_of
from support.lanes import NOW_MS, page, shards_of_lane
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.lane_messages import Transaction
from tailrace.core.lane_report import LaneReport, ShardReport
from tailrace.core.ports import ReadFailure
from tailrace.errors import WorldError
from tailrace.worker import vitals
from tailrace.worker.metrics import Metrics
from tailrace.worker.vitals import Vitals
from tailrace.worker.worker import Worker
from tailrace.worker.worker_watch import WorkerWatch

SHARD = next(shards_of_lane(1))
_T = TypeVar("_T")


class StandIn:
    """What the watch asks of a worker and of its parts."""

    def __init__(self) -> None:
        self.vitals = Vitals()
        self.checkpoint_state = view_of(4, table("orders"), table("users", state="off"))
        self.phase = "ready"
        self.kafka_fault = ""

    def report(self) -> list[LaneReport]:
        return [LaneReport(1, "active", 0, (ShardReport(SHARD, "orders", self.phase, NOW_MS - 1_500),))]

    def now_ms(self) -> int:
        return NOW_MS

    def unready_why(self) -> str | None:
        return "lanes [1] are not taken yet"

    def ask(self, question: Callable[[CheckpointState], _T]) -> Future[_T]:
        answer: Future[_T] = Future()
        answer.set_result(question(self.checkpoint_state))
        return answer

    def ping_kafka(self, timeout_s: float) -> None:
        if self.kafka_fault:
            raise WorldError(self.kafka_fault, hint="start it")

    def topics_of(self, table: str) -> list[str]:
        return [f"shop.{table}"]


@pytest.fixture
def worker() -> StandIn:
    return StandIn()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("shop", "shop.dead-letters", transcoder="pure")


@pytest.fixture
def watch(worker: StandIn, metrics: Metrics) -> WorkerWatch:
    return WorkerWatch(cast("Worker", worker), metrics, worker)


def test_what_is_outside_comes_before_what_follows_from_it(
    worker: StandIn, watch: WorkerWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vitals, "FAILING_S", 0.0)
    assert watch.unready_why() == "lanes [1] are not taken yet"
    worker.vitals.read_failed(ReadFailure.DENIED, "GetRecords was refused")
    time.sleep(0.001)
    assert str(watch.unready_why()).endswith(" s: GetRecords was refused")
    worker.phase = "paused"
    assert watch.unready_why() == "lanes [1] are not taken yet", "there is no shard to read"
    worker.vitals.read_began(SHARD, "orders")
    monkeypatch.setattr(vitals, "OVERDUE_S", -1.0)
    assert str(watch.unready_why()).startswith(f"table orders, shard {SHARD.shard_id}: a read of it has taken")
    worker.kafka_fault = "nobody is there"
    watch.ping_kafka()
    assert watch.unready_why() == "Kafka does not answer: nobody is there; start it"


def test_kafka_is_logged_when_it_goes_and_when_it_comes(
    worker: StandIn, watch: WorkerWatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tailrace.worker")
    for fault in ("", "gone", "gone", "", ""):
        worker.kafka_fault = fault
        watch.ping_kafka()
        assert (worker.vitals.kafka_fault is not None) == bool(fault)
    assert [(line.levelname, line.message) for line in caplog.records] == [
        ("ERROR", "Kafka does not answer"),
        ("INFO", "Kafka answers again"),
    ]


def test_an_overdue_read_is_logged_once_for_each_time_that_as_long_has_passed(
    worker: StandIn, watch: WorkerWatch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(vitals, "OVERDUE_S", 60.0)
    read = worker.vitals.read_began(SHARD, "orders")
    for for_s in (30, 61, 62, 121, 122):
        read.started_s = time.monotonic() - for_s
        watch.log_overdue()
    assert [(line.message, vars(line)["table"]) for line in caplog.records] == [("read overdue", "orders")] * 2


def test_a_table_is_logged_with_its_topic_once_while_it_streams(
    worker: StandIn, watch: WorkerWatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tailrace.worker")
    watch.log_tables()
    watch.log_tables()
    worker.checkpoint_state = view_of(4, table("orders"), table("users"))
    watch.log_tables()
    logged = [(line.message, vars(line)["table"], vars(line)["topic"]) for line in caplog.records]
    assert logged == [("streaming", "orders", "shop.orders"), ("streaming", "users", "shop.users")]


def test_progress_counts_what_was_done_since_the_last_line(
    watch: WorkerWatch, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tailrace.worker")
    metrics.committed(Transaction((page(SHARD, 1, 2),), ()), 0.1, 0)
    watch.log_summary()
    watch.log_summary()
    first, second = map(vars, caplog.records)
    assert (first["message"], first["changes"], first["lag_s"], first["slowest"]) == ("progress", 2, 1.5, "orders")
    assert (first["tables"], first["shards"], first["lanes"]) == (1, 1, 1)
    assert second["changes"] == 0
