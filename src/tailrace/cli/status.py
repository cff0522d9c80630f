"""`tailrace status`: show the state of each table and shard."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.edge import EXIT_INTERRUPTED, KafkaOption, argument_of, ended_by_signals, load_existing, load_lake
from tailrace.cli.entry import unwinding
from tailrace.cli.render import STYLES, console, to_json
from tailrace.cli.snapshot_view import duration, lines_below
from tailrace.moments import utc
from tailrace.remedy_sentences import sentence

if TYPE_CHECKING:
    from tailrace.config import AnyLoaded
    from tailrace.operations.lake_plan import LakeFileStatus
    from tailrace.operations.lake_status import LakeStatus
    from tailrace.operations.replica_status import ReplicaStatus
    from tailrace.operations.severity import Severity
    from tailrace.operations.status import ShardStatus, Status, TableStatus

WATCH_S = 2.0
_LONG_S = 120.0
"""From here on a time is shown in minutes, hours and days."""


def status(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)] = None,
    *,
    kafka: KafkaOption = None,
    name: Annotated[str | None, typer.Option(help="Without a file: the pipeline's name.", show_default=False)] = None,
    bootstrap: Annotated[
        str | None, typer.Option(help="Without a file: Kafka's brokers, host:port.", show_default=False)
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh every 2 s, until Ctrl-C or SIGTERM.")] = False,
    all_shards: Annotated[bool, typer.Option("--all", help="Include shards that have ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON; with --watch every 2 s.")] = False,
) -> None:
    """Show the state of each table and shard.

    Shows the state, lag (time behind the source), age and sequence number of the last published change, time of the
    last checkpoint, and lane with its owner. Only shards that had more to read when they last published have a lag, and
    they come first. Ended shards are only counted. A table's last snapshot is shown with it. If something makes no
    progress, it says why and what to do.

    \b
    Example:
      tailrace status pipeline.yaml --watch
      tailrace status --name tailrace-orders --bootstrap localhost:9092
    """
    from tailrace.config import LoadedLakeFile
    from tailrace.operations.lake_plan import read_lake_status
    from tailrace.operations.status import read_status

    loaded: AnyLoaded
    if file is not None and not (name or bootstrap):
        loaded = load_lake(file, kafka=kafka)
    else:
        loaded = load_existing(file, name, bootstrap, kafka=kafka)
    argument = str(file) if isinstance(loaded, LoadedLakeFile) else argument_of(loaded)

    def read() -> Status | LakeFileStatus:
        if isinstance(loaded, LoadedLakeFile):
            return read_lake_status(loaded)
        return read_status(loaded, with_ended=all_shards)

    if not watch:
        with ended_by_signals(EXIT_INTERRUPTED):
            found = read()
        typer.echo(to_json(found, argument) if as_json else "\n".join(lines(found, argument)))
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), unwinding(), ended_by_signals(0):
        if as_json or not sys.stdout.isatty():
            _repeat(read, argument, as_json=as_json)
        else:
            _redraw(read, argument)


def _repeat(read: Callable[[], Status | LakeFileStatus], argument: str, *, as_json: bool) -> None:
    while True:
        found = read()
        text = to_json(found, argument) if as_json else "\n".join(lines(found, argument)) + "\n"
        typer.echo(text)
        time.sleep(WATCH_S)


def _redraw(read: Callable[[], Status | LakeFileStatus], argument: str) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(console=console(), auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            shown = _lines(read(), argument)
            texts = [Text(line, style=STYLES[severity], no_wrap=True, overflow="ellipsis") for line, severity in shown]
            live.update(Group(*texts), refresh=True)
            time.sleep(WATCH_S)


def lines(status: Status | LakeFileStatus, argument: str) -> Iterator[str]:
    """Write a status as text, a line for each table and shard. `argument` names the pipeline in commands."""
    return (line for line, _severity in _lines(status, argument))


def _lines(status: Status | LakeFileStatus, argument: str) -> Iterator[tuple[str, Severity]]:
    from tailrace.operations.lake_plan import LakeFileStatus

    if isinstance(status, LakeFileStatus):
        yield f"lake file {status.name}", "ok"
        for lake in status.lakes:
            yield from lake_lines(lake, status.at_ms)
        return
    workers = ", ".join(status.workers) or "none"
    method = {"worker": "", "lambda": "served by Lambda, ", "none": "being switched to another method, "}[status.method]
    yield f"pipeline {status.pipeline}: {status.lanes} lanes, {method}workers: {workers}", "ok"
    if status.method == "none":
        yield (
            "! nothing is published until the switch has ended; if it was interrupted, run `tailrace switch` again",
            "warning",
        )
    if handover := status.handover:
        yield (
            f"switched from {handover.before} to {handover.after}: {handover.changes} published changes since "
            f"{utc(handover.from_ms)} are left out; {handover.shards} shards are not read past "
            f"{utc(handover.until_ms)} yet",
            "ok",
        )
    if status.untaken:
        lanes = ", ".join(map(str, status.untaken))
        line = f"! not taken yet by their workers: lanes {lanes}; if it stays so, their logs and /readyz say why"
        yield line, "warning"
    if status.dead_letters_at_most:
        count = status.dead_letters_at_most
        line = f"! there are dead letters, {count} at most; `tailrace redrive FILE --dry-run` counts them by reason"
        yield line, "warning"
    for lake in status.lakes:
        yield from lake_lines(lake, status.at_ms)
    if status.replica is not None:
        yield from replica_lines(status.replica, status.at_ms)
    if not status.tables:
        yield ("no table was listed yet" if status.method == "worker" else "nothing was published yet"), "ok"
    for table in status.tables:
        yield "", "ok"
        yield from _table_lines(table, argument)


def lake_lines(lake: LakeStatus, now_ms: int) -> Iterator[tuple[str, Severity]]:
    """Write how far a lake is, a line for each topic."""
    begun = "" if lake.begun or lake.fault else ", nothing written yet"
    yield f"lake {lake.name} at {lake.location}: {lake.format}{begun}", lake.severity
    if lake.fault:
        yield f"  ! {lake.fault}", lake.severity
    for topic in lake.topics if lake.begun else ():
        age_s = None if topic.last_commit_ms is None else max(0, now_ms - topic.last_commit_ms) / 1000
        name = topic.topic if topic.kind == "changes" else f"{topic.topic} {topic.kind}"
        yield (
            f"  {name}  behind: {topic.behind_changes_at_most} changes at most, {_seconds(topic.behind_s)}  "
            f"files: {topic.files}  rows: {topic.rows}  bytes: {topic.size_bytes}  last commit: {_ago(age_s)}",
            "ok",
        )
        if topic.lost:
            yield f"  ! {name}  lost: {topic.lost} offsets, as accepted with `accept-gap`", "ok"


def replica_lines(replica: ReplicaStatus, now_ms: int) -> Iterator[tuple[str, Severity]]:
    """Write how far the copies of tables are, a line for each."""
    begun = "" if replica.begun or replica.fault else ", nothing written yet"
    yield f"replica {replica.where}: {replica.write}{begun}", replica.severity
    if replica.fault:
        yield f"  ! {replica.fault}", replica.severity
    for copy in replica.copies if replica.begun else ():
        age_s = None if copy.last_write_ms is None else max(0, now_ms - copy.last_write_ms) / 1000
        yield (
            f"  {copy.table} as {copy.copy}  behind: {copy.behind_changes_at_most} changes at most, "
            f"{_seconds(copy.behind_s)}  last write: {_ago(age_s)}",
            "ok",
        )


def _table_lines(table: TableStatus, argument: str) -> Iterator[tuple[str, Severity]]:
    counts = ", ".join(f"{count} {state}" for state, count in table.shards_by_state.items()) or "none"
    state = "stopped by a gap" if table.state == "gap" else table.state
    lag = "" if table.max_lag_s is None else f"  behind: {_seconds(table.max_lag_s)}"
    line = f"table {table.table}  {state}  shards: {counts}  last change: {_ago(table.last_change_s)}{lag}"
    yield line, table.severity
    if table.detail:
        yield f"  ! {table.detail}", table.severity
    for shard in table.shards:
        if shard.state in {"gap", "failed"}:
            yield f"  ! {shard.shard}: {shard.detail}", shard.severity
    if table.remedy:
        yield f"  ! {sentence(table.remedy, argument)}", table.severity
    if table.snapshot is not None:
        yield from lines_below(table.snapshot, argument)
    if table.shards:
        rows = [
            ("SHARD", "STATE", "LAG", "LAST CHANGE", "LAST SEQUENCE NUMBER", "CHECKPOINT", "LANE", "OWNER"),
            *map(_row, table.shards),
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        severities: tuple[Severity, ...] = ("ok", *(shard.severity for shard in table.shards))
        for row, severity in zip(rows, severities, strict=True):
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            yield f"  {line.rstrip()}", severity


def _row(shard: ShardStatus) -> tuple[str, ...]:
    return (
        shard.shard,
        shard.state,
        _seconds(shard.lag_s),
        _ago(shard.last_change_s),
        shard.sequence or "-",
        f"{datetime.fromtimestamp(shard.checkpoint_ms / 1000).astimezone():%H:%M:%S}" if shard.checkpoint_ms else "-",
        str(shard.lane),
        shard.owner or "nobody",
    )


def _ago(age_s: float | None) -> str:
    return "-" if age_s is None else f"{_seconds(age_s)} ago"


def _seconds(lag_s: float | None) -> str:
    if lag_s is None:
        return "-"
    return f"{lag_s:.1f} s" if lag_s < _LONG_S else duration(lag_s)
