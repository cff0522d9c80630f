"""What a worker reports before it runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from tailrace.core.lane_options import LaneOptions
from tailrace.sources.dynamodb.policy import POLICY
from tailrace.worker.observer import Observer
from tailrace.worker.worker import Worker, WorkerParts


def test_a_worker_that_still_prepares_its_topics_is_healthy_and_not_ready() -> None:
    parts = SimpleNamespace(
        lane_count=8, lane_options=LaneOptions(source=POLICY), reader_count=0, reader=None, converter=None
    )
    worker = Worker(cast(WorkerParts, parts), cast(Observer, None))
    assert worker.report() == []
    assert worker.unhealthy_why() is None
    assert worker.unready_why() == "it has not joined the group yet"
