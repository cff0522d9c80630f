"""Prometheus metrics of a worker, in base units. docs/metrics.md explains each."""

from __future__ import annotations

import logging
import time
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tailrace._version import __version__
from tailrace.core.lane_messages import Notice, NoticeKind, Read, Transaction
from tailrace.core.lane_report import LaneReport
from tailrace.core.page import Outgoing, Page
from tailrace.core.ports import ReadFailure
from tailrace.core.shard import ShardRef
from tailrace.kafka.dead_letters import RECORD_TOO_LARGE
from tailrace.kafka.headers import EXCEPTION, STAGE
from tailrace.remedy import InspectDeadLetters, say
from tailrace.worker.snapshot_metrics import SnapshotMetrics
from tailrace.worker.vitals import Vitals

logger = logging.getLogger("tailrace.worker")

REPEAT_S = 30.0
"""The minimum interval between log lines about a table's dead letters."""

_LEVELS = {
    NoticeKind.GAP: logging.ERROR,
    NoticeKind.SHARD_FAILED: logging.ERROR,
    NoticeKind.TOPIC_REFUSED: logging.ERROR,
    NoticeKind.DENIED: logging.ERROR,
    NoticeKind.SET_ASIDE: logging.WARNING,
    NoticeKind.SHARD_SKIPPED: logging.WARNING,
    NoticeKind.READ_FAILED: logging.WARNING,
    NoticeKind.LOST: logging.WARNING,
}


