"""`tailrace transform`: try a pipeline's transformation on a sample."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tailrace.cli.edge import KafkaOption, load
from tailrace.errors import FileError

if TYPE_CHECKING:
    from tailrace.core.page import Outgoing
    from tailrace.operations.sample import Tried

EXIT_NOT_ALL = 1


def transform(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)],
    *,
    kafka: KafkaOption = None,
    sample: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="A Lambda event, a GetRecords response, or one record of them, as JSON; - for stdin.",
            show_default=False,
        ),
    ],
    table: Annotated[
        str | None, typer.Option(help="The table of records that do not name it.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Try a pipeline's transformation on a sample, offline.

    Shows the records that would be published, with topic, key, value and headers, and which changes would be dropped or
    become dead letters, and why. Exit code 0; 1 when there would be dead letters; 2 when a file is wrong.

    \b
    Example:
      tailrace transform pipeline.yaml --sample event.json
    """
    from tailrace.config.interpolate import UNREAD_SECRET
    from tailrace.operations.sample import try_sample

    loaded = load(file, kafka=kafka, with_functions=True, with_secrets=False)
    content, name = _content(sample)
    tried = list(try_sample(loaded, content, table=table, file=name, now_ns=time.time_ns()))
    typer.echo(_json(tried) if as_json else "\n".join(_lines(tried)))
    if any(step.hash and UNREAD_SECRET in step.hash.key.get_secret_value() for step in loaded.pipeline.transform):
        typer.echo("note: secrets are not read here, so `hash` shows different values from `tailrace run`", err=True)
    if any(one.outcome in {"dead-letter", "stopped"} for one in tried):
        raise typer.Exit(EXIT_NOT_ALL)


def _content(sample: Path) -> tuple[bytes, str]:
    if str(sample) == "-":
        return sys.stdin.buffer.read(), "stdin"
    try:
        return sample.read_bytes(), str(sample)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise FileError(f"cannot be read: {reason}", file=str(sample), hint="give the path of a sample") from None


def _lines(tried: list[Tried]) -> Iterator[str]:
    from tailrace.operations.record_view import as_text, header_texts

    for one in tried:
        where = f"{one.table} {one.sequence}"
        match one.outcome:
            case "published":
                for record in one.records:
                    yield f"{where} -> {record.topic}"
                    yield f"  key    {as_text(record.key)}"
                    yield f"  value  {'null (tombstone)' if record.value is None else as_text(record.value)}"
                    yield from (f"  header {name}: {text}" for name, text in header_texts(record.headers).items())
            case "dropped":
                yield f"{where} dropped by {one.reason}"
            case "dead-letter":
                yield f"{where} is a dead letter ({one.stage}): {one.reason}"
            case "stopped":
                yield f"{where} stops its shard: {one.reason}"
    counts = Counter(one.outcome for one in tried)
    yield f"{len(tried)} changes: " + ", ".join(
        f"{counts[outcome]} {outcome}" for outcome in ("published", "dropped", "dead-letter", "stopped")
    )


def _json(tried: list[Tried]) -> str:
    import msgspec

    changes = [{**msgspec.structs.asdict(one), "records": [_record(record) for record in one.records]} for one in tried]
    return msgspec.json.encode({"changes": changes}).decode()


def _record(record: Outgoing) -> dict[str, Any]:
    from tailrace.operations.record_view import as_json, header_texts

    return {
        "topic": record.topic,
        "key": as_json(record.key),
        "value": as_json(record.value),
        "headers": header_texts(record.headers),
    }
