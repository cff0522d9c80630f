"""`tailrace switch`: change the method that publishes a pipeline."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.edge import EXIT_INTERRUPTED, ended_by_signals, load
from tailrace.cli.progress import show_progress


class Target(StrEnum):
    """The methods that can publish."""

    WORKER = "worker"
    LAMBDA = "lambda"


def switch(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)],
    *,
    to: Annotated[Target, typer.Option(help="Who is to publish from now on.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")] = False,
) -> None:
    """Change the method that publishes a pipeline: its workers, or its Lambda function.

    Both may be running: the one that is not to publish is fenced, and refuses from then on. The other goes on where
    it stopped: no loss, no repeat, no new snapshot. If it breaks off, nobody publishes until it has been run again.

    \b
    Example:
      tailrace switch pipeline.yaml --to lambda
    """
    import msgspec

    from tailrace.runtime import switch as runtime

    pipeline = load(file).pipeline
    with ended_by_signals(EXIT_INTERRUPTED):
        done = runtime.switch(pipeline, to.value, _tell)
    if as_json:
        typer.echo(msgspec.json.encode(done).decode())
    elif done.before == done.method:
        typer.echo(f"pipeline {done.pipeline} is served by {done.method} already: there is nothing to do")
    else:
        typer.echo(f"pipeline {done.pipeline} is served by {done.method} now; {done.fenced} producers were fenced")


def _tell(fenced: int, count: int) -> None:
    show_progress(f"fencing {fenced} of {count}" if fenced < count else "")
