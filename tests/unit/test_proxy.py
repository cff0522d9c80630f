"""The fault proxy by itself, before a simulator for a broker that answers every request with its correlation id."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from support.proxy import END_TXN, FETCH, METADATA, KafkaProxy
from tailrace.local.service import free_ports


@pytest.fixture
def broker() -> Iterator[int]:
    """Gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            while request := connection.recv(4096):
                for at in range(0, len(request), 12):
                    connection.sendall(struct.pack(">i", 4) + request[at + 8 : at + 12])

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    accepting.join()
    listener.close()


@pytest.fixture
def proxy(broker: int) -> Iterator[KafkaProxy]:
    with KafkaProxy(free_ports(1)[0], broker) as proxy:
        yield proxy


class Client:
    """Speaks just enough of the protocol."""

    def __init__(self, proxy: KafkaProxy) -> None:
        self._socket = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)

    def send(self, api_key: int, correlation_id: int) -> None:
        self._socket.sendall(struct.pack(">ihhi", 8, api_key, 0, correlation_id))

    def answer(self, timeout_s: float = 5.0) -> int | None:
        """The next answer's correlation id; None when the connection has ended."""
        self._socket.settimeout(timeout_s)
        try:
            data = self._socket.recv(8, socket.MSG_WAITALL)
        except ConnectionResetError:
            return None
        return int(struct.unpack(">ii", data)[1]) if data else None

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def peer(proxy: KafkaProxy) -> Iterator[Client]:
    client = Client(proxy)
    yield client
    client.close()


def test_it_forwards_both_ways_and_notes_the_requests(proxy: KafkaProxy, peer: Client) -> None:
    peer.send(METADATA, 1)
    peer.send(FETCH, 2)
    assert [peer.answer(), peer.answer()] == [1, 2]
    assert proxy.requests == {METADATA: 1, FETCH: 1}


def test_it_loses_the_next_answer_of_an_api_key_and_cuts(proxy: KafkaProxy, peer: Client) -> None:
    lost = proxy.lose_answer(END_TXN)
    peer.send(METADATA, 1)
    assert peer.answer() == 1
    assert not lost.is_set()
    peer.send(END_TXN, 2)
    assert peer.answer() is None
    assert lost.is_set()


def test_it_loses_one_answer_only(proxy: KafkaProxy, peer: Client) -> None:
    lost = proxy.lose_answer(lambda request: request.correlation_id == 2, cut=False)
    for correlation_id in (1, 2, 3):
        peer.send(END_TXN, correlation_id)
    assert [peer.answer(), peer.answer()] == [1, 3]
    assert lost.is_set()


def test_a_black_hole_holds_everything_back_until_it_ends(proxy: KafkaProxy, peer: Client) -> None:
    proxy.black_hole()
    peer.send(METADATA, 1)
    with pytest.raises(TimeoutError):
        peer.answer(timeout_s=0.2)
    proxy.pass_again()
    assert peer.answer() == 1


def test_it_delays_answers(proxy: KafkaProxy, peer: Client) -> None:
    proxy.delay_s = 0.2
    began = time.monotonic()
    peer.send(METADATA, 1)
    assert peer.answer() == 1
    assert time.monotonic() - began >= 0.2


def test_a_cut_breaks_connections_and_new_ones_are_served(proxy: KafkaProxy, peer: Client) -> None:
    peer.send(METADATA, 1)
    assert peer.answer() == 1
    proxy.cut()
    assert peer.answer() is None
    again = Client(proxy)
    again.send(METADATA, 2)
    assert again.answer() == 2
    again.close()


def test_a_client_sees_that_the_broker_is_down() -> None:
    port, nobody = free_ports(2)
    with KafkaProxy(port, nobody) as proxy:
        client = Client(proxy)
        assert client.answer() is None
        client.close()


def test_faults_of_one_connection_leave_the_others_alone(proxy: KafkaProxy, peer: Client) -> None:
    other = Client(proxy)
    peer.send(END_TXN, 1)
    other.send(FETCH, 1)
    assert [peer.answer(), other.answer()] == [1, 1]
    (commits,) = proxy.connections(END_TXN)
    (fetches,) = proxy.connections(FETCH)
    assert len(proxy.connections()) == 2

    commits.black_hole()
    fetches.delay_s = 0.2
    began_s = time.monotonic()
    for client in (peer, other):
        client.send(METADATA, 2)
    assert other.answer() == 2
    assert time.monotonic() - began_s >= 0.2
    with pytest.raises(TimeoutError):
        peer.answer(timeout_s=0.2)
    commits.pass_again()
    assert peer.answer() == 2

    commits.cut()
    assert peer.answer() is None
    other.send(METADATA, 3)
    assert other.answer() == 3
    other.close()


def test_a_dropped_request_may_break_its_connection_and_come_late(proxy: KafkaProxy, peer: Client) -> None:
    dropped = proxy.drop_request(END_TXN, cut=True)
    peer.send(END_TXN, 1)
    assert peer.answer() is None
    assert dropped.happened.is_set()
    assert dropped.deliver_late() == b""


@pytest.mark.parametrize("frame", [struct.pack(">ihhi", 8, FETCH, 0, 1)[:7], b"\0\0\0\x08"])
def test_a_connection_that_ends_amid_a_frame_is_cut(proxy: KafkaProxy, frame: bytes) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        client.sendall(frame)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert proxy.requests == {}
