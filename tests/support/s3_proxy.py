"""An endpoint before an S3 that throttles, fails, loses answers, and passes requests on twice or late, from a seed."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any, Literal, Self
from urllib.parse import urlsplit

Mishap = Literal["throttled", "server error", "answer lost", "twice", "late"]
MISHAPS: tuple[Mishap, ...] = ("throttled", "server error", "answer lost", "twice", "late")
_LATE_S = 1.5


class S3Proxy:
    """A context manager. While `rate` is set, that share of the requests meets each mishap."""

    def __init__(self, target_url: str, *, seed: int) -> None:
        self.rate = 0.0
        self.met: Counter[Mishap] = Counter()
        self._random = Random(seed)
        self._lock = threading.Lock()
        self._target = urlsplit(target_url).netloc
        self._late: list[threading.Thread] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def draw(self) -> Mishap | None:
        with self._lock:
            if self._random.random() >= self.rate * len(MISHAPS):
                return None
            mishap = self._random.choice(MISHAPS)
            self.met[mishap] += 1
            return mishap

    def forward(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> http.client.HTTPResponse:
        """Ask the S3; its answer's body is read already, as `content`."""
        connection = http.client.HTTPConnection(self._target, timeout=20)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            answer.content = answer.read()  # type: ignore[attr-defined]
            return answer
        finally:
            connection.close()

    def forward_late(self, *request: Any) -> None:
        """Ask it in a while, when nobody waits for the answer any more."""

        def ask() -> None:
            time.sleep(_LATE_S)
            self.forward(*request)

        thread = threading.Thread(target=ask, daemon=True)
        self._late.append(thread)
        thread.start()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        for each in self._late:
            each.join()


def _handler(proxy: S3Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def _pass(self) -> None:
            body = self._body()
            own = {"expect", "content-length", "transfer-encoding"}
            headers = [(name, value) for name, value in self.headers.items() if name.lower() not in own]
            headers += [("Content-Length", str(len(body)))] if body or self.command in {"PUT", "POST"} else []
            request = (self.command, self.path, headers, body)
            mishap = proxy.draw()
            if mishap == "throttled":
                self._answer(503, [], b"<Error><Code>SlowDown</Code><Message>slow down</Message></Error>")
            elif mishap == "server error":
                self._answer(500, [], b"<Error><Code>InternalError</Code><Message>try again</Message></Error>")
            elif mishap == "late":
                proxy.forward_late(*request)
                self._reset()
            else:
                answer = proxy.forward(*request)
                if mishap == "twice":
                    answer = proxy.forward(*request)
                if mishap == "answer lost":
                    self._reset()
                else:
                    self._answer(answer.status, answer.getheaders(), answer.content)  # type: ignore[attr-defined]

        def _body(self) -> bytes:
            if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():  # a trailer
                pass
            return body

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass  # noqa: N815 - the base's names

        def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response_only(status)
            length = str(len(content))
            for name, value in headers:
                if name.lower() == "content-length" and self.command == "HEAD":
                    length = value
                elif name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _reset(self) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
