"""`tailrace switch`: change the method that publishes a pipeline."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.confirm import confirm
from tailrace.cli.edge import EXIT_INTERRUPTED, KafkaOption, ended_by_signals, load
from tailrace.cli.progress import progress_shown
from tailrace.cli.render import to_json

if TYPE_CHECKING:
    from tailrace.core.checkpoint import Method


class Target(StrEnum):
    """The methods that can publish."""

    WORKER = "worker"
    LAMBDA = "lambda"


def switch(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)],
    *,
    kafka: KafkaOption = None,
    to: Annotated[Target, typer.Option(help="The method that publishes from now on.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Let FILE stop or redirect running tables.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")] = False,
) -> None:
    """Switch a pipeline between workers and the Lambda function.

    Both may be running: the old method is fenced and refuses to publish from then on. The new one resumes where it
    stopped: no loss, no repeat, no new snapshot. If the switch is interrupted, nothing is published until you run it
    again. It asks for confirmation; `--yes` skips the question, and is required without a terminal.

    \b
    Example:
      tailrace switch pipeline.yaml --to lambda
    """
    from tailrace.kafka.owner import new_owner
    from tailrace.operations import switch as operation
    from tailrace.operations.definition import define

    loaded = load(file, kafka=kafka)
    name = loaded.pipeline.name
    with ended_by_signals(EXIT_INTERRUPTED):
        before = operation.method_of(loaded)
    if before != to.value:
        typer.echo(_effect(name, before), err=True)
        question = f"Let {to.value} publish the pipeline {name} from now on?"
        confirm(question, yes=yes, to="switch", otherwise="nothing was switched")
    with ended_by_signals(EXIT_INTERRUPTED):
        with progress_shown() as progress:
            done = operation.switch(loaded, to.value, progress=progress)
        if accept_changes:
            define(loaded, new_owner(), accept_changes=True)
    if as_json:
        typer.echo(to_json(done))
    elif done.before == done.method:
        typer.echo(f"pipeline {done.pipeline} is served by {done.method} already: there is nothing to do")
    else:
        typer.echo(f"pipeline {done.pipeline} is served by {done.method} now; {done.fenced} producers were fenced")


def _effect(name: str, before: Method) -> str:
    if before == "none":
        return f"a switch of pipeline {name} is in progress or was interrupted: nothing is published"
    return f"pipeline {name} is served by {before}, which is fenced and refuses to publish from then on"
