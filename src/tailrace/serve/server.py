"""Serves the API by HTTP or HTTPS, with the certificates of clients."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from typing import Any, Final

import uvicorn
from fastapi import FastAPI, Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from tailrace.serve.users import Tls

_GRACE_S: Final = 5
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class _WithCertificates(H11Protocol):
    """Remembers the common name in each client's certificate: ASGI has no place for it that uvicorn fills."""

    common_names: dict[tuple[str, int], str] = {}  # noqa: RUF012 - one for all connections

    def connection_made(self, transport: Any) -> None:
        """Note the certificate of a connection."""
        super().connection_made(transport)
        certificate = transport.get_extra_info("peercert")
        for part in (certificate or {}).get("subject", ()):
            for key, value in part:
                if key == "commonName":
                    self.common_names[transport.get_extra_info("peername")[:2]] = value

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self.client is not None:
            self.common_names.pop(self.client, None)
        super().connection_lost(exc)


def common_name(request: Request) -> str | None:
    """Return the common name in the certificate of a request's client."""
    client = request.client
    return None if client is None else _WithCertificates.common_names.get((client.host, client.port))


def make_server(app: FastAPI, host: str, port: int, tls: Tls | None) -> uvicorn.Server:
    """Make a server that has not started."""
    options: dict[str, Any] = {}
    if tls is not None:
        options = {"ssl_certfile": tls.certificate, "ssl_keyfile": tls.key}
        if tls.client_ca is not None:
            options |= {"ssl_ca_certs": tls.client_ca, "ssl_cert_reqs": int(ssl.CERT_OPTIONAL)}
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=_WithCertificates,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
        **options,
    )
    return uvicorn.Server(config)


def run(server: uvicorn.Server, listener: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C; the next one ends the process at once."""

    def stop(_number: int, _frame: object) -> None:
        server.should_exit = True

    for number in _SIGNALS:
        signal.signal(number, stop)  # uvicorn raises the signal again at its end, and by default that would be ours
    asyncio.run(server.serve(sockets=[listener]))
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
