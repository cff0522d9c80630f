"""Prometheus metrics of a process that writes to lakes. docs/metrics.md explains each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tailrace.lake.part import LakePart


class LakeMetrics(Collector):
    """Collects what the parts of lakes have counted."""

    def __init__(self, parts: Sequence[LakePart]) -> None:
        """`parts` are all of the process."""
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """Return the metrics of this moment."""
        by_kind = ["lake", "tables"]
        by_topic = ["lake", "tables", "topic"]
        records = CounterMetricFamily("tailrace_lake_records", "Records committed to the lake.", labels=by_topic)
        commits = CounterMetricFamily("tailrace_lake_commits", "Commits with records.", labels=by_topic)
        last = GaugeMetricFamily(
            "tailrace_lake_last_commit_timestamp_seconds", "Time of the last commit with records.", labels=by_topic
        )
        files = CounterMetricFamily("tailrace_lake_files", "Files written.", labels=by_kind)
        size_bytes = CounterMetricFamily("tailrace_lake_file_bytes", "Bytes of the files written.", labels=by_kind)
        dead_letters = CounterMetricFamily(
            "tailrace_lake_dead_letters", "Records that make no row, set aside.", labels=by_kind
        )
        fenced = CounterMetricFamily(
            "tailrace_lake_fenced", "Partitions that another process had claimed meanwhile.", labels=by_kind
        )
        partitions = GaugeMetricFamily(
            "tailrace_lake_partitions", "Partitions that this process writes.", labels=by_kind
        )
        lag = GaugeMetricFamily(
            "tailrace_lake_lag_changes",
            "Offsets that those partitions have beyond what the lake has; transaction markers are among them.",
            labels=by_kind,
        )
        for part in self._parts:
            kind, runner, written = [part.lake, part.kind], part.runner, part.sink.written
            for topic, totals in sorted(runner.totals.copy().items()):
                records.add_metric([*kind, topic], totals.records)
                commits.add_metric([*kind, topic], totals.batches)
                last.add_metric([*kind, topic], runner.last_commit_s.get(topic, 0))
            files.add_metric(kind, written.files)
            size_bytes.add_metric(kind, written.size_bytes)
            dead_letters.add_metric(kind, part.dead_letters.count)
            fenced.add_metric(kind, runner.fenced)
            partitions.add_metric(kind, len(runner.committed))
            lag.add_metric(kind, part.lag.offsets)
        yield from (records, commits, last, files, size_bytes, dead_letters, fenced, partitions, lag)
