"""A threaded HTTP server that ends its connections with itself, and says nothing of clients that go away."""

from __future__ import annotations

import socket
import sys
from http.server import ThreadingHTTPServer
from typing import Any


class HttpServer(ThreadingHTTPServer):
    """Keeps its connections, to end them when it closes: a client keeps them alive for as long as it likes."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Keep the connection in mind."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection: it ends on its own."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Release the port, and end every connection."""
        super().server_close()
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # its client was quicker

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing about connections that end: clients disconnect as they like, and some are cut on purpose."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
