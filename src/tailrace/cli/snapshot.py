"""`tailrace snapshot`: put the present items of tables into their topics, beside the changes."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import closing, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.confirm import confirm
from tailrace.cli.edge import EXIT_INTERRUPTED, KafkaOption, argument_of, ended_by_signals, load, load_existing
from tailrace.cli.entry import unwinding
from tailrace.cli.render import to_json
from tailrace.cli.snapshot_view import REFRESH_S, draft_lines, follow, lines
from tailrace.errors import FileError, WorldError
from tailrace.remedy import ResumeSnapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tailrace.config import LoadedPipeline
    from tailrace.operations.snapshot import Order, SnapshotDraft, StartedSnapshot
    from tailrace.operations.snapshot_status import SnapshotsStatus, SnapshotStatus

app = typer.Typer(
    no_args_is_help=True,
    help="Load the present items of tables, beside their changes.",
)

FileOption = Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)]
FileOrFlags = Annotated[Path | None, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)]
TableOption = Annotated[str, typer.Option(help="The table.", show_default=False)]
NameOption = Annotated[str | None, typer.Option(help="Without a file: the pipeline's name.", show_default=False)]
BootstrapOption = Annotated[
    str | None, typer.Option(help="Without a file: Kafka's brokers, host:port.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")]


@app.command()
def start(
    file: FileOption,
    *,
    kafka: KafkaOption = None,
    table: TableOption,
    row_filter: Annotated[
        str | None,
        typer.Option("--filter", metavar="EXPR", help="Only rows for which it is true.", show_default="of the file"),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Only these items: a key as JSON on each line; - for stdin."),
    ] = None,
    export: Annotated[
        list[str] | None,
        typer.Option(metavar="URI", help="Load this export to S3 instead: s3://bucket/prefix or a folder; repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be read, and its costs.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end, and show how far it is.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Start a snapshot of a table.

    The workers read the table's items and publish them as rows (`op: r`) while the changes go on. The command first
    shows what will be read and what AWS charges for that; then it writes the snapshot to the checkpoint topic and
    returns. Ctrl-C while it waits leaves the snapshot running.

    \b
    Example:
      tailrace snapshot start pipeline.yaml --table orders --dry-run
      tailrace snapshot start pipeline.yaml --table orders --filter "item.status == 'open'" --wait
      tailrace snapshot start pipeline.yaml --table orders --keys missing.jsonl
      tailrace snapshot start pipeline.yaml --table orders --export s3://exports/orders
    """
    from tailrace.operations import snapshot

    loaded = load(file, kafka=kafka)
    with ended_by_signals(EXIT_INTERRUPTED):
        draft = _draft(loaded, table, row_filter, keys, export or [])
        if not (as_json and dry_run):
            typer.echo("\n".join(draft_lines(draft)), err=True)
        if dry_run:
            if as_json:
                typer.echo(to_json(draft))
            return
        started = snapshot.start(loaded, draft)
    if not wait:
        words = (
            f"started: snapshot {started.id} of table {table}; `tailrace snapshot status {file}` shows how far it is"
        )
        typer.echo(to_json(started) if as_json else words)
        return
    ended = _await_end(loaded, started)
    if as_json:
        typer.echo(to_json(ended))
    else:
        typer.echo(f"{ended.phase}: snapshot {ended.id} of table {table}, {ended.rows:,} rows published")
    if ended.phase == "cancelled":
        raise WorldError(f"the snapshot of table {table} was cancelled")
    if ended.phase != "done":
        reasons = "; ".join(f"segment {each.segment}: {each.detail}" for each in ended.failed)
        raise WorldError(f"segments of the snapshot of table {table} failed: {reasons}", remedy=ResumeSnapshot(table))


