"""A TCP proxy for fault tests: forwards, delays, black-holes, cuts, and loses chosen requests and answers.

Faults meet all connections, or single ones: what a connection is for is told by the requests that it has carried.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

# Numbers of the Kafka protocol's requests that tests single out (https://kafka.apache.org/protocol#protocol_api_keys).
PRODUCE = 0
FETCH = 1
METADATA = 3
JOIN_GROUP = 11
HEARTBEAT = 12
SYNC_GROUP = 14
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
        """Let the broker have it now, on a connection of its own, as a network may; return the answer's body."""
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
        self.requests: Counter[int] = Counter()  # by api key
        self.swallowed: frozenset[int] = frozenset()  # api keys whose requests never reach the broker
        self._target_port = target_port
        self._lock = threading.Lock()
        self._passing = threading.Event()
        self._passing.set()
        self._closing = False
        self._losses: list[_Loss] = []
        self._connections: set[Connection] = set()
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

    def drop_request(self, matches: Callable[[Request], bool] | int, *, cut: bool = False) -> Dropped:
        """Lose the next request that matches: it is not carried out, and the client waits for its answer in vain.

        With `cut` the connection breaks, and the client knows that there will be none.
        """
        dropped = Dropped(self._target_port)
        with self._lock:
            self._losses.append(_Loss(_predicate(matches), cut, dropped.happened, dropped))
        return dropped

    def forget_losses(self) -> None:
        """Lose nothing more of what was asked for and has not happened."""
        with self._lock:
            self._losses.clear()

    def connections(self, *api_keys: int) -> list[Connection]:
        """Return the present connections that have carried one of these requests; without any, all."""
        with self._lock:
            found = [each for each in self._connections if not api_keys or each.api_keys & set(api_keys)]
        return sorted(found, key=lambda each: each.number)

    def black_hole(self) -> None:
        """Keep connections open and accept new ones, but pass nothing until `pass_again`."""
        self._passing.clear()

    def pass_again(self) -> None:
        """End `black_hole`: what was held back is sent on."""
        self._passing.set()

    def cut(self) -> None:
        """Break all present connections; new ones are served."""
        for each in self.connections():
            each.cut()

    def close(self) -> None:
        """Stop listening and break all connections."""
        self._closing = True
        self._passing.set()
        for connection in self.connections():
            connection.pass_again()
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
        self._threads = [each for each in self._threads if each.is_alive()]
        thread.start()
        self._threads.append(thread)

    def _accept(self) -> None:
        for number in itertools.count():
            if self._closing:
                return
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
            connection = Connection(self, number, client, server)
            with self._lock:
                self._connections.add(connection)
            connection.start()


class Connection:
    """One client's connection. Faults may be set and lifted at any time, from any thread."""

    def __init__(self, proxy: KafkaProxy, number: int, client: socket.socket, server: socket.socket) -> None:
        self.number = number  # counts the proxy's connections
        self.api_keys: set[int] = set()  # of the requests that it has carried
        self.delay_s = 0.0  # added to each answer
        self._passing = threading.Event()
        self._passing.set()
        self._proxy = proxy
        self._client = client
        self._server = server
        self._losses: dict[int, _Loss] = {}  # by correlation id

    def cut(self) -> None:
        """Break it."""
        for each in (self._client, self._server):
            _break(each)

    def black_hole(self) -> None:
        """Keep it open, but pass nothing until `pass_again`."""
        self._passing.clear()

    def pass_again(self) -> None:
        """End `black_hole`: what was held back is sent on."""
        self._passing.set()

    def start(self) -> None:
        """Forward both ways, in threads."""
        self._proxy._start(lambda: self._pump(self._client, self._pass_request))
        self._proxy._start(lambda: self._pump(self._server, self._pass_answer))

    def _pump(self, source: socket.socket, forward: Callable[[bytes], bool]) -> None:
        """Move frames until an end closes, or `forward` says to cut."""
        with contextlib.suppress(OSError):
            while (
                (frame := _read_frame(source))
                and self._proxy._passing.wait()
                and self._passing.wait()
                and forward(frame)
            ):
                pass
        self.cut()
        self.pass_again()  # the other way ends too
        with self._proxy._lock:
            self._proxy._connections.discard(self)
        source.close()

    def _pass_request(self, frame: bytes) -> bool:
        _, api_key, api_version, correlation_id = _HEADER.unpack_from(frame)
        request = Request(api_key, api_version, correlation_id, frame)
        with self._proxy._lock:
            self._proxy.requests[api_key] += 1
            self.api_keys.add(api_key)
            loss = next((loss for loss in self._proxy._losses if loss.matches(request)), None)
            if loss:
                self._proxy._losses.remove(loss)
                self._losses[correlation_id] = loss
        if loss and loss.dropped:
            loss.dropped.request = request
            loss.happened.set()
            return not loss.cut
        if api_key not in self._proxy.swallowed:
            self._server.sendall(frame)
        return True

    def _pass_answer(self, frame: bytes) -> bool:
        (correlation_id,) = struct.unpack_from(">i", frame, 4)
        if loss := self._losses.pop(correlation_id, None):
            loss.happened.set()
            return not loss.cut
        if delay_s := max(self._proxy.delay_s, self.delay_s):
            time.sleep(delay_s)
        self._client.sendall(frame)
        return True


def _predicate(matches: Callable[[Request], bool] | int) -> Callable[[Request], bool]:
    return (lambda request: request.api_key == matches) if isinstance(matches, int) else matches


def _read_frame(source: socket.socket) -> bytes:
    """One length-prefixed frame, its length included; empty at the end of the stream, even amid a frame."""
    size = _read(source, 4)
    rest = _read(source, struct.unpack(">i", size)[0]) if size else b""
    return size + rest if rest else b""


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
