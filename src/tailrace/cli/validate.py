"""`tailrace validate`: check a pipeline file without connecting to anything."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.edge import KafkaOption, load_lake

if TYPE_CHECKING:
    from tailrace.config.lake import Lake


def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the pipeline with all of its defaults, or the errors, as JSON.")
    ] = False,
    kafka: KafkaOption = None,
) -> None:
    """Check a pipeline file without connecting to anything.

    Reports all mistakes at once, with line and fix. Exit code 0 when the file is valid, 2 when not.

    \b
    Example:
      tailrace validate pipeline.yaml
    """
    from tailrace.config import FileErrors, LoadedLakeFile

    try:
        loaded = load_lake(file, kafka=kafka, with_functions=True, with_secrets=False)
    except FileErrors as errors:
        if not as_json:
            raise
        found = [{"line": e.line, "path": e.path, "message": e.message, "hint": e.hint} for e in errors.errors]
        typer.echo(json.dumps({"file": str(file), "ok": False, "errors": found}))
        raise typer.Exit(2) from None
    if isinstance(loaded, LoadedLakeFile):
        content = loaded.content
        told = (
            f"{file}: ok: lake file {content.name}, topics {', '.join(content.topics)}{lakes_in_words(content.lakes)}"
        )
        typer.echo(json.dumps({"file": str(file), "ok": True, "lake_file": content.shown()}) if as_json else told)
        return
    pipeline = loaded.pipeline
    if as_json:
        notes = [{"key": each.key, "why": each.why} for each in loaded.notes]
        typer.echo(json.dumps({"file": str(file), "ok": True, "pipeline": pipeline.shown(), "notes": notes}))
        return
    for note in loaded.notes:
        typer.echo(f"{file}: {note.key} does nothing here: {note.why}")
    lanes = f"{pipeline.lanes} lane{'s' if pipeline.lanes > 1 else ''}"
    sinks = lakes_in_words(pipeline.lakes)
    if pipeline.replica is not None:
        sinks += f", replica {', '.join(pipeline.replica.tables.values())}"
    typer.echo(f"{file}: ok: pipeline {pipeline.name}, {pipeline.source.summary}, {lanes}{sinks}")


def lakes_in_words(lakes: Iterable[Lake]) -> str:
    """Name lakes and their locations behind other words."""
    return "".join(f", lake {lake.name} at {lake.location}" for lake in lakes)