@app.command()
def pause(
    file: FileOrFlags = None,
    *,
    kafka: KafkaOption = None,
    table: TableOption,
    name: NameOption = None,
    bootstrap: BootstrapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pause a table's snapshot. It keeps its place; the changes go on.

    \b
    Example:
      tailrace snapshot pause pipeline.yaml --table orders
    """
    _order(load_existing(file, name, bootstrap, kafka=kafka), table, "pause", as_json=as_json)


@app.command()
def resume(
    file: FileOrFlags = None,
    *,
    kafka: KafkaOption = None,
    table: TableOption,
    name: NameOption = None,
    bootstrap: BootstrapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Resume a paused snapshot; try failed segments again.

    \b
    Example:
      tailrace snapshot resume pipeline.yaml --table orders
    """
    _order(load_existing(file, name, bootstrap, kafka=kafka), table, "run", as_json=as_json)


@app.command()
def cancel(
    file: FileOrFlags = None,
    *,
    kafka: KafkaOption = None,
    table: TableOption,
    name: NameOption = None,
    bootstrap: BootstrapOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Cancel a table's snapshot. What it has published stays; another one would start over.

    \b
    Example:
      tailrace snapshot cancel pipeline.yaml --table orders --yes
    """
    loaded = load_existing(file, name, bootstrap, kafka=kafka)
    question = f"Cancel the snapshot of table {table}? It cannot be resumed."
    confirm(question, yes=yes, to="cancel it", otherwise="nothing was cancelled")
    _order(loaded, table, "cancel", as_json=as_json)


@app.command()
def status(
    file: FileOrFlags = None,
    *,
    kafka: KafkaOption = None,
    table: Annotated[list[str] | None, typer.Option(help="Only this table; repeatable.", show_default=False)] = None,
    name: NameOption = None,
    bootstrap: BootstrapOption = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh every 2 s, until Ctrl-C or SIGTERM.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON; with --watch every 2 s.")] = False,
) -> None:
    """Show how far the last snapshot of each table is.

    Shows rows, bytes, the share that is read (an estimate: DynamoDB counts a table's items every six hours), the rate,
    the time that is left, the read capacity used, and segments that failed, with the reason.

    \b
    Example:
      tailrace snapshot status pipeline.yaml --watch
    """
    from tailrace.operations.snapshot_status import read_snapshots

    loaded = load_existing(file, name, bootstrap, kafka=kafka)
    argument = argument_of(loaded)

    def read() -> SnapshotsStatus:
        return read_snapshots(loaded, table or ())

    def text(found: SnapshotsStatus) -> str:
        return to_json(found, argument) if as_json else "\n".join(line for line, _ in lines(found, argument))

    if not watch:
        with ended_by_signals(EXIT_INTERRUPTED):
            found = read()
        typer.echo(text(found))
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), unwinding(), ended_by_signals(0):
        if sys.stdout.isatty() and not as_json:
            for _ in follow(read, argument):
                pass
        while True:
            typer.echo(text(read()) + ("" if as_json else "\n"))
            time.sleep(REFRESH_S)


def _draft(
    loaded: LoadedPipeline, table: str, row_filter: str | None, keys: Path | None, exports: list[str]
) -> SnapshotDraft:
    from tailrace.operations import snapshot, snapshot_exports
    from tailrace.wiring.sources import make_export, make_tables, policy_of

    if keys is not None and exports:
        raise FileError("--keys and --export exclude each other")
    with loaded.telling("source"):
        reader = make_tables(loaded.pipeline)
    with closing(reader):
        if exports:
            return snapshot_exports.draft_exports(
                loaded,
                reader,
                table,
                exports,
                open_export=partial(make_export, loaded.pipeline),
                policy=policy_of(loaded.pipeline),
                row_filter=row_filter,
            )
        if keys is None:
            return snapshot.draft_scan(loaded, reader, table, row_filter=row_filter)
        is_stdin = str(keys) == "-"
        try:
            with nullcontext(sys.stdin.buffer) if is_stdin else keys.open("rb") as lines_of_keys:
                named = "stdin" if is_stdin else str(keys)
                return snapshot.draft_keys(loaded, reader, table, lines_of_keys, file=named, row_filter=row_filter)
        except OSError as error:
            raise FileError(f"cannot read {keys}: {error.strerror}") from error


def _order(loaded: LoadedPipeline, table: str, wanted: Order, *, as_json: bool) -> None:
    from tailrace.operations import snapshot

    with ended_by_signals(EXIT_INTERRUPTED):
        ordered = snapshot.order(loaded, table, wanted)
    words = {"pause": "paused", "run": "resumed", "cancel": "cancelled"}[wanted]
    typer.echo(to_json(ordered) if as_json else f"{words}: snapshot {ordered.id} of table {table}")


def _await_end(loaded: LoadedPipeline, started: StartedSnapshot) -> SnapshotStatus:
    """Follow a snapshot until it has ended, or nothing but failed segments is left of it."""
    from tailrace.operations.snapshot_status import read_snapshots

    def read() -> SnapshotsStatus:
        return read_snapshots(loaded, [started.table])

    def looks() -> Iterator[SnapshotsStatus]:
        if sys.stderr.isatty():
            yield from follow(read, argument_of(loaded), stderr=True)
        while True:
            yield read()
            time.sleep(REFRESH_S)

    try:
        with unwinding(), ended_by_signals(EXIT_INTERRUPTED):
            return next(filter(None, (_ended(each, started) for each in looks())))
    except KeyboardInterrupt:
        typer.echo(f"snapshot {started.id} of table {started.table} goes on", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _ended(status: SnapshotsStatus, started: StartedSnapshot) -> SnapshotStatus | None:
    """Return the snapshot once it has ended, or only failed segments are left; None before."""
    (snapshot,) = status.snapshots
    if snapshot.id != started.id:
        raise WorldError(f"another snapshot of table {started.table} took the place of {started.id}")
    left = snapshot.segments + snapshot.partitions - snapshot.segments_done - snapshot.partitions_done
    is_stuck = snapshot.segments_failed > 0 and left == snapshot.segments_failed
    return snapshot if snapshot.ended_ms is not None or is_stuck else None
