"""`tailrace tail`: show changes as they are committed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tailrace.cli.edge import KafkaOption, ended_by_signals, file_argument, load
from tailrace.cli.moment import moment_ms
from tailrace.cli.render import console

if TYPE_CHECKING:
    from tailrace.operations.record_view import ShownOp
    from tailrace.operations.tail import Start, Tailed, Wanted

_OPS: Mapping[str, set[ShownOp]] = {"c": {"c", "upsert"}, "u": {"u", "upsert"}, "d": {"d"}, "r": {"r"}}
_STYLES: Mapping[ShownOp, str] = {
    "c": "green",
    "u": "yellow",
    "upsert": "yellow",
    "d": "red",
    "r": "blue",
    "dead-letter": "magenta",
    "redriven": "magenta",
    "tombstone": "dim",
    "?": "dim",
}


def _ops(text: str | None) -> frozenset[ShownOp] | None:
    """Read `--op c,u`: the ops to show; None for all."""
    if text is None:
        return None
    wanted = [op.strip() for op in text.split(",")]
    if unknown := [op for op in wanted if op not in _OPS]:
        raise typer.BadParameter(f"{unknown[0]!r} is not one of c, u, d, r", param_hint="--op")
    return frozenset().union(*(_OPS[op] for op in wanted))


def tail(
    what: Annotated[
        str,
        typer.Argument(metavar="FILE|TOPIC", help="A pipeline file, or with --bootstrap a topic.", show_default=False),
    ],
    *,
    kafka: KafkaOption = None,
    bootstrap: Annotated[str | None, typer.Option(help="Brokers of the TOPIC, host:port.", show_default=False)] = None,
    table: Annotated[
        str | None, typer.Option(help="Only this table; * and ? are wildcards.", show_default=False)
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Only keys that contain this text, or equal this JSON object.", show_default=False),
    ] = None,
    op: Annotated[str | None, typer.Option(help="Only these ops: c,u,d,r.", show_default=False)] = None,
    start: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Where to begin: beginning, end or a TIME.")
    ] = "end",
    until: Annotated[
        str | None,
        typer.Option("--to", metavar="TIME", help="Only up to this TIME, of what is there now.", show_default=False),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many records.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each record as one line of JSON.")] = False,
) -> None:
    """Show changes as they are committed, until Ctrl-C.

    Each line has the time, the op (c create, u update, d delete, r read by a snapshot), the table, the key and the
    item. New topics of a pipeline are followed as they appear. It leaves no consumer group behind. A TIME is
    2026-01-31T12:00:00Z (UTC without an offset), 2h for two hours ago, or milliseconds since the epoch.

    \b
    Example:
      tailrace tail pipeline.yaml --table orders --op c,u
      tailrace tail shop.orders --bootstrap localhost:9092 --from beginning --json
      tailrace tail pipeline.yaml --table orders --from 2h --to 1h
    """
    from tailrace.operations.tail import Wanted

    wanted = Wanted(table=table, key=key, ops=_ops(op))
    begin: Start = "end"
    if start != "end":
        begin = "beginning" if start == "beginning" else moment_ms(start, "--from")
    until_ms = None if until is None else moment_ms(until, "--to")
    if until_ms is not None and begin == "end":
        raise typer.BadParameter("say with --from where to begin", param_hint="--to")
    write = _json_line if as_json else _text_line
    try:
        with ended_by_signals(0):
            stopping = _stop_on_signals()  # the pipeline is looked for in Kafka, which need not answer
            for record in islice(
                _records(what, bootstrap, wanted, begin, until_ms, kafka=kafka, stopping=stopping), limit
            ):
                write(record)
                sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has gone; what is still buffered must not fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _records(
    what: str,
    bootstrap: str | None,
    wanted: Wanted,
    start: Start,
    until_ms: int | None,
    *,
    kafka: Path | None,
    stopping: list[int],
) -> Iterator[Tailed]:
    from tailrace.operations import tail as operation

    found = _tell_topics if sys.stderr.isatty() else _say_nothing
    options: dict[str, Any] = {
        "start": start,
        "until_ms": until_ms,
        "stopped": lambda: bool(stopping),
        "found": found,
    }
    if bootstrap is not None:
        return operation.tail_topic({"bootstrap.servers": bootstrap}, what, wanted, **options)
    return operation.tail(load(file_argument(what), kafka=kafka), wanted, **options)


def _stop_on_signals() -> list[int]:
    """Let SIGINT and SIGTERM end the command with exit code 0; the list holds those that came."""
    came: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: came.append(received))
    return came


def _say_nothing(_topics: list[str]) -> None:
    pass


def _tell_topics(topics: list[str]) -> None:
    sys.stderr.write(f"following {', '.join(topics)}\n")


def _json_line(record: Tailed) -> None:
    """Write a record whole; key and value as the JSON that they hold, digit for digit, else as text."""
    from tailrace.operations.record_view import one_line_json

    place = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp_ms,
    }
    sys.stdout.write(one_line_json(place, key=record.key, value=record.value, headers=record.headers) + "\n")


def _clock(timestamp_ms: int) -> str:
    """Return a record's time of day; the number itself when it is not a number of milliseconds."""
    try:
        time = datetime.fromtimestamp(timestamp_ms / 1000).astimezone()
    except (ValueError, OverflowError, OSError):
        return str(timestamp_ms)
    return f"{time:%H:%M:%S}.{time.microsecond // 1000:03}"


def _text_line(record: Tailed) -> None:
    """Write a line for people: coloured and cut to the width on a terminal, whole and plain elsewhere."""
    from tailrace.kafka.headers import REPLAYED

    shown = record.view
    note = shown.reason or ("replayed" if REPLAYED in record.headers else "")
    start = f"{_clock(record.timestamp_ms)} "
    rest = f" {record.table} {shown.key} {note and f'[{note}] '}{shown.item}".rstrip()
    if not sys.stdout.isatty():
        sys.stdout.write(f"{start}{shown.op}{rest}\n")
        return
    from rich.text import Text

    line = Text.assemble(start, (shown.op, _STYLES[shown.op]), rest, no_wrap=True, overflow="crop")
    console().print(line, crop=True)
