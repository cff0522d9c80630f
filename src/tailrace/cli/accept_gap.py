"""`tailrace accept-gap`: accept that changes of a table are lost, so that it goes on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.edge import EXIT_INTERRUPTED, ended_by_signals, load

EXIT_NO = 1
"""The exit code when the answer is no."""


def accept_gap(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)],
    *,
    table: Annotated[str, typer.Option(help="The table whose gaps are accepted.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is lost as one line of JSON.")] = False,
) -> None:
    """Accept that changes of a table are lost.

    It then goes on with the oldest change that is still there. Says what is lost and asks before it is done;
    `--yes` leaves out the question, and is needed where nobody can answer it. Running workers go on by themselves
    within seconds.

    \b
    Example:
      tailrace accept-gap pipeline.yaml --table orders
    """
    import msgspec

    from tailrace.runtime import accept_gap as runtime

    pipeline = load(file).pipeline
    with ended_by_signals(EXIT_INTERRUPTED):
        gaps = runtime.find_gaps(pipeline, table)
    for loss in gaps.losses:
        typer.echo(f"lost: {loss.words} ({loss.detail})" if loss.detail else f"lost: {loss.words}", err=True)
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("nobody can be asked here; add --yes to accept the loss", param_hint="--yes")
        if not _agrees(f"Let table {table} go on without these changes?"):
            typer.echo("nothing was accepted", err=True)
            raise typer.Exit(EXIT_NO)
    with ended_by_signals(EXIT_INTERRUPTED):
        runtime.accept(pipeline, gaps)
    if as_json:
        typer.echo(msgspec.json.encode({"pipeline": pipeline.name, "table": table, "lost": gaps.losses}).decode())
    else:
        typer.echo(f"accepted: table {table} goes on; `tailrace status {file}` shows it")


def _agrees(question: str) -> bool:
    """Ask on stderr, so that stdout holds the outcome alone; no answer is a no."""
    typer.echo(f"{question} [y/N]: ", nl=False, err=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
