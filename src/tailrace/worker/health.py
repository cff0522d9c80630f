"""The worker's HTTP port: `/metrics` for Prometheus, `/healthz` and `/readyz` for Kubernetes' probes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from tailrace.listening import refused
from tailrace.process.threads import start_thread

CLIENT_TIMEOUT_S = 10.0
"""How long a client may take to send its request: each holds a thread."""

NO_ANSWER = "the worker does not answer"

Check = Callable[[], str | None]
"""Returns None when all is well, else what is wrong. Raises TimeoutError when the worker does not answer."""


def of_all(checks: Mapping[str, Check]) -> Check:
    """Return the check of several pipelines, by name: the first that is not well says so, with its name."""

    def check() -> str | None:
        for pipeline, of_one in checks.items():
            try:
                fault = of_one()
            except TimeoutError:
                fault = NO_ANSWER
            if fault:
                return f"pipeline {pipeline}: {fault}" if len(checks) > 1 else fault
        return None

    return check


class HealthServer:
    """Serves until the process ends or `close`. `port` 0 takes a free one; see `port` for which."""

    def __init__(
        self,
        port: int,
        *,
        registry: Collector,
        healthy: Check,
        ready: Check,
        host: str = "0.0.0.0",
        hint: str = "choose another port",
    ) -> None:
        """Listen at once. Raises WorldError, with `hint`, when the port is taken."""
        routes: dict[str, Callable[[], tuple[int, str, bytes]]] = {
            "/metrics": lambda: (200, CONTENT_TYPE_LATEST, generate_latest(registry)),
            "/healthz": lambda: _probe(healthy),
            "/readyz": lambda: _probe(ready),
        }

        class Handler(BaseHTTPRequestHandler):
            timeout = CLIENT_TIMEOUT_S

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):  # the client has gone: nobody waits for the answer
                    super().handle()

            def do_GET(self) -> None:
                route = routes.get(self.path.split("?")[0])
                try:
                    status, content_type, body = route() if route else (404, "text/plain", b"not found\n")
                except TimeoutError:
                    status, content_type, body = 503, "text/plain", f"{NO_ANSWER}\n".encode()
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
                """Probes come every few seconds: no line for each."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise refused(error, f"{host}:{port}", port, hint=hint) from error
        self.port = self._server.server_address[1]
        start_thread("health", self._server.serve_forever)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def _probe(check: Check) -> tuple[int, str, bytes]:
    fault = check()
    return (503, "text/plain", f"{fault}\n".encode()) if fault else (200, "text/plain", b"ok\n")
