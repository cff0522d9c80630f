"""The worker's HTTP port, also while the worker does not answer."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from tailrace.runtime import health
from tailrace.runtime.health import HealthServer


class Silent(Collector):
    """Metrics of a worker that does not answer."""

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        raise TimeoutError


def silent() -> str | None:
    raise TimeoutError


@pytest.fixture
def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    Gauge("tailrace_of_a_test", "One.", registry=made).set(1)
    return made


@pytest.fixture
def server(registry: CollectorRegistry) -> Iterator[HealthServer]:
    made = HealthServer(
        0, registry=registry, healthy=lambda: None, ready=lambda: "lanes [3] are not taken yet", host="127.0.0.1"
    )
    yield made
    made.close()


def get(server: HealthServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_each_path_answers(server: HealthServer) -> None:
    assert get(server, "/healthz") == (200, "ok\n")
    assert get(server, "/readyz") == (503, "lanes [3] are not taken yet\n")
    assert get(server, "/other") == (404, "not found\n")
    status, text = get(server, "/metrics")
    assert status == 200
    assert "tailrace_of_a_test 1.0" in text


def test_a_worker_that_does_not_answer_is_told_on_every_path(registry: CollectorRegistry) -> None:
    registry.register(Silent())
    server = HealthServer(0, registry=registry, healthy=silent, ready=silent, host="127.0.0.1")
    try:
        for path in ("/metrics", "/healthz", "/readyz"):
            assert get(server, path) == (503, "the worker does not answer\n")
    finally:
        server.close()


def test_a_client_that_asks_for_nothing_is_given_up(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CLIENT_TIMEOUT_S", 0.1)
    server = HealthServer(0, registry=registry, healthy=lambda: None, ready=lambda: None, host="127.0.0.1")
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            assert client.recv(1) == b""
    finally:
        server.close()
