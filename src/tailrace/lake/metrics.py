"""Prometheus metrics of a process that writes to a lake. docs/metrics.md explains each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tailrace.lake.ledger import Sums
from tailrace.sinks.runner import Runner


class LakeMetrics(Collector):
    """Collects what a runner and its sink have counted."""

    def __init__(
        self, runner: Runner, written: Callable[[], Sums], dead_letters: Callable[[], int], behind: Callable[[], int]
    ) -> None:
        """Take functions that return what was written, the dead letters so far, and the lag in changes."""
        self._runner = runner
        self._behind = behind
        self._written = written
        self._dead_letters = dead_letters

    def collect(self) -> Iterator[Metric]:
        """Return the metrics of this moment."""
        records = CounterMetricFamily("tailrace_lake_records", "Records committed to the lake.", labels=["topic"])
        commits = CounterMetricFamily("tailrace_lake_commits", "Commits with records.", labels=["topic"])
        last = GaugeMetricFamily(
            "tailrace_lake_last_commit_timestamp_seconds", "Time of the last commit with records.", labels=["topic"]
        )
        for topic, totals in sorted(self._runner.totals.copy().items()):
            records.add_metric([topic], totals.records)
            commits.add_metric([topic], totals.batches)
            last.add_metric([topic], self._runner.last_commit_s.get(topic, 0))
        yield from (records, commits, last)
        written = self._written()
        yield CounterMetricFamily("tailrace_lake_files", "Files written.", value=written.files)
        yield CounterMetricFamily("tailrace_lake_file_bytes", "Bytes of the files written.", value=written.size_bytes)
        yield CounterMetricFamily(
            "tailrace_lake_dead_letters", "Records that make no row, set aside.", value=self._dead_letters()
        )
        yield CounterMetricFamily(
            "tailrace_lake_fenced",
            "Partitions that another process had claimed meanwhile.",
            value=self._runner.fenced,
        )
        yield GaugeMetricFamily(
            "tailrace_lake_partitions", "Partitions that this process writes.", value=len(self._runner.committed)
        )
        yield GaugeMetricFamily(
            "tailrace_lake_lag_changes",
            "Offsets that those partitions have beyond what the lake has; transaction markers are among them.",
            value=self._behind(),
        )
