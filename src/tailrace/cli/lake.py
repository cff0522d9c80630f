"""`tailrace lake`: write the topics of a pipeline to its data lakes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.edge import EXIT_INTERRUPTED, KafkaOption, edge, ended_by_signals, load_lake, stop_on_signals
from tailrace.cli.lake_script import Script
from tailrace.cli.metrics_port import serve_metrics
from tailrace.cli.progress import progress_shown

if TYPE_CHECKING:
    from tailrace.operations.lake import LakeReport


def lake(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The pipeline file, or a lake's own.", show_default=False)
    ],
    *,
    kafka: KafkaOption = None,
    once: Annotated[bool, typer.Option("--once", help="Stop when the lake has all that the topics hold now.")] = False,
    target: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Write to this lake of FILE alone. Without it, to all.", show_default=False),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Serve /metrics, /healthz and /readyz on this port; 0: a free one."),
    ] = None,
    script: Annotated[
        Script | None,
        typer.Option(help="Print the job of Flink for such a cluster instead of running it.", show_default=False),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was written as JSON, a line for each lake.")
    ] = False,
) -> None:
    """Write changes to a data lake, each exactly once.

    It runs until Ctrl-C. Start it again, or several copies on any hosts: they share the topics' partitions, and resume
    where the lake ends. With --once it catches up and ends, for cron. The section `lake` of the file says where to; of
    several lakes each gets all changes.

    A lake with `engine: flink` is written by a job of Apache Flink, which is installed at the first use. One process
    runs one such lake; --script prints the job for a cluster.

    \b
    Example:
      tailrace lake pipeline.yaml
      tailrace lake pipeline.yaml --once --json
    """
    import msgspec

    from tailrace import logs
    from tailrace.cli.lake_flink import flink_target, run_flink
    from tailrace.operations.lake import LakeWriter
    from tailrace.operations.lake_targets import name_of

    with ended_by_signals(0):
        stopping = stop_on_signals()
        loaded = load_lake(file, kafka=kafka)
        logs.configure("warning", edge.redact)
        flink = flink_target(loaded, target, with_script=script is not None)
        if flink is None:
            writer = LakeWriter(loaded, once=once, target=target)
    if flink is not None:
        run_flink(flink, stopping, script=script, once=once, metrics_port=metrics_port, as_json=as_json)
        return
    if metrics_port is not None:
        from tailrace.lake.metrics import LakeMetrics

        serve_metrics(name_of(loaded), LakeMetrics(writer.parts), metrics_port)
    with progress_shown() as progress:
        reports = writer.run(lambda: bool(stopping), progress)
    for report in reports:
        typer.echo(msgspec.json.encode(report).decode() if as_json else "\n".join(_lines(report)))
    if once and not all(report.at_end for report in reports):
        raise typer.Exit(EXIT_INTERRUPTED)


def _lines(report: LakeReport) -> Iterator[str]:
    for topic, totals in sorted(report.topics.items()):
        yield f"topic {topic}: {totals.records} records"
    for topic, totals in sorted(report.current.items()):
        yield f"topic {topic}: {totals.records} records merged into the present state"
    if report.files:
        yield f"{report.location}: {report.files} files, {report.size_bytes:,} bytes"
    if report.dead_letters:
        yield f"! {report.dead_letters} records make no row, and are dead letters"
    if not (report.topics or report.current):
        yield f"{report.location}: nothing new"
    if report.at_end:
        yield f"{report.location} has all that the topics held at the start"
