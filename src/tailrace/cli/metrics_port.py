"""Serves what a command measures on the port of `--metrics-port`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

PORT_HINT = "choose another port with --metrics-port"


def serve_metrics(name: str, metrics: Collector, port: int) -> None:
    """Serve the metrics of a pipeline, and probes that always succeed. Raises WorldError when the port is taken."""
    from tailrace.logs import log
    from tailrace.worker.exposition import Exposition
    from tailrace.worker.health import HealthServer

    server = HealthServer(
        port,
        registry=Exposition("pipeline", {name: metrics}),
        healthy=lambda: None,
        ready=lambda: None,
        hint=PORT_HINT,
    )
    log.warning("serving metrics", extra={"port": server.port})
