"""`tailrace run`: stream the tables of a pipeline until stopped."""

from __future__ import annotations

import os
import signal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.edge import edge, ended_by_signals, keep_secrets, load
from tailrace.errors import FileError

if TYPE_CHECKING:
    from tailrace.config import LoadedPipeline
    from tailrace.wiring.worker_parts import PipelineParts
    from tailrace.worker.worker import Worker

_PORT_HINT = "choose another port with --metrics-port"


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def run(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)] = None,
    *,
    table: Annotated[list[str] | None, typer.Option(help="Without a file: a table to stream; repeatable.")] = None,
    bootstrap: Annotated[str | None, typer.Option(help="Without a file: Kafka's brokers, host:port.")] = None,
    endpoint_url: Annotated[str | None, typer.Option(help="Without a file: an endpoint other than AWS's.")] = None,
    region: Annotated[str | None, typer.Option(help="Without a file: the AWS region.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Without a file: the pipeline's name.", show_default="of its tables")
    ] = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Let the file stop or redirect running tables.")
    ] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Serve /metrics, /healthz and /readyz on this port; 0: a free one."),
    ] = None,
    log_level: Annotated[LogLevel, typer.Option(help="How much to log on stderr.")] = LogLevel.INFO,
) -> None:
    """Stream the tables of a pipeline into Kafka, until stopped.

    Start as many copies as you like, on any hosts: they share the work. SIGTERM or Ctrl-C releases the lanes and ends
    with exit code 0 within 10 seconds; a second one ends at once.

    \b
    Example:
      tailrace run pipeline.yaml --metrics-port 9400
      tailrace run --table orders --bootstrap localhost:9092 --endpoint-url http://localhost:8000
    """
    from tailrace.listening import require_free
    from tailrace.worker.memory import share_arenas

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop_at_once)
    share_arenas()
    if metrics_port:
        require_free(metrics_port, hint=_PORT_HINT)
    with ended_by_signals(0):
        loaded = _loaded(file, tables=table, bootstrap=bootstrap, endpoint_url=endpoint_url, region=region, name=name)
        parts = _parts(loaded, log_level, accept_changes=accept_changes)

    from tailrace.logs import log
    from tailrace.operations.definition import define
    from tailrace.worker.health import HealthServer
    from tailrace.worker.metrics import Metrics
    from tailrace.worker.worker import Worker
    from tailrace.worker.worker_watch import WorkerWatch

    log.info("transcoder", extra={"transcoder": parts.transcoder.name, "why": parts.transcoder.why})
    metrics = Metrics(parts.name, loaded.pipeline.dead_letters_topic, transcoder=parts.transcoder.name)
    worker = Worker(parts, metrics, metrics.snapshots)
    metrics.watch(worker.report, worker.now_ms, worker.vitals)
    watch = WorkerWatch(worker, metrics, parts)
    if metrics_port is not None:
        server = HealthServer(
            metrics_port,
            registry=metrics.registry,
            healthy=worker.unhealthy_why,
            ready=watch.unready_why,
            hint=_PORT_HINT,
        )
        log.info("serving metrics", extra={"port": server.port})
    with ended_by_signals(0):
        parts.prepare()
        parts.definition = define(loaded, worker.owner, accept_changes=accept_changes)
    _stop_on_signals(worker)
    watch.start()
    worker.run()


def _loaded(
    file: Path | None,
    *,
    tables: list[str] | None,
    bootstrap: str | None,
    endpoint_url: str | None,
    region: str | None,
    name: str | None,
) -> LoadedPipeline:
    if file is not None:
        if tables or bootstrap or endpoint_url or region or name:
            raise FileError("a file excludes --table, --bootstrap, --endpoint-url, --region and --name: it says them")
        return load(file, with_functions=True)
    if not tables or bootstrap is None:
        raise FileError("give a pipeline file, or --table and --bootstrap")
    from tailrace.config import from_flags

    return keep_secrets(from_flags(tables, bootstrap, endpoint_url=endpoint_url, region=region, name=name))


def _parts(loaded: LoadedPipeline, log_level: LogLevel, *, accept_changes: bool) -> PipelineParts:
    """Check that the pipeline can run. Raises WorldError."""
    from tailrace import logs
    from tailrace.operations.plan import make_plan, refuse, warnings
    from tailrace.wiring.worker_parts import PipelineParts

    logs.configure(log_level, edge.redact)
    with loaded.telling("source"):
        parts = PipelineParts(loaded.pipeline)
    plan = make_plan(
        loaded, parts.source, transformations=parts.transformations, details=False, accept_changes=accept_changes
    )
    refuse(plan)
    for warning in warnings(plan):
        logs.log.warning(warning)
    for note in () if plan.exists else plan.notes:
        logs.log.info(note)
    return parts


def _stop_at_once(_number: int, _frame: object) -> None:
    """End before the worker began: there is nothing to clean up, and a call to Kafka might take long."""
    os._exit(0)


def _stop_on_signals(worker: Worker) -> None:
    """Make the first SIGTERM or SIGINT stop the worker, and the second end the process at once."""

    def stop(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        worker.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
