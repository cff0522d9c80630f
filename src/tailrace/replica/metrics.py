"""Prometheus metrics of a process that keeps copies of tables. docs/metrics.md explains each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tailrace.replica.sink import ReplicaSink
from tailrace.replica.writer import Writer
from tailrace.sinks.lag import Lag
from tailrace.sinks.runner import Runner


class Measured(Protocol):
    """A process."""

    sink: ReplicaSink
    writer: Writer
    runner: Runner
    lag: Lag


class ReplicaMetrics(Collector):
    """Collects what a process has counted."""

    def __init__(self, process: Measured) -> None:
        self._process = process

    def collect(self) -> Iterator[Metric]:
        """Return the metrics of this moment."""
        process, by_table = self._process, ["table"]
        behind = GaugeMetricFamily(
            "tailrace_replica_behind_seconds",
            "Age of the oldest change that was read and is not in the copy; 0: there is none.",
            labels=by_table,
        )
        for table, seconds in sorted(process.sink.behind_s().items()):
            behind.add_metric([table], seconds)
        counters = {
            name: CounterMetricFamily(f"tailrace_replica_{name}", text, labels=by_table)
            for name, text in (
                ("written", "States of items written."),
                ("deleted", "Deletes written."),
                ("older", "States that the copy had already, or newer ones."),
                ("refused", "Records that cannot be written, set aside."),
            )
        }
        for table, counts in sorted(process.sink.counts.copy().items()):
            for name, counter in counters.items():
                counter.add_metric([table], getattr(counts, name))
        throttled = CounterMetricFamily("tailrace_replica_throttled", "Writes that DynamoDB throttled.")
        throttled.add_metric([], process.writer.throttled)
        fenced = CounterMetricFamily(
            "tailrace_replica_fenced", "Partitions that another process had claimed meanwhile."
        )
        fenced.add_metric([], process.runner.fenced)
        partitions = GaugeMetricFamily("tailrace_replica_partitions", "Partitions that this process writes.")
        partitions.add_metric([], len(process.runner.committed))
        lag = GaugeMetricFamily(
            "tailrace_replica_lag_changes",
            "Offsets that those partitions have beyond what the copies have; transaction markers are among them.",
        )
        lag.add_metric([], process.lag.offsets)
        yield from (behind, *counters.values(), throttled, fenced, partitions, lag)
