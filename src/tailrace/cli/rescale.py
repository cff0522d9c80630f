"""`tailrace rescale`: raise the number of lanes of a pipeline that exists."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.edge import EXIT_INTERRUPTED, KafkaOption, ended_by_signals, load
from tailrace.cli.progress import progress_shown
from tailrace.cli.render import to_json


def rescale(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)],
    *,
    kafka: KafkaOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")] = False,
) -> None:
    """Raise a pipeline's number of lanes.

    An existing pipeline gets the number of lanes that its file says in `lanes`. Stop every worker first: it is refused
    while there are any. Positions are kept, and no change is lost or repeated. If it is interrupted, no worker starts
    until you run it again. The number of lanes can never go down.

    \b
    Example:
      tailrace rescale pipeline.yaml
    """
    from tailrace.operations import rescale as operation

    loaded = load(file, kafka=kafka)
    with ended_by_signals(EXIT_INTERRUPTED), progress_shown() as progress:
        done = operation.rescale(loaded, progress=progress)
    if as_json:
        typer.echo(to_json(done))
    elif done.lanes_before == done.lanes:
        typer.echo(f"pipeline {done.pipeline} has {done.lanes} lanes already: there is nothing to do")
    else:
        shards = f"{done.moved_shards} shard{'' if done.moved_shards == 1 else 's'}"
        typer.echo(f"pipeline {done.pipeline}: {done.lanes_before} lanes are {done.lanes} now, {shards} moved")
