"""Prometheus metrics of a worker's snapshots, in base units. docs/metrics.md explains each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tailrace.core.ports import ReadFailure
from tailrace.snapshot.observer import SnapshotNotice, SnapshotNoticeKind, SnapshotReport

logger = logging.getLogger("tailrace.snapshot")

_LEVELS = {
    SnapshotNoticeKind.SEGMENT_FAILED: logging.ERROR,
    SnapshotNoticeKind.LOST: logging.WARNING,
    SnapshotNoticeKind.READ_FAILED: logging.WARNING,
}


class SnapshotMetrics:
    """Counts and logs what a snapshot worker reports (`snapshot.observer.SnapshotObserver`)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._rows = self._counter("rows", "Rows committed to Kafka.")
        self._deletes = self._counter("deletes", "Deletes found and committed to Kafka.")
        self._stale = self._counter("stale_rows", "Rows left out because their topic has a newer change.")
        self._bytes = self._counter("bytes", "Bytes of the committed chunks as they were read.")
        self._read_units = self._counter("read_capacity_units", "Read capacity units that committed chunks used.")
        self._aborts = self._counter("chunks_aborted", "Transactions aborted because rows had become stale.")
        self._read_failures = self._counter("read_failures", "Reads of rows that failed, by reason.", ["reason"])
        self._chunk_seconds = Histogram(
            "tailrace_snapshot_chunk_duration_seconds",
            "Time from the request for a page of rows until it is committed.",
            registry=registry,
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120),
        )

    def _counter(self, name: str, text: str, labels: list[str] | None = None) -> Counter:
        return Counter(f"tailrace_snapshot_{name}", text, ["table", *(labels or [])], registry=self._registry)

    def watch(self, reports: Callable[[], list[SnapshotReport]]) -> None:
        """Set the source of the gauges: each scrape asks `reports`."""
        self._registry.register(_Gauges(reports))

    def chunk_published(
        self, table: str, *, rows: int, stale: int, deletes: int, size_bytes: int, read_units: float, seconds: float
    ) -> None:
        """Record a committed chunk."""
        self._rows.labels(table).inc(rows)
        self._stale.labels(table).inc(stale)
        self._deletes.labels(table).inc(deletes)
        self._bytes.labels(table).inc(size_bytes)
        self._read_units.labels(table).inc(read_units)
        self._chunk_seconds.observe(seconds)

    def chunk_aborted(self, table: str, stale: int) -> None:
        """Record a transaction that was aborted because `stale` of its rows had become stale."""
        self._aborts.labels(table).inc()
        logger.debug("chunk aborted", extra={"table": table, "stale": stale})

    def read_failed(self, table: str, failure: ReadFailure, seconds: float) -> None:
        """Record a read of rows that failed."""
        self._read_failures.labels(table, failure.value).inc()
        logger.debug("rows not read", extra={"table": table, "failure": failure.value, "seconds": seconds})

    def notice(self, notice: SnapshotNotice) -> None:
        """Take a notice to the operator."""
        where = {"lane": notice.lane, "table": notice.table, "segment": notice.segment}
        extra = {name: value for name, value in where.items() if value is not None} | {"detail": notice.detail}
        logger.log(_LEVELS.get(notice.kind, logging.INFO), notice.kind.value, extra=extra)


class _Gauges(Collector):
    """What holds at the moment of the scrape."""

    def __init__(self, reports: Callable[[], list[SnapshotReport]]) -> None:
        self._reports = reports

    def describe(self) -> list[Metric]:
        """Name nothing before the worker runs."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Return the gauges."""
        active = GaugeMetricFamily(
            "tailrace_snapshot_active", "1 while rows of the table are being published, else 0.", labels=["table"]
        )
        segments = GaugeMetricFamily(
            "tailrace_snapshot_segments", "Segments of the table's last snapshot by state.", labels=["table", "state"]
        )
        for report in self._reports():
            active.add_metric([report.table], report.is_running)
            for state, count in report.segments.items():
                segments.add_metric([report.table, state], count)
        yield active
        yield segments
