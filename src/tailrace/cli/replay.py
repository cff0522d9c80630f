"""`tailrace replay`: publish again what a table's stream still holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.confirm import confirm
from tailrace.cli.edge import EXIT_INTERRUPTED, KafkaOption, ended_by_signals, load, stop_on_signals
from tailrace.cli.moment import moment_ms
from tailrace.cli.progress import progress_shown
from tailrace.cli.render import to_json
from tailrace.moments import utc
from tailrace.remedy import ReplayFrom
from tailrace.remedy_sentences import sentence

if TYPE_CHECKING:
    from tailrace.config import Pipeline
    from tailrace.operations.replay import Replayed

TRIM_HORIZON = "trim_horizon"


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)],
    *,
    kafka: KafkaOption = None,
    table: Annotated[str, typer.Option(help="The table whose changes are published again.", show_default=False)],
    start: Annotated[
        str,
        typer.Option(
            "--from", metavar="TIME", help="Changes made then or later; trim_horizon for all.", show_default=False
        ),
    ],
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Only changes made then or before.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as one line of JSON.")] = False,
) -> None:
    """Publish again what a table's stream still holds.

    They are converted with the current file, go to the same topics, behind newer ones, and have the header
    `tailrace.replayed`. Checkpoints are not touched, and workers or the Lambda function may run. A TIME is
    2026-01-31T12:00:00Z (UTC without an offset), 2h for two hours ago, or milliseconds since the epoch. It asks for
    confirmation; `--yes` skips the question, and is required without a terminal.

    \b
    Example:
      tailrace replay pipeline.yaml --table orders --from 2h
    """
    from tailrace.operations import replay as operation

    from_ms = None if start == TRIM_HORIZON else moment_ms(start, "--from")
    to_ms = None if until is None else moment_ms(until, "--to")
    loaded = load(file, kafka=kafka, with_functions=True)
    with ended_by_signals(EXIT_INTERRUPTED):
        operation.check(loaded, table, from_ms=from_ms, to_ms=to_ms)
    for line in _warnings(loaded.pipeline, table, from_ms, to_ms):
        typer.echo(line, err=True)
    confirm("Publish them again?", yes=yes, to="replay", otherwise="nothing was replayed")
    stopping = stop_on_signals()
    with progress_shown() as progress:
        done = operation.replay(
            loaded, table, from_ms=from_ms, to_ms=to_ms, stopped=lambda: bool(stopping), progress=progress
        )
    typer.echo(to_json(done) if as_json else "\n".join(_lines(done, loaded.file or "FILE")))
    if not done.complete:
        raise typer.Exit(EXIT_INTERRUPTED)


def _warnings(pipeline: Pipeline, table: str, from_ms: int | None, to_ms: int | None) -> Iterator[str]:
    start = "the oldest that the stream holds" if from_ms is None else utc(from_ms)
    end = "" if to_ms is None else f" to {utc(to_ms)}"
    yield f"changes of table {table} from {start}{end} are published again, to {', '.join(pipeline.topics_of(table))}"
    yield "older states will follow newer ones: whoever keeps the latest state of each key sees it go back" + (
        ", until the replay has ended" if to_ms is None else ""
    )
    if to_ms is not None:
        yield "a key that changed after that keeps its older state until it changes again; without --to none does"
    yield "the header tailrace.replayed marks the records: whoever has read the changes before can leave them out"


def _lines(done: Replayed, argument: str) -> Iterator[str]:
    details = [
        f"{count} {what}"
        for count, what in (
            (done.dropped, "dropped by the transformation"),
            (done.dead_letters, "set aside as dead letters"),
        )
        if count
    ]
    told = f" ({', '.join(details)})" if details else ""
    yield f"table {done.table}: {done.changes} changes replayed{told}"
    if done.trimmed_shards:
        yield f"changes were trimmed before they were read, of shards: {', '.join(done.trimmed_shards)}"
    if done.busy_shards:
        yield (
            "a key that changed within the last moments may keep an older state until it changes again, in shards that "
            f"are written to all the time: {', '.join(done.busy_shards)}"
        )
    if not done.complete:
        again = sentence(ReplayFrom(done.table, done.resume_from_ms, done.to_ms), argument)
        yield f"it was stopped before its end; {again}"
