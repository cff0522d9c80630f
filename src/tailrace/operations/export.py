"""Exports the topics of a pipeline, or one topic, into a folder of JSON Lines, exactly once, for as long as it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import msgspec

from tailrace.config import LoadedPipeline
from tailrace.connect.registered_documents import AS_WRITTEN, RecordReader
from tailrace.kafka.owner import new_owner
from tailrace.operations import preconditions
from tailrace.operations.progress import OnProgress, Progress, unheard
from tailrace.operations.tail import require_topic, tables_by_topic
from tailrace.sinks.jsonl import JsonLinesFolder
from tailrace.sinks.progress import Limits
from tailrace.sinks.runner import Totals, connect
from tailrace.wiring.pipeline import record_reader


class Exported(NamedTuple):
    """Which topics of which Kafka are exported."""

    kafka: Mapping[str, str]
    name: str
    """Of the pipeline or the topic; the consumer groups are named after it."""
    wanted: Callable[[str], bool]
    reader: RecordReader = AS_WRITTEN
    """Reads records back as JSON."""


class ExportReport(msgspec.Struct, frozen=True):
    """What this process exported."""

    folder: str
    at_end: bool
    """Whether the folder has all that the topics held when the export began, whichever process wrote it."""
    topics: Mapping[str, Totals]
    fenced: int
    """How often another process had claimed a partition that this one wrote to."""


def of_pipeline(loaded: LoadedPipeline, tables: Sequence[str]) -> Exported:
    """Choose the topics of the tables that match a name or pattern; without any, of all tables, and the dead letters.

    Raises WorldError when there is no such pipeline or table.
    """
    pipeline = loaded.pipeline
    preconditions.require_pipeline(pipeline, tables)
    table_of = tables_by_topic(pipeline)

    def wanted(topic: str) -> bool:
        table = table_of(topic)
        if tables:
            return table is not None and any(fnmatchcase(table, each) for each in tables)
        return table is not None or topic == pipeline.dead_letters_topic

    return Exported(pipeline.kafka, pipeline.name, wanted, record_reader(pipeline))


def of_topic(kafka: Mapping[str, str], topic: str) -> Exported:
    """Choose one topic. Raises WorldError when it does not exist."""
    require_topic(kafka, topic)
    return Exported(kafka, topic, topic.__eq__)


def export(
    exported: Exported,
    folder: Path,
    limits: Limits,
    *,
    until_end: bool,
    stopped: Callable[[], bool],
    progress: OnProgress = unheard,
) -> ExportReport:
    """Write to the folder until `stopped`, or with `until_end` until it has all that the topics hold now.

    `progress` hears of the records that this process has committed. Raises WorldError.
    """
    sink = JsonLinesFolder(folder, exported.reader)
    runner = connect(
        exported.kafka,
        sink,
        exported.wanted,
        limits,
        group=f"{exported.name}.export-{sink.identity}",
        client_id=new_owner(),
        until_end=until_end,
    )

    runner.run(stopped, lambda: progress(Progress("records", sum(each.records for each in runner.totals.values()))))
    return ExportReport(str(folder), runner.is_at_end, runner.totals, runner.fenced)
