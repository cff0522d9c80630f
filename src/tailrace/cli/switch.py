"""`tailrace switch`: change the method that publishes a pipeline, or the source that it reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tailrace.cli.confirm import confirm
from tailrace.cli.edge import EXIT_INTERRUPTED, KafkaOption, ended_by_signals, load
from tailrace.cli.progress import progress_shown
from tailrace.cli.render import to_json
from tailrace.errors import FileError
from tailrace.moments import utc

if TYPE_CHECKING:
    from tailrace.config import LoadedPipeline
    from tailrace.core.checkpoint import Method
    from tailrace.operations.switch_source import SwitchedSource


def switch(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)],
    *,
    kafka: KafkaOption = None,
    to: Annotated[
        str,
        typer.Option(
            metavar="worker|lambda|OTHER_FILE",
            help="The method that publishes from now on, or the file with the source that is read from now on.",
            show_default=False,
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Let FILE stop or redirect running tables.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")] = False,
) -> None:
    """Switch a pipeline to another method or source.

    Both methods may be running: the old one is fenced and refuses to publish from then on. The new one resumes where it
    stopped: no loss, no repeat, no new snapshot. If the switch is interrupted, nothing is published until you run it
    again. It asks for confirmation; `--yes` skips the question, and is required without a terminal.

    From DynamoDB Streams to Kinesis or back, FILE is what the workers run with, and OTHER_FILE differs from it in
    `source` alone. Start workers with OTHER_FILE afterwards.

    \b
    Example:
      tailrace switch pipeline.yaml --to lambda
      tailrace switch streams.yaml --to kinesis.yaml
    """
    loaded = load(file, kafka=kafka)
    match to:
        case "worker" | "lambda":
            _switch_method(loaded, to, yes=yes, accept_changes=accept_changes, as_json=as_json)
        case _ if not Path(to).exists():
            raise FileError(f"--to must be worker, lambda or a file, and there is no file {to}")
        case _:
            if accept_changes:
                raise FileError("--accept-changes is for a switch to a method: a switch of sources changes no table")
            _switch_source(loaded, load(Path(to), kafka=kafka), yes=yes, as_json=as_json)


def _switch_method(
    loaded: LoadedPipeline, to: Literal["worker", "lambda"], *, yes: bool, accept_changes: bool, as_json: bool
) -> None:
    from tailrace.kafka.owner import new_owner
    from tailrace.operations import switch as operation
    from tailrace.operations.definition import define

    name = loaded.pipeline.name
    with ended_by_signals(EXIT_INTERRUPTED):
        before = operation.method_of(loaded)
    if before != to:
        typer.echo(_effect(name, before), err=True)
        question = f"Let {to} publish the pipeline {name} from now on?"
        confirm(question, yes=yes, to="switch", otherwise="nothing was switched")
    with ended_by_signals(EXIT_INTERRUPTED):
        with progress_shown() as progress:
            done = operation.switch(loaded, to, progress=progress)
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


def _switch_source(before: LoadedPipeline, after: LoadedPipeline, *, yes: bool, as_json: bool) -> None:
    from tailrace.operations import switch_source as operation

    operation.check_files(before, after)
    name, to = before.pipeline.name, after.pipeline.source.type
    with ended_by_signals(EXIT_INTERRUPTED):
        current = operation.source_of(before)
    if current != to:
        typer.echo(f"pipeline {name} reads from {current}; its workers are fenced and end", err=True)
        question = f"Let workers with the other file read it from {to} from now on?"
        confirm(question, yes=yes, to="switch", otherwise="nothing was switched")
    with ended_by_signals(EXIT_INTERRUPTED), progress_shown() as progress:
        done = operation.switch_source(before, after, progress=progress)
    typer.echo(to_json(done) if as_json else _source_switched(done))


def _source_switched(done: SwitchedSource) -> str:
    if not done.fenced:
        return f"pipeline {done.pipeline} reads from {done.after} already: there is nothing to do"
    return (
        f"pipeline {done.pipeline} reads from {done.after} now; {done.fenced} producers were fenced, and "
        f"{done.changes} published changes since {utc(done.from_ms)} are left out. Start workers with the other file"
    )
