"""What a worker counts and logs of its snapshots."""

from __future__ import annotations

import logging

import pytest
from prometheus_client import CollectorRegistry

from tailrace.core.checkpoint import (
    SegmentKey,
    SegmentRecord,
    SegmentRef,
    SnapshotControl,
    SnapshotControlKey,
    SnapshotKey,
    SnapshotRecord,
)
from tailrace.core.ports import ReadFailure
from tailrace.core.snapshot_state import SnapshotState
from tailrace.snapshot.observer import (
    SnapshotNotice,
    SnapshotNoticeKind,
    SnapshotObserver,
    SnapshotReport,
    reports_of,
)
from tailrace.worker.snapshot_metrics import SnapshotMetrics

LANES = 4


def test_what_is_published_is_counted_by_table() -> None:
    registry = CollectorRegistry()
    observer: SnapshotObserver = SnapshotMetrics(registry)
    for _ in range(2):
        observer.chunk_published("orders", rows=10, stale=2, deletes=1, size_bytes=900, read_units=1.5, seconds=0.2)
    observer.chunk_aborted("orders", 2)
    observer.read_failed("orders", ReadFailure.THROTTLED, 0.1)
    names = ("rows", "stale_rows", "deletes", "bytes", "read_capacity_units", "chunks_aborted")
    counted = [registry.get_sample_value(f"tailrace_snapshot_{name}_total", {"table": "orders"}) for name in names]
    assert counted == [20, 4, 2, 1800, 3, 1]
    labels = {"table": "orders", "reason": "throttled"}
    assert registry.get_sample_value("tailrace_snapshot_read_failures_total", labels) == 1
    assert registry.get_sample_value("tailrace_snapshot_chunk_duration_seconds_count") == 2


def test_the_gauges_show_the_moment_of_the_scrape() -> None:
    registry = CollectorRegistry()
    reports = [SnapshotReport("orders", is_running=True, segments={"running": 3, "failed": 1})]
    SnapshotMetrics(registry).watch(lambda: reports)

    def seen() -> tuple[float | None, ...]:
        active = registry.get_sample_value("tailrace_snapshot_active", {"table": "orders"})
        states = ("running", "done", "failed")
        return active, *(
            registry.get_sample_value("tailrace_snapshot_segments", {"table": "orders", "state": state})
            for state in states
        )

    assert seen() == (1, 3, None, 1)
    reports[0] = SnapshotReport("orders", is_running=False, segments={"done": 4})
    assert seen() == (0, None, 4, None)


def test_a_worker_reports_the_segments_of_each_snapshot() -> None:
    state = SnapshotState(LANES)
    for number in range(40):
        ref = SegmentRef("orders", "s1", str(number))
        record = SegmentRecord(table="orders", state="done" if number % 2 else "running", at_ms=1)
        state.apply(ref.lane(LANES), SegmentKey(ref), record)
    state.apply(0, SnapshotKey("orders"), SnapshotRecord(id="s1", source="scan", reason="manual", segments=40, at_ms=1))
    assert reports_of(state) == [SnapshotReport("orders", is_running=True, segments={"running": 20, "done": 20})]
    state.apply(0, SnapshotControlKey("orders"), SnapshotControl(id="s1", order="pause", at_ms=2))
    assert not reports_of(state)[0].is_running


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        (SnapshotNoticeKind.STARTED, logging.INFO),
        (SnapshotNoticeKind.READ_FAILED, logging.WARNING),
        (SnapshotNoticeKind.SEGMENT_FAILED, logging.ERROR),
    ],
)
def test_a_notice_is_logged_with_its_place(
    kind: SnapshotNoticeKind, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tailrace")
    SnapshotMetrics(CollectorRegistry()).notice(SnapshotNotice(kind, "because", lane=3, table="orders", segment="7"))
    (line,) = caplog.records
    assert (line.levelno, line.getMessage()) == (level, kind.value)
    assert {name: vars(line)[name] for name in ("lane", "table", "segment", "detail")} == {
        "lane": 3,
        "table": "orders",
        "segment": "7",
        "detail": "because",
    }
