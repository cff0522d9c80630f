"""The worker's HTTP port, also while the worker does not answer."""

from __future__ import annotations

import contextlib
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from support.fuzz import examples
from tailrace.worker import health
from tailrace.worker.health import HealthServer


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


METHODS = ["GET", "HEAD", "POST", "PUT", "\x16\x03\x01", "", "GET GET"]
TARGETS = [
    "/healthz",
    "/metrics?x=\xff",
    "/../../etc/passwd",
    "//",
    "*",
    "http://[",
    "/LONG",
    "",
    "/a b",
    "/\r",
]
VERSIONS = ["HTTP/1.1", "HTTP/1.0", "HTTP/9.9", "HTTP/x", "HTTP/1", "ICY", ""]
HEADERS = [
    "Host: x", "no colon", ": ", "X: LONG", "Content-Length: -1", "Content-Length: 99999999999", "\0: \xff",
    "Transfer-Encoding: chunked", "Expect: 100-continue", "Connection: upgrade", "A: b\r\n" * 90, "A: b\r\n" * 150,
]  # fmt: skip


@st.composite
def requests(draw: Any) -> bytes:
    """A request of HTTP with anything wrong about it, or any bytes."""
    head = " ".join(draw(st.sampled_from(each)) for each in (METHODS, TARGETS, VERSIONS))
    lines = [head, *draw(st.lists(st.sampled_from(HEADERS), max_size=3))]
    text = draw(st.sampled_from(["\r\n", "\n"])).join(lines) + draw(st.sampled_from(["\r\n\r\n", "\n\n", ""]))
    return draw(st.sampled_from([text.encode("latin-1"), draw(st.binary(max_size=40)), b""]))  # type: ignore[no-any-return]  # draw gives Any


@examples(150)
@given(request=requests(), reads=st.booleans())
def test_any_request_is_answered_or_given_up_and_the_next_is_answered(
    server: HealthServer, capfd: pytest.CaptureFixture[str], request: bytes, reads: bool
) -> None:
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as client,
    ):
        client.sendall(request.replace(b"LONG", b"x" * 70_000))
        client.shutdown(socket.SHUT_WR)
        while reads and client.recv(1 << 16):
            pass
    assert get(server, "/healthz") == (200, "ok\n")
    assert capfd.readouterr() == ("", ""), "nothing of it is told to the operator"
