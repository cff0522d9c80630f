"""`tailrace replicate`: keep copies of the tables in another account or region."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.edge import EXIT_INTERRUPTED, KafkaOption, edge, ended_by_signals, load, stop_on_signals
from tailrace.cli.metrics_port import serve_metrics
from tailrace.cli.progress import progress_shown

if TYPE_CHECKING:
    from tailrace.operations.replica import ReplicaReport


def replicate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)],
    *,
    kafka: KafkaOption = None,
    once: Annotated[
        bool, typer.Option("--once", help="Stop when the copies have all that the topics hold now.")
    ] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Serve /metrics, /healthz and /readyz on this port; 0: a free one."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as one line of JSON.")] = False,
) -> None:
    """Keep copies of the tables in another account or region.

    An older state never takes the place of a newer one. It runs until Ctrl-C. Start it again, or several processes on
    any hosts: they share the topics' partitions, and resume where the copies are. The section `replica` of the file
    says where they are.

    \b
    Example:
      tailrace replicate pipeline.yaml
      tailrace replicate pipeline.yaml --once --json
    """
    import msgspec

    from tailrace import logs
    from tailrace.operations.replica import Replicator

    with ended_by_signals(0):
        stopping = stop_on_signals()
        loaded = load(file, kafka=kafka, with_functions=True)
        logs.configure("warning", edge.redact)
        replicator = Replicator(loaded, once=once)
    if metrics_port is not None:
        from tailrace.replica.metrics import ReplicaMetrics

        serve_metrics(loaded.pipeline.name, ReplicaMetrics(replicator), metrics_port)
    with progress_shown() as progress:
        report = replicator.run(lambda: bool(stopping), progress)
    typer.echo(msgspec.json.encode(report).decode() if as_json else "\n".join(_lines(report)))
    if once and not report.at_end:
        raise typer.Exit(EXIT_INTERRUPTED)


def _lines(report: ReplicaReport) -> Iterator[str]:
    for table, counts in sorted(report.tables.items()):
        yield f"table {table}: {counts.written} items written, {counts.deleted} deleted"
        if counts.older:
            yield f"  {counts.older} states were there already, or newer ones"
        if counts.refused:
            yield f"! {counts.refused} records cannot be written, and are dead letters"
    if report.throttled:
        yield f"! throttled {report.throttled} times"
    if not report.tables:
        yield "nothing new"
    if report.at_end:
        yield "the copies have all that the topics held at the start"
