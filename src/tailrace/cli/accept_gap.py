"""`tailrace accept-gap`: accept that changes of a table are lost, so that the table resumes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.confirm import confirm
from tailrace.cli.edge import EXIT_INTERRUPTED, KafkaOption, argument_of, ended_by_signals, load_existing, load_lake
from tailrace.cli.render import to_json
from tailrace.errors import FileError

if TYPE_CHECKING:
    from tailrace.config import AnyLoaded


def accept_gap(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)] = None,
    *,
    kafka: KafkaOption = None,
    table: Annotated[
        str | None, typer.Option(help="The table whose gaps are accepted; required without --lake.", show_default=False)
    ] = None,
    lake: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Accept what this data lake of FILE has lost instead.", show_default=False),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Without a file: the pipeline's name.", show_default=False)] = None,
    bootstrap: Annotated[
        str | None, typer.Option(help="Without a file: Kafka's brokers, host:port.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is lost as one line of JSON.")] = False,
) -> None:
    """Accept that changes of a table are lost.

    The table then resumes with the oldest change that is still available. The command shows what is lost and asks for
    confirmation; `--yes` skips the question, and is required without a terminal. Running workers resume on their own
    within seconds. With --lake it is what retention removed from the topics before a data lake had it: stop
    `tailrace lake` before, and start it again.

    \b
    Example:
      tailrace accept-gap pipeline.yaml --table orders
    """
    from tailrace.operations.accept_gap import accept, find_gaps

    if lake is not None:
        if file is None:
            raise FileError("--lake needs a file, which says where the lake is")
        _accept_of_lake(load_lake(file, kafka=kafka), lake, table, yes=yes, as_json=as_json)
        return
    if table is None:
        raise typer.BadParameter("it is missing", param_hint="--table")
    loaded = load_existing(file, name, bootstrap, kafka=kafka)
    with ended_by_signals(EXIT_INTERRUPTED):
        gaps = find_gaps(loaded, table)
    for loss in gaps.losses:
        typer.echo(f"lost: {loss.words} ({loss.detail})" if loss.detail else f"lost: {loss.words}", err=True)
    question = f"Resume table {table} without these changes?"
    confirm(question, yes=yes, to="accept the loss", otherwise="nothing was accepted")
    with ended_by_signals(EXIT_INTERRUPTED):
        accept(loaded, gaps)
    if as_json:
        typer.echo(to_json({"pipeline": loaded.pipeline.name, "table": table, "lost": gaps.losses}))
    else:
        typer.echo(f"accepted: table {table} goes on; `tailrace status {argument_of(loaded)}` shows it")


def _accept_of_lake(loaded: AnyLoaded, lake: str, table: str | None, *, yes: bool, as_json: bool) -> None:
    from tailrace.operations.lake_gaps import accept_lake_gaps, find_lake_gaps

    with ended_by_signals(EXIT_INTERRUPTED):
        gaps = find_lake_gaps(loaded, lake, table)
    for gap in gaps:
        typer.echo(f"lost: {gap.words}", err=True)
    confirm(f"Go on without these in the lake {lake}?", yes=yes, to="accept the loss", otherwise="nothing was accepted")
    with ended_by_signals(EXIT_INTERRUPTED):
        accept_lake_gaps(loaded, lake, gaps)
    typer.echo(to_json({"lake": lake, "lost": gaps}) if as_json else f"accepted: the lake {lake} goes on behind them")
