"""An HTTP proxy that asks for a user and password: it forwards requests, and opens tunnels for CONNECT."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class HttpProxy:
    """Listens on a port of the loopback address; a context manager. `let_through` lists what it forwarded."""

    def __init__(self, user: str, password: str) -> None:
        self.let_through: list[str] = []
        self._wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.address = f"127.0.0.1:{self._server.server_port}"

    def lets_through(self, request: BaseHTTPRequestHandler) -> bool:
        """Check the password; without it the request is answered."""
        if request.headers["Proxy-Authorization"] == self._wanted:
            self.let_through.append(f"{request.command} {request.path}")
            return True
        request.send_response(407)
        request.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
        request.send_header("Content-Length", "0")
        request.end_headers()
        return False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(proxy: HttpProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if not proxy.lets_through(self):
                return
            target = urlsplit(self.path)
            connection = http.client.HTTPConnection(target.netloc, timeout=10)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "proxy-authorization"}
            connection.request(self.command, target.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"date", "server"}:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def do_CONNECT(self) -> None:
            if not proxy.lets_through(self):
                return
            host, _, port = self.path.rpartition(":")
            self.close_connection = True
            with socket.create_connection((host, int(port)), timeout=10) as target:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=_pump, args=(target, self.connection), daemon=True)
                back.start()
                _pump(self.connection, target)
                back.join()

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # the client has heard enough
                super().handle()

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
