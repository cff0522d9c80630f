"""`tailrace redrive`: publish dead letters again, and batches that AWS Lambda gave up on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.edge import EXIT_INTERRUPTED, KafkaOption, ended_by_signals, load_existing
from tailrace.cli.moment import moment_ms
from tailrace.cli.progress import progress_shown

if TYPE_CHECKING:
    from tailrace.config import LoadedPipeline, Pipeline
    from tailrace.core.redrive import Selection
    from tailrace.operations.republisher import Report
    from tailrace.sources.aws_lambda.failure_messages import FailureMessages

EXIT_NOT_ALL = 1
_WORDS = {
    "published": ("published", "would be published"),
    "dropped": ("dropped by the transformation", "would be dropped by the transformation"),
    "present": ("in the topics already", "in the topics already"),
    "superseded": (
        "left out: a newer change of the key is published",
        "would be left out: a newer change of the key is published",
    ),
    "skipped": ("left out", "would be left out"),
    "failed": ("failed again", "would fail again"),
    "lost": ("lost", "lost"),
}


def redrive(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)] = None,
    *,
    kafka: KafkaOption = None,
    name: Annotated[str | None, typer.Option(help="Without a file: the pipeline's name.", show_default=False)] = None,
    bootstrap: Annotated[
        str | None, typer.Option(help="Without a file: Kafka's brokers, host:port.", show_default=False)
    ] = None,
    table: Annotated[
        list[str] | None, typer.Option(help="Only this table; * and ? are wildcards.", show_default=False)
    ] = None,
    reason: Annotated[
        str, typer.Option(help="Only with this text in the reason or its class.", show_default=False)
    ] = "",
    stage: Annotated[
        list[str] | None, typer.Option(help="Only of this stage, such as TRANSFORMATION.", show_default=False)
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only changes made at this time or later: ISO 8601, or 2h.", show_default=False)
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only changes made before this time: ISO 8601, or 2h.", show_default=False)
    ] = None,
    from_sqs: Annotated[
        str | None, typer.Option(metavar="URL", help="Lambda's on-failure messages in a queue.", show_default=False)
    ] = None,
    from_s3: Annotated[
        str | None,
        typer.Option(metavar="BUCKET/PREFIX", help="Lambda's on-failure messages in S3.", show_default=False),
    ] = None,
    from_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="On-failure messages, one or one per line; - for stdin.", show_default=False),
    ] = None,
    skip_superseded: Annotated[
        bool, typer.Option(help="Leave out changes whose key has a newer change in its topic.")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; do nothing.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="List each change.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as one line of JSON.")] = False,
) -> None:
    """Publish dead letters again, converted with the current file.

    Each dead letter is published at most once, however often this is run. With --from-sqs, --from-s3 or --from-file it
    takes the messages that AWS Lambda sends when it gives up on a batch, reads the batch again from the stream, and
    publishes what is missing. Exit code 0; 1 when something failed again or is lost.

    \b
    Example:
      tailrace redrive pipeline.yaml --table orders --dry-run
      tailrace redrive pipeline.yaml --from-file failed.jsonl
    """
    from tailrace.core.redrive import Selection
    from tailrace.errors import printable

    selection = Selection(
        tables=tuple(table or ()),
        reason=reason,
        stages=tuple(stage or ()),
        since_ms=None if since is None else moment_ms(since, "--since"),
        until_ms=None if until is None else moment_ms(until, "--until"),
    )
    if sum(each is not None for each in (from_sqs, from_s3, from_file)) > 1:
        raise typer.BadParameter("give one of --from-sqs, --from-s3 and --from-file")
    loaded = load_existing(file, name, bootstrap, kafka=kafka, with_functions=True)
    messages = _messages(loaded.pipeline, from_sqs, from_s3, from_file)
    if messages is not None and selection != Selection(tables=selection.tables):
        raise typer.BadParameter("--reason, --stage, --since and --until choose dead letters, not on-failure messages")
    with ended_by_signals(EXIT_INTERRUPTED):
        report = _redrive(loaded, messages, selection, dry_run=dry_run, skip_superseded=skip_superseded)
    typer.echo(_json(report) if as_json else "\n".join(map(printable, _lines(report, verbose=verbose))))
    if not report.is_whole:
        raise typer.Exit(EXIT_NOT_ALL)


def _messages(
    pipeline: Pipeline, from_sqs: str | None, from_s3: str | None, from_file: str | None
) -> FailureMessages | None:
    from tailrace.sources.aws_lambda.failure_messages import Bucket, MessageFile, Queue

    source = pipeline.source
    if from_sqs is not None:
        return Queue(from_sqs, region=source.region, profile=source.profile)
    if from_s3 is not None:
        return Bucket(from_s3, region=source.region, profile=source.profile)
    return MessageFile(from_file) if from_file is not None else None


def _redrive(
    loaded: LoadedPipeline,
    messages: FailureMessages | None,
    selection: Selection,
    *,
    dry_run: bool,
    skip_superseded: bool,
) -> Report:
    from tailrace.operations.redrive import redrive
    from tailrace.operations.redrive_batches import redrive_batches

    with progress_shown() as progress:
        if messages is None:
            return redrive(loaded, selection, dry_run=dry_run, skip_superseded=skip_superseded, progress=progress)
        return redrive_batches(
            loaded, messages, selection, dry_run=dry_run, skip_superseded=skip_superseded, progress=progress
        )


def _lines(report: Report, *, verbose: bool) -> Iterator[str]:
    from tailrace.errors import excerpt

    if verbose:
        for one in report.changes:
            said = f": {excerpt(one.reason)}" if one.reason else ""
            yield f"{one.table} {one.sequence} {_WORDS[one.outcome][report.dry_run]}{said}"
    groups = Counter(
        (one.table, one.outcome, ", ".join(word for word in (one.stage, one.exception) if word) or excerpt(one.reason))
        for one in report.changes
    )
    for (table, outcome, why), count in sorted(groups.items()):
        yield f"table {table}: {count} {_WORDS[outcome][report.dry_run]}{f' ({why})' if why else ''}"
    yield from (f"lost: {sentence}" for sentence in report.lost)
    yield from (f"left alone: {sentence}" for sentence in report.refused)
    if not (groups or report.lost or report.refused):
        yield f"pipeline {report.pipeline}: there is nothing to publish again"
    elif report.dry_run:
        yield "nothing was done: this is a dry run"


def _json(report: Report) -> str:
    import msgspec

    counts = Counter[str](one.outcome for one in report.changes)
    fields = {**msgspec.structs.asdict(report), "counts": {outcome: counts[outcome] for outcome in _WORDS}}
    return msgspec.json.encode(fields).decode()
