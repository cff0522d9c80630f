"""`tailrace tail`: show changes as they are committed."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tailrace.cli.edge import ended_by_signals, file_argument, load

if TYPE_CHECKING:
    from confluent_kafka import Message

    from tailrace.operations.record_view import RecordView

_OPS = {"c": {"c", "upsert"}, "u": {"u", "upsert"}, "d": {"d"}, "r": {"r"}}
_COLOURS = {"c": 32, "u": 33, "upsert": 33, "d": 31, "r": 34, "dead-letter": 35, "redriven": 35, "tombstone": 2, "?": 2}


class From(StrEnum):
    """Where `tail` begins."""

    BEGINNING = "beginning"
    END = "end"


def _ops(text: str | None) -> frozenset[str] | None:
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
    bootstrap: Annotated[str | None, typer.Option(help="Brokers of the TOPIC, host:port.", show_default=False)] = None,
    table: Annotated[
        str | None, typer.Option(help="Only this table; * and ? stand for others.", show_default=False)
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Only keys that hold this text, or equal this JSON object.", show_default=False)
    ] = None,
    op: Annotated[str | None, typer.Option(help="Only these ops: c,u,d,r.", show_default=False)] = None,
    start: Annotated[From, typer.Option("--from", help="Where to begin.")] = From.END,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each record as one line of JSON.")] = False,
) -> None:
    """Show committed changes as they come, until Ctrl-C.

    A line has the time, the op (c create, u update, d delete, r read by a snapshot), the table, the key and the item.
    New topics of a pipeline are followed as they appear. No consumer group is left behind.

    \b
    Example:
      tailrace tail pipeline.yaml --table orders --op c,u
      tailrace tail shop.orders --bootstrap localhost:9092 --from beginning --json
    """
    wanted = _Filter(table, key, _ops(op))
    try:
        with ended_by_signals(0):
            stopping = _stop_on_signals()  # the pipeline is looked for in Kafka, which need not answer
            target = _target(what, bootstrap, table)
            _run(target, wanted, start, limit, _json_line if as_json else _Text(), stopping=stopping)
    except BrokenPipeError:
        # Whoever read the output has gone; what is still buffered must not fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass(frozen=True)
class _Target:
    """Which topics to follow, and how to understand them."""

    kafka: Mapping[str, str]
    table_of: Callable[[str], str | None]
    """The table whose changes a topic holds, None for other topics."""
    also: frozenset[str]
    """Topics to follow that belong to no table."""
    null_is_delete: bool | None
    """Whether a null value is a delete or a tombstone; None when the topic must show it."""


def _target(what: str, bootstrap: str | None, table: str | None) -> _Target:
    from tailrace.formats import FORMATS
    from tailrace.operations import preconditions
    from tailrace.operations.tail import require_topic, tables_by_topic

    if bootstrap is not None:
        kafka = {"bootstrap.servers": bootstrap}
        require_topic(kafka, what)
        return _Target(kafka, {what: what}.get, frozenset(), None)
    pipeline = load(file_argument(what)).pipeline
    preconditions.require_pipeline(pipeline, [table] if table else [])
    also = frozenset({pipeline.dead_letters_topic})
    return _Target(pipeline.kafka, tables_by_topic(pipeline), also, FORMATS[pipeline.format.type].null_is_delete)


def _run(
    target: _Target,
    wanted: _Filter,
    start: From,
    limit: int | None,
    line: Callable[[Message, RecordView, str], str],
    *,
    stopping: list[int],
) -> None:
    from tailrace.operations.record_view import header_texts, view
    from tailrace.operations.tail import follow

    enveloped: set[str] = set()
    shown = 0
    for message in follow(
        target.kafka,
        lambda topic: topic in target.also or target.table_of(topic) is not None,
        start.value,
        lambda: bool(stopping),
        _tell_topics if sys.stderr.isatty() else _say_nothing,
    ):
        topic = message.topic() or ""
        null_is_delete = topic not in enveloped if target.null_is_delete is None else target.null_is_delete
        record = view(message.key(), message.value(), header_texts(message.headers()), null_is_delete=null_is_delete)
        if record.has_envelope:
            enveloped.add(topic)
        table = record.table or target.table_of(topic) or topic
        if not wanted.takes(record, table):
            continue
        sys.stdout.write(line(message, record, table) + "\n")
        sys.stdout.flush()
        shown += 1
        if shown == limit:
            break


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


class _Filter:
    """What `--table`, `--key` and `--op` let through."""

    def __init__(self, table: str | None, key: str | None, ops: frozenset[str] | None) -> None:
        self._table = table
        self._key_text = key
        self._key_object = _object(key)
        self._ops = ops

    def takes(self, record: RecordView, table: str) -> bool:
        if self._ops is not None and record.op not in self._ops:
            return False
        if self._table is not None and not fnmatch.fnmatchcase(table, self._table):
            return False
        if self._key_object is not None:
            return _object(record.key) == self._key_object
        return self._key_text is None or self._key_text in record.key


def _object(text: str | None) -> dict[str, Any] | None:
    """Read a JSON object with exact numbers; None for anything else."""
    try:
        value = json.loads(text or "", parse_float=Decimal, parse_int=Decimal)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _json_line(message: Message, _record: RecordView, _table: str) -> str:
    """Write a record whole; key and value as the JSON that they hold, digit for digit, else as text."""
    from tailrace.operations.record_view import header_texts, one_line_json

    return one_line_json(
        {
            "topic": message.topic(),
            "partition": message.partition(),
            "offset": message.offset(),
            "timestamp": message.timestamp()[1],
        },
        key=message.key(),
        value=message.value(),
        headers=header_texts(message.headers()),
    )


def _clock(timestamp_ms: int) -> str:
    """Return a record's time of day; the number itself when whoever wrote it meant no milliseconds."""
    try:
        time = datetime.fromtimestamp(timestamp_ms / 1000).astimezone()
    except (ValueError, OverflowError, OSError):
        return str(timestamp_ms)
    return f"{time:%H:%M:%S}.{time.microsecond // 1000:03}"


class _Text:
    """Writes a line for people: coloured and cut to the width on a terminal, whole and plain elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._coloured = self._terminal and "NO_COLOR" not in os.environ

    def __call__(self, message: Message, record: RecordView, table: str) -> str:
        start = f"{_clock(message.timestamp()[1])} "
        rest = f" {table} {record.key} {record.reason and f'[{record.reason}] '}{record.item}".rstrip()
        if self._terminal:
            rest = rest[: max(20, shutil.get_terminal_size().columns - len(start) - len(record.op))]
        op = f"\x1b[{_COLOURS[record.op]}m{record.op}\x1b[0m" if self._coloured else record.op
        return start + op + rest
