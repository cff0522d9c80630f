"""A TCP proxy for fault tests: forwards, delays, black-holes, cuts, and loses chosen requests and answers."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

# Numbers of the Kafka protocol's requests that tests single out (https://kafka.apache.org/protocol#protocol_api_keys).
PRODUCE = 0
FETCH = 1
METADATA = 3
INIT_PRODUCER_ID = 22
ADD_PARTITIONS_TO_TXN = 24
END_TXN = 26

_HEADER = struct.Struct(">ihhi")  # size of the rest, api key, api version, correlation id


@dataclass(frozen=True)
class Request:
    """A request's header and body as it went to the broker."""

    api_key: int
    api_version: int
    correlation_id: int
    frame: bytes  # whole, size included


class Dropped:
    """A request that never reached the broker."""

    def __init__(self, target_port: int) -> None:
        self.happened = threading.Event()
        self.request: Request | None = None  # once it happened
        self._target_port = target_port

    def deliver_late(self) -> bytes:
        """Let the broker have it now, on a connection of its own, as a network may; gives the answer's body."""
        assert self.request is not None
        with socket.create_connection(("127.0.0.1", self._target_port)) as connection:
            connection.sendall(self.request.frame)
            return _read_frame(connection)[8:]  # without its size and correlation id


@dataclass
class _Loss:
    matches: Callable[[Request], bool]
    cut: bool
    happened: threading.Event
    dropped: Dropped | None = None  # the request is lost, not the answer


class KafkaProxy:
    """Listens on `port` of the loopback address and forwards to `target_port`; a context manager.

    The broker must be told to advertise `port` (see `KafkaBroker(proxy_port=…)`), or clients go past the proxy.
    Faults may be set and lifted at any time, from any thread.
    """

    def __init__(self, port: int, target_port: int) -> None:
        self.port = port
        self.delay_s = 0.0  # added to each answer
        self.requests: list[int] = []  # api keys, in the order in which they came
        self._target_port = target_port
        self._lock = threading.Lock()
        self._passing = threading.Event()
        self._passing.set()
        self._closing = False
        self._losses: list[_Loss] = []
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self._start(self._accept)

    def lose_answer(self, matches: Callable[[Request], bool] | int, *, cut: bool = True) -> threading.Event:
        """Lose the answer to the next request that matches (a predicate or an api key): it is carried out unheard.

        The connection is cut in place of the answer; with `cut=False` it stays open and silent for that request, and
        the client must time out. The event is set when the broker has answered and the answer is lost.
        """
        loss = _Loss(_predicate(matches), cut, threading.Event())
        with self._lock:
            self._losses.append(loss)
        return loss.happened

    def drop_request(self, matches: Callable[[Request], bool] | int) -> Dropped:
        """Lose the next request that matches: it is not carried out, and the client waits for its answer in vain."""
        dropped = Dropped(self._target_port)
        with self._lock:
            self._losses.append(_Loss(_predicate(matches), cut=False, happened=dropped.happened, dropped=dropped))
        return dropped

    def black_hole(self) -> None:
        """Keep connections open and accept new ones, but pass nothing until `pass_again`."""
        self._passing.clear()

    def pass_again(self) -> None:
        """End `black_hole`: what was held back goes on."""
        self._passing.set()

    def cut(self) -> None:
        """Break all present connections; new ones are served."""
        with self._lock:
            sockets = list(self._sockets)
        for each in sockets:
            _break(each)

    def close(self) -> None:
        """Stop listening and break all connections."""
        self._closing = True
        self._passing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        # A connection that was just accepted may still be joining the set: cut until no thread is left.
        while any(thread.is_alive() for thread in self._threads):
            self.cut()
            for thread in list(self._threads):
                thread.join(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:  # the broker is down: the client sees that too
                client.close()
                continue
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets |= {client, server}
            _Connection(self, client, server).start()


class _Connection:
    """One client's connection: Kafka answers in the order of requests, so a queue tells which answer is whose."""

    def __init__(self, proxy: KafkaProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._losses: dict[int, _Loss] = {}  # by correlation id

    def start(self) -> None:
        self._proxy._start(lambda: self._pump(self._client, self._pass_request))
        self._proxy._start(lambda: self._pump(self._server, self._pass_answer))

    def _pump(self, source: socket.socket, forward: Callable[[bytes], bool]) -> None:
        """Move frames until an end closes, or `forward` says to cut."""
        with contextlib.suppress(OSError):
            while (frame := _read_frame(source)) and self._proxy._passing.wait() and forward(frame):
                pass
        for each in (self._client, self._server):
            _break(each)
        with self._proxy._lock:
            self._proxy._sockets.discard(source)
        source.close()

    def _pass_request(self, frame: bytes) -> bool:
        _, api_key, api_version, correlation_id = _HEADER.unpack_from(frame)
        request = Request(api_key, api_version, correlation_id, frame)
        with self._proxy._lock:
            self._proxy.requests.append(api_key)
            loss = next((loss for loss in self._proxy._losses if loss.matches(request)), None)
            if loss:
                self._proxy._losses.remove(loss)
                self._losses[correlation_id] = loss
        if loss and loss.dropped:
            loss.dropped.request = request
            loss.happened.set()
            return True
        self._server.sendall(frame)
        return True

    def _pass_answer(self, frame: bytes) -> bool:
        (correlation_id,) = struct.unpack_from(">i", frame, 4)
        if loss := self._losses.pop(correlation_id, None):
            loss.happened.set()
            return not loss.cut
        if self._proxy.delay_s:
            time.sleep(self._proxy.delay_s)
        self._client.sendall(frame)
        return True


def _predicate(matches: Callable[[Request], bool] | int) -> Callable[[Request], bool]:
    return (lambda request: request.api_key == matches) if isinstance(matches, int) else matches


def _read_frame(source: socket.socket) -> bytes:
    """One length-prefixed frame, its length included; empty at the end of the stream."""
    size = _read(source, 4)
    return size + _read(source, struct.unpack(">i", size)[0]) if size else b""


def _read(source: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = source.recv(count - len(data))
        if not part:
            return b""
        data += part
    return bytes(data)


def _break(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
