"""`tailrace run`: stream the tables of a pipeline until stopped."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.edge import KafkaOption, edge, ended_by_signals, keep_secrets, load
from tailrace.cli.metrics_port import PORT_HINT
from tailrace.errors import FileError

if TYPE_CHECKING:
    from tailrace.config import LoadedPipeline
    from tailrace.wiring.worker_parts import PipelineParts
    from tailrace.worker.metrics import Metrics
    from tailrace.worker.together import Together
    from tailrace.worker.worker import Worker
    from tailrace.worker.worker_watch import WorkerWatch

_END_S = 8.0
"""A process that was stopped ends after so long, whatever its threads wait for: well within the promised 10 s."""
_SWITCH_INTERVAL_S = 0.0005
"""How long a thread that wakes up waits for one that computes. A change passes several threads: with Python's 5 ms, the
p99 of changes beside a snapshot was 1.6 times that without one in pure Python; with this, 1.2 times."""


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def run(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE...", help="The pipeline file, or several.", show_default=False)
    ] = None,
    *,
    kafka: KafkaOption = None,
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
    snapshot_only: Annotated[
        bool,
        typer.Option("--snapshot-only", help="Only publish the rows of snapshots, beside other workers or Lambda."),
    ] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Serve /metrics, /healthz and /readyz on this port; 0: a free one."),
    ] = None,
    metrics_host: Annotated[str, typer.Option(help="The address for --metrics-port.")] = "0.0.0.0",
    log_level: Annotated[LogLevel, typer.Option(help="How much to log on stderr.")] = LogLevel.INFO,
) -> None:
    """Stream the tables of a pipeline into Kafka, until stopped.

    Start as many copies as you like, on any hosts: they share the work. SIGTERM or Ctrl-C releases the lanes and ends
    with exit code 0 within 10 seconds; a second one ends at once. Several pipelines of one process start together and
    end together.

    \b
    Example:
      tailrace run pipeline.yaml --metrics-port 9400
      tailrace run us.yaml eu.yaml
      tailrace run pipeline.yaml --snapshot-only
      tailrace run --table orders --bootstrap localhost:9092 --endpoint-url http://localhost:8000
    """
    if snapshot_only and accept_changes:
        raise FileError("--snapshot-only excludes --accept-changes: it publishes no changes")
    from tailrace.listening import require_free
    from tailrace.worker.memory import tune_malloc

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop_at_once)
    tune_malloc()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    if metrics_port:
        require_free(metrics_port, hint=PORT_HINT)
    from tailrace import logs

    with ended_by_signals(0):
        all_loaded = _loaded(
            files,
            kafka=kafka,
            tables=table,
            bootstrap=bootstrap,
            endpoint_url=endpoint_url,
            region=region,
            name=name,
        )
        logs.configure(log_level, edge.redact)
        for loaded in all_loaded:
            for note in loaded.notes:
                logs.log.info("key of the connector does nothing here", extra={"key": note.key, "why": note.why})
        running: list[_Running | _Snapshots] = [
            _Snapshots(loaded) if snapshot_only else _Running(loaded, accept_changes=accept_changes)
            for loaded in all_loaded
        ]

    from tailrace.worker.exposition import Exposition
    from tailrace.worker.health import HealthServer, of_all
    from tailrace.worker.together import Member, Together

    for each in running:
        each.make_worker()
    if metrics_port is not None:
        server = HealthServer(
            metrics_port,
            registry=Exposition("pipeline", {each.name: each.metrics.registry for each in running}),
            healthy=of_all({each.name: each.worker.unhealthy_why for each in running}),
            ready=of_all({each.name: each.unready_why for each in running}),
            host=metrics_host,
            hint=PORT_HINT,
        )
        logs.log.info("serving metrics", extra={"port": server.port})
    with ended_by_signals(0):
        for each in running:
            each.prepare()
    together = Together({each.name: Member(each.worker, each.context) for each in running})
    _stop_on_signals(together)
    for each in running:
        each.start()
    together.run()
    os._exit(0)  # Python would first take apart what threads still wait for, which takes seconds on a busy machine


class _Running:
    """One of the pipelines, step by step, in a context in which its log lines name it."""

    metrics: Metrics
    worker: Worker
    _watch: WorkerWatch

    def __init__(self, loaded: LoadedPipeline, *, accept_changes: bool) -> None:
        """Check that it can run. Raises WorldError."""
        from tailrace import logs

        self.name = loaded.pipeline.name
        self.context = logs.naming(self.name)
        self._loaded = loaded
        self._accept_changes = accept_changes
        self._parts = self.context.run(_parts, loaded, accept_changes=accept_changes)

    def make_worker(self) -> None:
        """Make its worker, which does not run yet."""
        self.context.run(self._make_worker)

    def start(self) -> None:
        """Watch it while it runs."""
        self.context.run(self._watch.start)

    def unready_why(self) -> str | None:
        """Return why it does no work yet, or None."""
        return self._watch.unready_why()

    def prepare(self) -> None:
        """Make or check its topics, and record its definition. Raises WorldError."""
        from tailrace.operations.definition import define

        self.context.run(self._parts.prepare)
        self._parts.definition = self.context.run(
            define, self._loaded, self.worker.owner, accept_changes=self._accept_changes
        )

    def _make_worker(self) -> None:
        from tailrace.logs import log
        from tailrace.worker.metrics import Metrics
        from tailrace.worker.worker import Worker
        from tailrace.worker.worker_watch import WorkerWatch

        parts = self._parts
        log.info("transcoder", extra={"transcoder": parts.transcoder.name, "why": parts.transcoder.why})
        self.metrics = Metrics(self.name, parts.pipeline.dead_letters_topic, transcoder=parts.transcoder.name)
        self.worker = Worker(parts, self.metrics, self.metrics.snapshots)
        self.metrics.watch(
            self.worker.report, self.worker.now_ms, self.worker.vitals, lambda: parts.source.forgotten_early
        )
        self.metrics.snapshots.watch(self.worker.snapshot_reports)
        self._watch = WorkerWatch(self.worker, self.metrics, parts)


class _Snapshots:
    """One of the pipelines, of which only the snapshots are worked on here."""

    def __init__(self, loaded: LoadedPipeline) -> None:
        """Check that the pipeline exists. Raises WorldError."""
        from tailrace import logs

        self.name = loaded.pipeline.name
        self.context = logs.naming(self.name)
        self._loaded = loaded

    def make_worker(self) -> None:
        """Make its worker, which does not run yet. Raises WorldError."""
        from tailrace.operations.probing_parts import ProbingParts
        from tailrace.snapshot.alone import SnapshotsAlone
        from tailrace.wiring.sources import make_source
        from tailrace.wiring.transcoder import choose
        from tailrace.wiring.transformations import Transformations
        from tailrace.worker.metrics import Metrics

        pipeline, transcoder = self._loaded.pipeline, choose()
        with self._loaded.telling("source"):
            source = make_source(pipeline)
        parts = ProbingParts(pipeline, source, Transformations(pipeline))
        self.metrics = Metrics(self.name, pipeline.dead_letters_topic, transcoder=transcoder.name)
        self.worker = SnapshotsAlone(parts, self.metrics.snapshots, self.metrics.client_replaced)

    def prepare(self) -> None:
        """Check that the pipeline exists, with the lanes of the file. Raises WorldError."""
        from tailrace.kafka import checkpoint_topic
        from tailrace.operations.preconditions import count_lanes

        checkpoint_topic.check_lanes(self.name, self._loaded.pipeline.lanes, count_lanes(self._loaded.pipeline))

    def start(self) -> None:
        """Nothing watches it."""

    def unready_why(self) -> str | None:
        """Return why it does no work yet, or None."""
        return self.worker.unready_why()


def _loaded(
    files: list[Path] | None,
    *,
    kafka: Path | None,
    tables: list[str] | None,
    bootstrap: str | None,
    endpoint_url: str | None,
    region: str | None,
    name: str | None,
) -> list[LoadedPipeline]:
    if files:
        if tables or bootstrap or endpoint_url or region or name:
            raise FileError("a file excludes --table, --bootstrap, --endpoint-url, --region and --name: it says them")
        return _named_apart([load(file, kafka=kafka, with_functions=True) for file in files])
    if not tables or bootstrap is None:
        raise FileError("give a pipeline file, or --table and --bootstrap")
    from tailrace.config import from_flags

    return [keep_secrets(from_flags(tables, bootstrap, endpoint_url=endpoint_url, region=region, name=name))]


def _named_apart(all_loaded: list[LoadedPipeline]) -> list[LoadedPipeline]:
    """Raise FileError when two pipelines have one name: logs and metrics could not tell them apart."""
    files: dict[str, str] = {}
    for loaded in all_loaded:
        pipeline = loaded.pipeline.name
        if pipeline in files:
            raise FileError(
                f"{pipeline} is the name of the pipeline in {files[pipeline]}, too",
                path=loaded.place("name"),
                hint="give it a name of its own; or, if it writes to another cluster, a process of its own",
            )
        files[pipeline] = loaded.file
    return all_loaded


def _parts(loaded: LoadedPipeline, *, accept_changes: bool) -> PipelineParts:
    """Check that the pipeline can run. Raises WorldError."""
    from tailrace import logs
    from tailrace.operations.plan import make_plan, refuse, warnings
    from tailrace.wiring.worker_parts import PipelineParts

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


def _stop_on_signals(together: Together) -> None:
    """Make the first SIGTERM or SIGINT stop the workers, and the second end the process at once.

    The protocol holds when a process is killed. So one that has not ended in time ends as it is: a call to Kafka or AWS
    that gets no answer may take longer.
    """
    from tailrace.process.threads import start_thread

    stopped = threading.Event()

    def stop(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        stopped.set()
        together.stop()

    def end_late() -> None:
        stopped.wait()
        time.sleep(_END_S)
        os._exit(0)

    start_thread("end", end_late)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
