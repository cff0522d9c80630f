"""An endpoint before DynamoDB Local that fails now and then, as drawn from a seed."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

Fault = Literal["server error", "throttled", "reset", "cut short", "not json", "hang"]
FAULTS: tuple[Fault, ...] = ("server error", "throttled", "reset", "cut short", "not json", "hang")

_THROTTLED = (
    b'{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"slow down"}'
)
_SERVER_ERROR = b'{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"try again"}'


class FlakyEndpoint:
    """Forwards to `target_url`; a context manager. Each fault comes with probability `rate` while that is set."""

    def __init__(self, target_url: str, *, seed: int) -> None:
        self.rate = 0.0
        self.counts: Counter[tuple[str, Fault]] = Counter()
        """How often each operation met each fault."""
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._target = urlsplit(target_url).netloc
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def draw(self, operation: str) -> Fault | None:
        """Return what happens to a request. A hang comes once: it lasts until the client has had enough."""
        with self._lock:
            if self._random.random() >= self.rate * len(FAULTS):
                return None
            fault = self._random.choice(FAULTS)
            if fault == "hang" and any(kind == "hang" for _, kind in self.counts):
                fault = "reset"
            self.counts[operation, fault] += 1
            return fault

    def hang(self) -> None:
        """Keep a client waiting."""
        self._closing.wait()

    def forward(self, body: bytes, headers: dict[str, str]) -> tuple[int, list[tuple[str, str]], bytes]:
        """Ask DynamoDB Local."""
        connection = http.client.HTTPConnection(self._target, timeout=10)
        try:
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()


def _handler(endpoint: FlakyEndpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            fault = endpoint.draw(self.headers["X-Amz-Target"].split(".")[1])
            self.close_connection = fault is not None
            match fault:
                case "server error":
                    self._give(500, [], _SERVER_ERROR)
                case "throttled":
                    self._give(400, [], _THROTTLED)
                case "not json":
                    self._give(200, [], b"<html>a proxy's page</html>")
                case "hang":
                    endpoint.hang()
                case "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                case _:
                    status, headers, answer = endpoint.forward(body, dict(self.headers.items()))
                    self._give(status, headers, answer[:-1] if fault == "cut short" else answer, len(answer))

        def _give(self, status: int, headers: list[tuple[str, str]], body: bytes, length: int | None = None) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in {"content-length", "connection", "transfer-encoding"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
