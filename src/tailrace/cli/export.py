"""`tailrace export`: write committed records to files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.edge import (
    EXIT_INTERRUPTED,
    KafkaOption,
    edge,
    ended_by_signals,
    file_argument,
    load,
    stop_on_signals,
)
from tailrace.cli.progress import progress_shown
from tailrace.errors import FileError

if TYPE_CHECKING:
    from tailrace.operations.export import Exported, ExportReport


def export(
    what: Annotated[
        str,
        typer.Argument(metavar="FILE|TOPIC", help="A pipeline file, or with --bootstrap a topic.", show_default=False),
    ],
    *,
    kafka: KafkaOption = None,
    to: Annotated[Path, typer.Option("--to", help="The folder to write to.", show_default=False)],
    bootstrap: Annotated[str | None, typer.Option(help="Brokers of the TOPIC, host:port.", show_default=False)] = None,
    table: Annotated[
        list[str] | None, typer.Option(help="Only this table; * and ? are wildcards.", show_default=False)
    ] = None,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Stop when the folder has all that the topics hold now.")
    ] = False,
    max_file_mb: Annotated[float, typer.Option(min=0.001, help="Finish a file at this size in MB.")] = 64,
    max_file_seconds: Annotated[float, typer.Option(min=0.01, help="Finish a file after this many seconds.")] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was exported as one line of JSON.")] = False,
) -> None:
    """Write committed records to files, each exactly once.

    It runs until Ctrl-C. Start it again, or several at once on hosts that share the folder: it resumes where the folder
    ends. For a pipeline it exports the topics of its tables and its dead letters, and new topics as they appear.

    \b
    Example:
      tailrace export pipeline.yaml --to backup
      tailrace export shop.orders --bootstrap localhost:9092 --to backup --until-end
    """
    import msgspec

    from tailrace import logs
    from tailrace.operations.export import export
    from tailrace.sinks.progress import Limits

    with ended_by_signals(0):
        stopping = stop_on_signals()
        exported = _exported(what, bootstrap, table or [], kafka)
    logs.configure("warning", edge.redact)
    limits = Limits(size_bytes=round(max_file_mb * 1_000_000), age_ms=round(max_file_seconds * 1000))
    with progress_shown() as progress:
        report = export(exported, to, limits, until_end=until_end, stopped=lambda: bool(stopping), progress=progress)
    typer.echo(msgspec.json.encode(report).decode() if as_json else "\n".join(_lines(report)))
    if until_end and not report.at_end:
        raise typer.Exit(EXIT_INTERRUPTED)


def _exported(what: str, bootstrap: str | None, tables: list[str], kafka: Path | None) -> Exported:
    from tailrace.operations.export import of_pipeline, of_topic

    if bootstrap is not None:
        if tables:
            raise FileError("--table chooses among the tables of a pipeline file; leave it out with a topic")
        return of_topic({"bootstrap.servers": bootstrap}, what)
    return of_pipeline(load(file_argument(what), kafka=kafka), tables)


def _lines(report: ExportReport) -> Iterator[str]:
    for topic, totals in sorted(report.topics.items()):
        yield f"topic {topic}: {totals.records} records in {totals.batches} files"
    if not report.topics:
        yield "nothing new"
    if report.at_end:
        yield f"{report.folder} has all that the topics held at the start"
