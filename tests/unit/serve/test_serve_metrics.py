"""`GET /metrics` of `tailrace serve`: the metrics of all workers that answer, whatever the others do."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.parser import text_string_to_metric_families

from tailrace.local.service import free_ports
from tailrace.serve import metrics
from tailrace.serve.metrics import Metrics
from tailrace.serve.supervisor import Condition
from tailrace.worker.exposition import Exposition
from tailrace.worker.health import HealthServer


@pytest.fixture
def worker_port() -> Iterator[int]:
    """A worker's port, with a counter and a histogram."""
    registry = CollectorRegistry()
    Counter("tailrace_gaps", "Gaps.", ["table"], registry=registry).labels("orders").inc(2)
    Histogram("tailrace_read_duration_seconds", "Reads.", buckets=(1,), registry=registry).observe(0.5)
    parts = Exposition("pipeline", {"shop": registry})
    server = HealthServer(0, registry=parts, healthy=lambda: None, ready=lambda: None, host="127.0.0.1")
    yield server.port
    server.close()


def samples(served: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(served.exposition().decode())
    found = [
        (sample.name, tuple(sorted(sample.labels.items())), sample.value)
        for each in families
        for sample in each.samples
    ]
    assert len({(name, labels) for name, labels, _ in found}) == len(found)
    return {(name, labels): value for name, labels, value in found}


def test_the_metrics_of_every_connector_are_shown_with_its_name(worker_port: int) -> None:
    conditions = {name: Condition("RUNNING", 3, worker_port) for name in ("one", "two")}
    shown = samples(Metrics(lambda: conditions | {"three": Condition("STOPPED")}))
    for name in conditions:
        labels = (("connector", name), ("pipeline", "shop"))
        assert shown["tailrace_gaps_total", (*labels, ("table", "orders"))] == 2
        assert shown["tailrace_read_duration_seconds_bucket", (labels[0], ("le", "1.0"), labels[1])] == 1
        assert shown["tailrace_connector_up", labels[:1]] == 1
        assert shown["tailrace_connector_restarts_total", labels[:1]] == 3
    assert {state: shown["tailrace_connectors", (("state", state),)] for state in ("running", "stopped", "failed")} == {
        "running": 2,
        "stopped": 1,
        "failed": 0,
    }
    assert ("tailrace_connector_up", (("connector", "three"),)) not in shown


def test_workers_that_are_dead_slow_or_broken_hide_no_other(worker_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SCRAPE_S", 0.5)
    (refusing,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun_s = time.monotonic()
        shown = samples(
            Metrics(
                lambda: {
                    "well": Condition("RUNNING", 0, worker_port),
                    "dead": Condition("RUNNING", 0, refusing),
                    "starting": Condition("RUNNING"),
                    "failed": Condition("FAILED", 1),
                    **{f"silent {number}": Condition("RUNNING", 0, silent.getsockname()[1]) for number in range(30)},
                }
            )
        )
        assert time.monotonic() - begun_s < 5
    up = {
        dict(labels)["connector"]
        for (name, labels), value in shown.items()
        if name == "tailrace_connector_up" and value
    }
    assert up == {"well"}
    assert shown["tailrace_gaps_total", (("connector", "well"), ("pipeline", "shop"), ("table", "orders"))] == 2


def test_requests_are_counted_by_status() -> None:
    served = Metrics(dict)
    for status in (200, 404, 404):
        served.count_request(status)
    assert samples(served)["tailrace_serve_requests_total", (("status", "404"),)] == 2
