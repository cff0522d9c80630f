"""Prometheus metrics of `tailrace serve`: its own, and those of its workers. docs/metrics.md explains each."""

from __future__ import annotations

import http.client
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final

from prometheus_client import Counter, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from tailrace.serve.supervisor import Condition
from tailrace.worker.exposition import Exposition

SCRAPE_S: Final = 3.0
"""How long the workers may take, all together: less than Prometheus waits, so that one that hangs hides no other."""
_STATES: Final = ("RUNNING", "PAUSED", "STOPPED", "FAILED")


class Metrics(Collector):
    """What `GET /metrics` shows. Safe for many threads."""

    def __init__(self, conditions: Callable[[], Mapping[str, Condition]]) -> None:
        """`conditions` returns how the connectors get on in this process."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library lacks the annotation
        self._conditions = conditions
        self._requests = Counter("tailrace_serve_requests", "Requests that were answered.", ["status"], registry=None)

    def count_request(self, status: int) -> None:
        """Count a request that was answered with this status of HTTP."""
        self._requests.labels(str(status)).inc()

    def exposition(self) -> bytes:
        """Return all metrics as Prometheus reads them; takes little more than `SCRAPE_S` at most."""
        return generate_latest(self)

    def collect(self) -> Iterator[Metric]:
        """Return its own metrics, and those that the connectors' workers serve."""
        conditions = self._conditions()
        answers = _scrape({name: each.metrics_port for name, each in conditions.items() if each.metrics_port})
        yield from self._requests.collect()
        yield from _of_connectors(conditions, answers.keys())
        yield from Exposition("connector", answers).collect()


def _of_connectors(conditions: Mapping[str, Condition], answering: Set[str]) -> Iterator[Metric]:
    states = GaugeMetricFamily("tailrace_connectors", "Connectors by their state in this process.", labels=["state"])
    counts = Counts(each.state for each in conditions.values())
    for state in _STATES:
        states.add_metric([state.lower()], counts[state])
    yield states
    up = GaugeMetricFamily("tailrace_connector_up", "1 while the connector's worker answers.", labels=["connector"])
    restarts = CounterMetricFamily(
        "tailrace_connector_restarts", "Starts of the connector's worker after a failure.", labels=["connector"]
    )
    for name, each in conditions.items():
        if each.state in {"RUNNING", "FAILED"}:
            up.add_metric([name], name in answering)
            restarts.add_metric([name], each.restarts)
    yield from (up, restarts)


class _Answer(Collector):
    """What one worker serves."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return it."""
        return self._families


def _scrape(ports: Mapping[str, int]) -> dict[str, Collector]:
    """Ask the workers at the same time; return what those serve that answered in time."""
    if not ports:
        return {}
    pool = ThreadPoolExecutor(len(ports), thread_name_prefix="scrape")
    asked = {name: pool.submit(_ask, port) for name, port in ports.items()}
    wait(asked.values(), SCRAPE_S)
    pool.shutdown(wait=False)
    return {name: answer.result() for name, answer in asked.items() if answer.done() and answer.exception() is None}


def _ask(port: int) -> Collector:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SCRAPE_S)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status != 200:
            raise ConnectionError(text)
        return _Answer(list(text_string_to_metric_families(text)))
    finally:
        connection.close()
