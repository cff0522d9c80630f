"""The shipped alert rules before a real Prometheus, while Kafka is killed or AWS is cut off under a real worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support.bench import Bench
from support.flaky_endpoint import FAULTS, FlakyEndpoint
from support.prometheus import Prometheus, program
from support.waiting import wait_for
from support.worker_process import LoggedWorker
from tailrace.local.dynamodb import DynamoDBLocal
from tailrace.local.kafka import KafkaBroker

LONG_S = 150.0
"""What takes a minute and a half on a quiet machine may take so long."""


@contextmanager
def watched(pipeline: Bench, folder: Path) -> Iterator[tuple[LoggedWorker, Prometheus]]:
    """Run a worker until it has published everything, with a Prometheus that sees nothing wrong."""
    worker = pipeline.worker()
    pipeline.workload.run(60)
    pipeline.wait_complete()
    with Prometheus(folder, worker.metrics_port) as prometheus:
        wait_for("no alert fires", lambda: not prometheus.firing())
        yield worker, prometheus


def test_kafka_that_is_killed_raises_alerts_until_it_is_back(
    bench: Callable[..., Bench], own_kafka: KafkaBroker, tmp_path: Path
) -> None:
    program("prometheus")
    pipeline = bench(on=own_kafka.client_properties(), tables=2)
    with watched(pipeline, tmp_path) as (worker, prometheus):
        own_kafka.kill()
        prometheus.wait_firing("TailraceKafkaDown", "TailraceLag")
        wait_for("the group's time-out takes the lanes", lambda: worker.metric("tailrace_lanes", state="lost") > 0)
        lags = [worker.metric("tailrace_lag_seconds", table=table) for table in pipeline.tables]
        assert min(lags) > 5, "the lag grows although the lanes are lost"
        assert worker.metric("tailrace_shards", state="not taken") == len(pipeline.tables)
        assert worker.metric("tailrace_kafka_up") == 0
        assert worker.unready().startswith("Kafka does not answer: asking Kafka whether it is there failed")
        assert worker.unhealthy() == ""
        own_kafka.start()
        wait_for("no alert fires any more", lambda: not prometheus.firing())
        wait_for("the worker is ready", lambda: not worker.unready())
    worker.wait_logged("Kafka does not answer")
    worker.wait_logged("Kafka answers again")
    pipeline.workload.run(60)
    pipeline.settle()


def test_aws_that_is_cut_off_raises_alerts_until_it_is_back(
    bench: Callable[..., Bench], dynamodb: DynamoDBLocal, tmp_path: Path
) -> None:
    program("prometheus")
    with FlakyEndpoint(dynamodb.endpoint_url, seed=4) as endpoint:
        pipeline = bench(endpoint_of_workers=endpoint.url, tables=2)
        with watched(pipeline, tmp_path) as (worker, prometheus):
            endpoint.rate = 1 / len(FAULTS)
            prometheus.wait_firing("TailraceNotReading", "TailraceLag")
            assert "TailraceKafkaDown" not in prometheus.firing()
            wait_for("reads have failed for long", lambda: bool(worker.unready()), LONG_S)
            assert worker.unready().startswith("no read has succeeded for ")
            assert worker.unhealthy() == ""
            endpoint.rate = 0.0
            wait_for("no alert fires any more", lambda: not prometheus.firing())
            assert worker.unready() == ""
        pipeline.settle()
