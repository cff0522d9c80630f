"""The Runtime API of one sandbox: where its runtime gets events and brings answers, over HTTP.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

import msgspec

from tailrace_simulator.event_source import Answered, Errored, Outcome
from tailrace_simulator.http_server import HttpServer

RESPONSE_BYTES_MAX: Final = 6 * 1024 * 1024
"""The largest answer of a synchronous invocation."""
_PREFIX: Final = "/2018-06-01/runtime/"
_POLL_S: Final = 0.05


@dataclass(eq=False)
class Invocation:
    """One event, and how it ended; None as long as nobody knows."""

    request_id: str
    event: bytes
    deadline_ms: int
    function_arn: str
    outcome: Outcome | None = None


class RuntimeApi:
    """Serves one runtime. `changed` is notified, and its lock held, whenever something happens.

    `on_idle` is called, with the lock held, when the runtime asks for an event and there is none.
    """

    def __init__(self, changed: threading.Condition, on_idle: Callable[[], None]) -> None:
        self.is_idle = False
        self.init_error: Errored | None = None
        self._changed = changed
        self._on_idle = on_idle
        self._given: Invocation | None = None
        self._current: Invocation | None = None
        self._is_closing = False
        self._server = HttpServer(("127.0.0.1", 0), _handler(self))
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), name="runtime-api")
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def give(self, invocation: Invocation) -> None:
        """Hand the runtime an event. With the lock held."""
        self._given = invocation
        self.is_idle = False
        self._changed.notify_all()

    def next(self) -> Invocation | None:
        """Wait for the next event; None when the API is closed."""
        with self._changed:
            self._current = None
            if self._given is None:
                self.is_idle = True
                self._changed.notify_all()
                self._on_idle()
            self._changed.wait_for(lambda: self._given is not None or self._is_closing)
            self._current, self._given = self._given, None
            return self._current

    def settle(self, request_id: str, make: Callable[[], Outcome]) -> tuple[int, dict[str, str]]:
        """Take how an invocation ended; give the HTTP status and answer. An end that comes too late changes nothing."""
        with self._changed:
            if self._current is None or self._current.request_id != request_id:
                return 403, {"errorMessage": "State transition is not allowed", "errorType": "InvalidStateTransition"}
            if self._current.outcome is None:
                self._current.outcome = make()
                self._changed.notify_all()
        return 202, {"status": "OK"}

    def fail_init(self, error: Errored) -> None:
        """Take that the runtime could not start the function."""
        with self._changed:
            self.init_error = error
            self._changed.notify_all()


def _errored(body: bytes, request_id: str) -> Errored:
    try:
        told: Any = msgspec.json.decode(body)
        return Errored(str(told["errorType"]), str(told["errorMessage"]), request_id)
    except (msgspec.DecodeError, KeyError, TypeError):
        return Errored("Unknown", "the runtime told no reason", request_id)


def _handler(api: RuntimeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            if self.path != f"{_PREFIX}invocation/next":
                self._refuse()
                return
            invocation = api.next()
            if invocation is None:
                self.close_connection = True
                return
            trace = invocation.request_id.replace("-", "")
            headers = {
                "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
                "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_ms),
                "Lambda-Runtime-Invoked-Function-Arn": invocation.function_arn,
                "Lambda-Runtime-Trace-Id": f"Root=1-{trace[:8]}-{trace[8:]};Parent={trace[:16]};Sampled=0",
            }
            self._send(200, invocation.event, headers)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if self.path == f"{_PREFIX}init/error":
                api.fail_init(_errored(body, ""))
                self._send_json(202, {"status": "OK"})
                return
            kind, _, rest = self.path.removeprefix(_PREFIX).partition("/")
            request_id, _, what = rest.partition("/")
            if kind != "invocation" or what not in {"response", "error"}:
                self._refuse()
            elif what == "error":
                self._send_json(*api.settle(request_id, lambda: _errored(body, request_id)))
            elif len(body) > RESPONSE_BYTES_MAX:
                sentence = f"Response payload size ({len(body)} bytes) exceeded maximum allowed payload size"
                error = Errored("Function.ResponseSizeTooLarge", sentence, request_id)
                api.settle(request_id, lambda: error)
                self._send_json(413, {"errorMessage": sentence, "errorType": "RequestEntityTooLarge"})
            else:
                self._send_json(*api.settle(request_id, lambda: Answered(body, request_id)))

        def _refuse(self) -> None:
            self._send_json(404, {"errorMessage": "there is no such path", "errorType": "NotFound"})

        def _send_json(self, status: int, content: dict[str, str]) -> None:
            self._send(status, msgspec.json.encode(content), {})

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in (
                {"Content-Type": "application/json", "Content-Length": str(len(body))} | headers
            ).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    return Handler
