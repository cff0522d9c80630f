"""The simulator's socket: a plain threaded HTTP server, and `SimulatedDynamoDB` for tests."""

from __future__ import annotations

import math
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

import msgspec

from tailrace_simulator import actions
from tailrace_simulator.aws_error import AwsError
from tailrace_simulator.http_server import HttpServer
from tailrace_simulator.kinesis import event_stream
from tailrace_simulator.kinesis.consumer_operations import Push, Subscription, initial_response
from tailrace_simulator.simulator import Reply, Simulator

CONTROL: Final = "/_tailrace/"
_POLL_S: Final = 0.05
_PUSH_POLL_S: Final = 0.05
"""How often it is looked whether a subscription has something to send."""
_GONE_POLL_S: Final = 0.5
"""How often it is looked whether a client still waits for an answer that is held back."""
_REQUEST_BYTES_MAX: Final = 32 * 1024 * 1024
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing a socket then resets its connection."""


class SimulatedDynamoDB:
    """DynamoDB, DynamoDB Streams and Kinesis Data Streams at `endpoint_url`, from entering the context to leaving it.

    Safe to use from many threads at once. `act` and `state` are what `/_tailrace/…` does over HTTP.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        port: int = 0,
        host: str = "127.0.0.1",
        script: actions.Script | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the port (0: a free one) at once; answer from `__enter__` on. `clock` gives seconds since the epoch.

        Raises `OSError` when the port cannot be had.
        """
        self._clock = clock
        self._simulator = Simulator(seed=seed, script=script or actions.Script(), now_ms=self._now_ms())
        self._lock = threading.Condition()
        self._closing = False
        self._server = HttpServer((host, port), _handler(self))
        self.port: int = self._server.server_port
        self.endpoint_url = f"http://{host}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), name="simulated-dynamodb")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering; every connection is closed, those that hang too."""
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def act(self, name: str, /, **fields: Any) -> dict[str, Any]:
        """Do something to the simulator: `act("split", table="orders", at=0.2)`.

        Raises ValueError for an action that does not exist, with other fields, or not possible as things stand.
        """
        action = actions.parse_action(name, fields)
        with self._lock:
            try:
                done = self._simulator.act(action, self._now_ms())
            except AwsError as error:
                raise ValueError(error.message) from error
            self._lock.notify_all()
        return done

    def state(self) -> dict[str, Any]:
        """Return how everything stands."""
        with self._lock:
            return self._simulator.state(self._now_ms())

    def pushed(self, subscription: Subscription) -> Push:
        """Return what a subscription's client is sent now; nothing more once this closes."""
        with self._lock:
            pushed = self._simulator.push(subscription, self._now_ms())
            return pushed._replace(is_over=pushed.is_over or self._closing)

    def answer(self, target: str, body: bytes, *, signed: bool) -> Reply:
        """Return what is answered to a request."""
        with self._lock:
            return self._simulator.handle(target, body, self._now_ms(), signed=signed)

    def hold(self, seconds: float, is_gone: Callable[[], bool]) -> None:
        """Wait until the time is over, the client is gone, or all that hang are released."""
        until_s = time.monotonic() + seconds
        with self._lock:
            released = self._simulator.released
            while not self._closing and self._simulator.released == released and not is_gone():
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    return
                self._lock.wait(min(left_s, _GONE_POLL_S))

    def _now_ms(self) -> int:
        return round(self._clock() * 1000)


def _handler(simulated: SimulatedDynamoDB) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            if self.path == CONTROL + "state":
                self._give_json(200, simulated.state())
            else:
                self._give_json(404, {"error": f"there is {CONTROL}state to GET; the rest is POST"})

        def do_POST(self) -> None:
            body = self._body()
            if body is None:
                return
            if self.path.startswith(CONTROL):
                self._control(self.path.removeprefix(CONTROL), body)
            else:
                signed = "Authorization" in self.headers
                self._give(simulated.answer(self.headers.get("X-Amz-Target", ""), body, signed=signed))

        def _body(self) -> bytes | None:
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > _REQUEST_BYTES_MAX:
                self.close_connection = True
                self._give_json(411, {"error": "a request needs a Content-Length, of at most 32 MB"})
                return None
            return self.rfile.read(int(length))

        def _is_gone(self) -> bool:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

        def _control(self, name: str, body: bytes) -> None:
            try:
                fields = msgspec.json.decode(body or b"{}", type=dict[str, Any])
                self._give_json(200, simulated.act(name, **fields))
            except (ValueError, TypeError) as error:
                self._give_json(400, {"error": str(error)})

        def _give(self, reply: Reply) -> None:
            if reply.delay_s or reply.transport == "hang":
                simulated.hold(math.inf if reply.transport == "hang" else reply.delay_s, self._is_gone)
            if reply.transport in {"reset", "hang"}:
                self.close_connection = True
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self.connection.close()
                return
            self.close_connection = reply.transport == "cut short"
            if reply.subscription is not None:
                self._push(reply.subscription)
                return
            headers = {"x-amzn-RequestId": uuid4().hex.upper()}
            if reply.checksum is not None:
                headers["x-amz-crc32"] = str(reply.checksum)
            body = reply.body[: len(reply.body) // 2] if reply.transport == "cut short" else reply.body
            self._send(reply.status, reply.content_type, headers, body, len(reply.body))

        def _push(self, subscription: Subscription) -> None:
            """Send a subscription's messages as they come; one that is cut short ends after the first."""
            self.send_response(200)
            self.send_header("Content-Type", event_stream.CONTENT_TYPE)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._chunk(initial_response())
            pushed = Push(b"", is_over=self.close_connection)
            while not pushed.is_over and not self._is_gone():
                pushed = simulated.pushed(subscription)
                if pushed.messages:
                    self._chunk(pushed.messages)
                if not pushed.is_over:
                    simulated.hold(_PUSH_POLL_S, self._is_gone)
            if not self.close_connection:
                self._chunk(b"")

        def _chunk(self, content: bytes) -> None:
            self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
            self.wfile.flush()

        def _give_json(self, status: int, content: dict[str, Any]) -> None:
            body = msgspec.json.encode(content)
            self._send(status, "application/json", {}, body, len(body))

        def _send(self, status: int, kind: str, headers: dict[str, str], body: bytes, length: int) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    return Handler