class Metrics:
    """Counts and logs what the worker reports (`worker.observer.Observer`)."""

    def __init__(self, pipeline: str, dead_letters_topic: str, *, transcoder: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library lacks the annotation
        self.registry = CollectorRegistry()
        self.snapshots = SnapshotMetrics(self.registry)
        self._dead_letters_topic = dead_letters_topic
        self._changes = self._counter("tailrace_changes_published", "Changes committed to Kafka.", ["table"])
        self._bytes = self._counter("tailrace_published_bytes", "Bytes of the values committed to Kafka.", ["table"])
        self._dropped = self._counter(
            "tailrace_changes_dropped", "Changes that a transformation dropped, behind a checkpoint by now.", ["table"]
        )
        self._skipped = self._counter(
            "tailrace_records_skipped",
            "Records of which nothing is published: a repeat, a late change, one of a table that is left out.",
            ["table", "reason"],
        )
        self._dead_letters = self._counter("tailrace_dead_letters", "Records set aside as dead letters.", ["table"])
        self._transactions = self._counter("tailrace_transactions_committed", "Transactions committed.", [])
        self._commit_seconds = Histogram(
            "tailrace_transaction_duration_seconds",
            "Time from handing a transaction to Kafka until it is committed.",
            registry=self.registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
        )
        self._reads = self._counter(
            "tailrace_reads", "GetRecords calls by result: changes, empty, or why they failed.", ["table", "result"]
        )
        self._changes_read = self._counter(
            "tailrace_changes_read", "Changes read, by the transcoder that converted them.", ["table", "transcoder"]
        )
        self._read_seconds = Histogram(
            "tailrace_read_duration_seconds",
            "Time to read and convert one page.",
            registry=self.registry,
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self._lanes_lost = self._counter("tailrace_lanes_lost", "Times that a lane's producer had to be given up.", [])
        self._clients_replaced = self._counter(
            "tailrace_clients_replaced", "Kafka clients that had stopped and were replaced by new ones.", ["client"]
        )
        self._gaps = self._counter("tailrace_gaps", "Gaps: changes that were lost before anyone read them.", ["table"])
        self._totals: Counts[str] = Counts()
        self._told: Counts[str] = Counts()
        """What `counts_since_last` has returned of them."""
        self._unlogged_letters: dict[str, tuple[int, float]] = {}
        """Of each table the dead letters that were not logged yet, and when some last were."""
        self._info = {"version": __version__, "pipeline": pipeline, "transcoder": transcoder}

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def watch(
        self,
        reports: Callable[[], list[LaneReport]],
        now_ms: Callable[[], int],
        vitals: Vitals,
        forgotten_early: Callable[[], int],
    ) -> None:
        """Set what each scrape asks: `reports` and `vitals` for the gauges, `forgotten_early` for a count."""
        self.registry.register(_Scraped(self._info, reports, now_ms, vitals, forgotten_early))

    def counts_since_last(self) -> Counts[str]:
        """Return how many changes and dead letters were published since this was last asked."""
        total = self._totals.copy()
        since, self._told = total - self._told, total
        return since

    def assigned(self, lanes: list[int]) -> None:
        """Take note that the worker now has these lanes."""
        logger.info("lanes assigned", extra={"lanes": lanes})

    def client_replaced(self, client: str) -> None:
        """Count a Kafka client (`follower` or `member`) that had stopped and was replaced."""
        self._clients_replaced.labels(client).inc()

    def page_read(self, read: Read, page: Page, seconds: float) -> None:
        """Record a page that was read and converted."""
        self._reads.labels(read.table, "changes" if page.changes else "empty").inc()
        for table, part in page.of_each_table().items():
            native_count = page.native_counts.get(table, 0)
            by_transcoder = {"native": native_count, "pure": len(part.changes) - native_count}
            for transcoder, count in by_transcoder.items():
                if count:
                    self._changes_read.labels(table, transcoder).inc(count)
        self._read_seconds.observe(seconds)

    def read_failed(self, read: Read, failure: ReadFailure, seconds: float) -> None:
        """Record a read that failed."""
        self._reads.labels(read.table, failure.value).inc()
        self._read_seconds.observe(seconds)

    def committed(self, transaction: Transaction, seconds: float, now_ms: int) -> None:
        """Record a committed transaction."""
        self._transactions.inc()
        self._commit_seconds.observe(seconds)
        for page in transaction.pages:
            for table, part in page.of_each_table().items():
                self._published(table, part)
            for origin, why in page.skipped:
                self._skipped.labels(origin.table, why).inc()

    def _published(self, table: str, page: Page) -> None:
        count = len(page.changes) - len(page.dropped) - len(page.skipped)
        self._changes.labels(table).inc(count)
        self._totals["changes"] += count
        if page.dropped:
            self._dropped.labels(table).inc(len(page.dropped))
        self._bytes.labels(table).inc(sum(len(record.value or b"") for record in page.records))
        letters = [record for record in page.records if record.is_dead_letter]
        if letters or page.set_aside:
            count = len(letters) + len(page.set_aside)
            self._dead_letters.labels(table).inc(count)
            self._totals["dead letters"] += count
            self._log_dead_letters(table, page.shard, count, letters)

    def _log_dead_letters(self, table: str, shard: ShardRef, count: int, letters: list[Outgoing]) -> None:
        """Log a table's dead letters, at once and then all that came meanwhile at most every `REPEAT_S`."""
        unlogged, logged_s = self._unlogged_letters.get(table, (0, -REPEAT_S))
        now_s = time.monotonic()
        if now_s - logged_s < REPEAT_S:
            self._unlogged_letters[table] = unlogged + count, logged_s
            return
        self._unlogged_letters[table] = 0, now_s
        last = dict(letters[-1].headers or ()) if letters else {}
        extra = {
            "table": table,
            "shard": shard.shard_id,
            "count": unlogged + count,
            "topic": self._dead_letters_topic,
            "stage": last.get(STAGE, b"PRODUCE").decode(),
            "error": last.get(EXCEPTION, RECORD_TOO_LARGE.encode()).decode(),
            "detail": say(InspectDeadLetters()),
        }
        logger.warning("dead letters", extra=extra)

    def notice(self, lane: int, notice: Notice) -> None:
        """Take a lane's notice to the operator."""
        if notice.kind in {NoticeKind.LOST, NoticeKind.DENIED}:
            self._lanes_lost.inc()
        if notice.kind is NoticeKind.GAP:
            self._gaps.labels(notice.table).inc()
        where = {"shard": notice.shard.shard_id, "table": notice.table} if notice.shard else {}
        extra = {"lane": lane, **where, "detail": notice.detail}
        logger.log(_LEVELS.get(notice.kind, logging.INFO), notice.kind.value, extra=extra)


class _Scraped(Collector):
    """What is asked for at the moment of the scrape."""

    def __init__(
        self,
        info: dict[str, str],
        reports: Callable[[], list[LaneReport]],
        now_ms: Callable[[], int],
        vitals: Vitals,
        forgotten_early: Callable[[], int],
    ) -> None:
        self._info = info
        self._reports = reports
        self._now_ms = now_ms
        self._vitals = vitals
        self._forgotten_early = forgotten_early

    def describe(self) -> list[Metric]:
        """Name nothing before the worker runs."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Return the gauges, and the count of the source."""
        reports = self._reports()
        info = GaugeMetricFamily("tailrace_info", "What this worker is.", labels=list(self._info))
        info.add_metric(list(self._info.values()), 1)
        yield info
        lanes = GaugeMetricFamily("tailrace_lanes", "Lanes of this worker by state.", labels=["state"])
        for state, count in Counts(report.state for report in reports).items():
            lanes.add_metric([state], count)
        yield lanes
        shards = GaugeMetricFamily("tailrace_shards", "Shards of this worker's lanes.", labels=["table", "state"])
        for (table, phase), count in Counts((s.table, s.phase) for report in reports for s in report.shards).items():
            shards.add_metric([table, phase], count)
        yield shards
        lag = GaugeMetricFamily(
            "tailrace_lag_seconds", "How far the published changes of the slowest shard are behind.", labels=["table"]
        )
        for table, lag_ms in lags_ms(reports, self._now_ms()).items():
            lag.add_metric([table], lag_ms / 1000)
        yield lag
        buffered = GaugeMetricFamily("tailrace_buffered_bytes", "Bytes of the pages read and not yet committed.")
        buffered.add_metric([], sum(report.buffered_bytes for report in reports))
        yield buffered
        yield CounterMetricFamily(
            "tailrace_window_changes_forgotten",
            "Changes that the window for repeats lost before their time, for want of memory.",
            value=self._forgotten_early(),
        )
        yield from self._vital_signs()

    def _vital_signs(self) -> Iterator[Metric]:
        vitals = self._vitals
        for name, text, value in (
            ("kafka_up", "1 while Kafka answers, 0 while it does not.", vitals.kafka_fault is None),
            (
                "last_read_timestamp_seconds",
                "When a read last succeeded; the start before the first.",
                vitals.last_read_s,
            ),
            (
                "last_commit_timestamp_seconds",
                "When a transaction was last committed, or the start.",
                vitals.last_commit_s,
            ),
        ):
            yield GaugeMetricFamily(f"tailrace_{name}", text, value=value)
        overdue = GaugeMetricFamily(
            "tailrace_reads_overdue", "Reads that have taken too long so far.", labels=["table"]
        )
        for table, count in Counts(read.table for read in vitals.overdue()).items():
            overdue.add_metric([table], count)
        yield overdue


def lags_ms(reports: Iterable[LaneReport], now_ms: int) -> dict[str, int]:
    """Return the lag of each table's slowest shard: its time behind the source."""
    lags: dict[str, int] = {}
    for report in reports:
        for shard in report.shards:
            lag_ms = shard.lag_ms(now_ms)
            if lag_ms is not None:
                lags[shard.table] = max(lags.get(shard.table, 0), lag_ms)
    return lags
