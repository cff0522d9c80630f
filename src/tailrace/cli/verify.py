"""`tailrace verify`: compare tables with what their topics show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.edge import EXIT_INTERRUPTED, KafkaOption, ended_by_signals, load
from tailrace.cli.progress import progress_shown

if TYPE_CHECKING:
    from tailrace.operations.verify import TableVerified, Verified

EXIT_DIFFERENT = 1


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)],
    *,
    kafka: KafkaOption = None,
    table: Annotated[
        list[str] | None, typer.Option(help="Only this table; * and ? are wildcards.", show_default=False)
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Publish what differs again, as a snapshot of those keys does.")
    ] = False,
    read_capacity: Annotated[
        str, typer.Option(help="Read capacity units a second for a table, or a share of what it has.")
    ] = "50%",
    timeout: Annotated[
        float, typer.Option(min=0, help="How many seconds changes in flight may take, once a table is read.")
    ] = 60,
    spill_dir: Annotated[
        Path | None,
        typer.Option(help="Folder for what does not fit in memory; by default that of the system.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Compare tables with what their topics show last of each key.

    It reads each table and its topics, and counts the keys that are missing from a topic, that show another state than
    the item has (stale), or whose item does not exist (surplus). Changes in flight are no differences. The exit code is
    1 if anything differs.

    \b
    Example:
      tailrace verify pipeline.yaml
      tailrace verify pipeline.yaml --table orders --repair
    """
    from tailrace import logs
    from tailrace.cli.edge import edge
    from tailrace.cli.render import to_json
    from tailrace.operations.verify import verify

    loaded = load(file, kafka=kafka, with_functions=True)
    logs.configure("warning", edge.redact)
    with ended_by_signals(EXIT_INTERRUPTED), progress_shown() as progress:
        found = verify(
            loaded,
            table or [],
            repair=repair,
            read_capacity=read_capacity,
            timeout_s=timeout,
            spill_folder=spill_dir,
            progress=progress,
        )
    typer.echo(to_json(found) if as_json else "\n".join(_lines(found)))
    if not found.is_equal:
        raise typer.Exit(EXIT_DIFFERENT)


def _lines(verified: Verified) -> Iterator[str]:
    for table in verified.tables:
        yield from _table_lines(table)
    if not verified.tables:
        yield "the pipeline has no table"


def _table_lines(table: TableVerified) -> Iterator[str]:
    verdict = "equal" if table.is_equal else "different"
    yield f"table {table.table}: {verdict}  items: {table.items}  equal keys: {table.equal}"
    for word, found in (
        ("missing", table.missing),
        ("stale", table.stale),
        ("surplus", table.surplus),
        ("unsettled", table.unsettled),
    ):
        if found.count:
            keys = ", ".join(sample.key for sample in found.samples)
            more = ", …" if found.count > len(found.samples) else ""
            yield f"  {word}: {found.count}  {keys}{more}"
    for words, count in (
        ("left behind by the transformation", table.left_behind),
        ("left out by the filter of snapshots", table.left_out),
        ("items that cannot be converted", table.refused),
        ("new keys that could not be checked", table.unchecked),
        ("changes that were still in flight when the table had been read", table.pending),
    ):
        if count:
            yield f"  {words}: {count}"
    if table.repaired is not None:
        yield f"  repaired: {table.repaired}"
    for note in table.notes:
        yield f"  ! {note}"
