"""One process of a group: its API, and the connectors that it runs."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import Final

from tailrace.config.connectors.translate import read_clients
from tailrace.errors import FileError
from tailrace.kafka.java_clients import translate
from tailrace.kafka.owner import new_owner
from tailrace.serve import loggers
from tailrace.serve.api import make_app
from tailrace.serve.metrics import Metrics
from tailrace.serve.server import common_name, make_server, run
from tailrace.serve.service import Service
from tailrace.serve.store import Store
from tailrace.serve.supervisor import Supervisor
from tailrace.serve.users import load_auth

logger = logging.getLogger("tailrace.serve")

_ANYWHERE: Final = {"0.0.0.0", "::"}


def run_process(kafka: Path, group: str, *, host: str, port: int, auth_file: Path | None) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises `FileError` and `WorldError`."""
    given = read_clients(kafka)
    translated = translate(given.properties)
    for name, refused in translated.refused.items():
        raise FileError(refused.message, file=str(kafka), path=name, hint=refused.hint)
    auth = None if auth_file is None else load_auth(auth_file)
    listener = _listen(host, port)
    address = f"{socket.gethostname() if host in _ANYWHERE else host}:{listener.getsockname()[1]}"
    store = Store(translated.properties, group)
    store.start()
    for name, level in store.read(lambda state: dict(state.loggers)).items():
        loggers.set_level(name, level)
    supervisor = Supervisor(store, given.properties, identity=new_owner(), address=address)
    service = Service(store, given, address=address)
    app = make_app(service, Metrics(lambda: supervisor.conditions), auth, common_name)
    server = make_server(app, host, port, None if auth is None else auth.tls)
    supervisor.start()
    logger.info("serving the REST API", extra={"address": address})
    try:
        run(server, listener)
    finally:
        supervisor.close()
        store.close()
        logger.info("stopped")
        os._exit(0)  # Python would first take apart what threads still wait for


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        why = (error.strerror or "").lower()
        raise FileError(f"--port {port} of {host} cannot be listened at: {why}", hint="choose another port") from error
    return listener
