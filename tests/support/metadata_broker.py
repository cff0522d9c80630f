"""A broker that answers Metadata and is silent about everything else; fenced, it names no broker, not even itself."""

from __future__ import annotations

import socketserver
import struct
import threading
from typing import BinaryIO, cast

API_VERSIONS, METADATA, LIST_OFFSETS = 18, 3, 2
VERSIONS = {API_VERSIONS: (0, 0), METADATA: (8, 8), LIST_OFFSETS: (3, 3)}
"""The versions that it offers: the first and the last."""
UNSUPPORTED_VERSION, LEADER_NOT_AVAILABLE = 35, 5
BROKER = 1
NONE = -1
POLL_S = 0.05


class MetadataBroker(socketserver.ThreadingTCPServer):
    """Listens while in a `with` block. Every topic that it is asked for has one partition, led by itself."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.fenced = False
        threading.Thread(target=self.serve_forever, args=(POLL_S,), daemon=True).start()

    @property
    def client_properties(self) -> dict[str, str]:
        return {"bootstrap.servers": f"127.0.0.1:{self.server_address[1]}"}

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def metadata(self, topics: list[str]) -> bytes:
        """Return the body of MetadataResponse 8."""
        leader = NONE if self.fenced else BROKER
        error = LEADER_NOT_AVAILABLE if self.fenced else 0
        itself = struct.pack(">i", BROKER) + _string("127.0.0.1") + struct.pack(">ih", self.server_address[1], NONE)
        body = struct.pack(">i", 0) + _array([] if self.fenced else [itself]) + _string("cluster")
        partition = struct.pack(">hiiiiii", error, 0, leader, 0, 1, BROKER, 1) + struct.pack(">ii", BROKER, 0)
        described = [
            struct.pack(">h", 0) + _string(topic) + b"\0" + _array([partition]) + struct.pack(">i", 0)
            for topic in topics
        ]
        return body + struct.pack(">i", leader) + _array(described) + struct.pack(">i", 0)


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        broker = cast("MetadataBroker", self.server)
        while length := self.rfile.read(4):
            request = self.rfile.read(*struct.unpack(">i", length))
            key, version, correlation, client_bytes = struct.unpack_from(">hhih", request)
            body = None
            if key == API_VERSIONS:
                versions = [struct.pack(">hhh", api, *range_) for api, range_ in VERSIONS.items()]
                body = struct.pack(">h", UNSUPPORTED_VERSION if version else 0) + _array(versions)
            elif key == METADATA:
                body = broker.metadata(_topics(request, 10 + client_bytes))
            if body is not None:
                _send(cast("BinaryIO", self.wfile), struct.pack(">i", correlation) + body)


def _send(to: BinaryIO, response: bytes) -> None:
    to.write(struct.pack(">i", len(response)) + response)


def _topics(request: bytes, at: int) -> list[str]:
    (count,) = struct.unpack_from(">i", request, at)
    at += 4
    topics = []
    for _ in range(count):
        (length,) = struct.unpack_from(">h", request, at)
        topics.append(request[at + 2 : at + 2 + length].decode())
        at += 2 + length
    return topics


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _array(items: list[bytes]) -> bytes:
    return struct.pack(">i", len(items)) + b"".join(items)
