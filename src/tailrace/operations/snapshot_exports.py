"""Prepares a snapshot of exports to S3: they must be of the table, whole, and join the changes without a hole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

from tailrace.config import LoadedPipeline, Pipeline
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.export_coverage import Window, counts_from_ms, covered_since_ms, since_ms, windows_to_fill
from tailrace.core.ports import ExportFacts, ExportReader, LoadedExport, TableReader
from tailrace.core.source_policy import SourcePolicy
from tailrace.errors import WorldError
from tailrace.kafka import checkpoint_topic, clients, topics
from tailrace.moments import utc
from tailrace.operations import preconditions
from tailrace.operations.snapshot import DraftedExport, SnapshotDraft, facts_to_start, filter_of
from tailrace.operations.snapshot_estimate import estimate_exports
from tailrace.remedy import LoadExports

_S3_SCHEME = "s3://"


def draft_exports(
    loaded: LoadedPipeline,
    tables: TableReader,
    table: str,
    locations: Sequence[str],
    *,
    open_export: Callable[[str], ExportReader],
    policy: SourcePolicy,
    row_filter: str | None = None,
) -> SnapshotDraft:
    """Prepare to load exports: a full one, incremental ones, or both. Without `row_filter`, that of the file holds.

    Raises WorldError as `draft_scan` does, when an export cannot be used, and when changes between the exports and
    those in the topics are in neither.
    """
    facts = facts_to_start(loaded, tables, table)
    chosen = filter_of(loaded.pipeline, row_filter)
    exports = sorted((_describe(open_export, each) for each in locations), key=_order)
    for export in exports:
        if export.table_arn != facts.arn:
            raise WorldError(
                f"the export {export.location} is of the table {export.table_arn}, not of {facts.arn}",
                hint="name an export of this very table",
            )
    if not any(export.files for export in exports):
        raise WorldError(f"{exports[0].location} has no data files: there is nothing to load")
    _require_no_hole(loaded.pipeline, policy, table, exports)
    return SnapshotDraft(
        table=table,
        source="export",
        filter=chosen,
        segments=sum(len(export.files) for export in exports),
        keys=(),
        estimate=estimate_exports(
            sum(export.item_count for export in exports), sum(export.size_bytes for export in exports)
        ),
        exports=tuple(map(_drafted, exports)),
    )


def missing_exports(
    checkpoint_state: CheckpointState, policy: SourcePolicy, table: str, exports: Sequence[ExportFacts]
) -> WorldError | None:
    """Return which incremental exports are missing between `exports`, in their order, and the changes in the topics.

    Raises WorldError when the exports do not join each other, or nothing is certain of the changes.
    """
    is_complete = (result := checkpoint_state.snapshots.result_of(table)) is not None and result.outcome == "done"
    until_ms = since_ms(exports, checkpoint_state.snapshots.snapshots[table] if is_complete else None)
    covered_ms = covered_since_ms(checkpoint_state, table)
    windows = windows_to_fill(until_ms, covered_ms, policy)
    if not windows:
        return None
    commands = "; ".join(_command(exports[-1], window) for window in windows)
    return WorldError(
        f"the exports of table {table} hold it as of {utc(until_ms)}, and the topics hold its changes since "
        f"{utc(covered_ms)}: what was changed between (and a minute around, as clocks differ) would be missing",
        hint=f"load an export that was made later, or export what is missing, too: {commands}",
        remedy=LoadExports(table, tuple(export.location for export in exports)),
    )


def _require_no_hole(pipeline: Pipeline, policy: SourcePolicy, table: str, exports: Sequence[ExportFacts]) -> None:
    lanes = preconditions.count_lanes(pipeline)
    checkpoint_state = checkpoint_topic.read_checkpoint_state(pipeline.kafka, pipeline.name, lanes)
    if missing := missing_exports(checkpoint_state, policy, table, exports):
        raise missing
    oldest_ms = min(counts_from_ms(export.exported_ms, policy) for export in exports)
    admin = clients.admin(pipeline.kafka)
    forgetful = topics.forgetful(admin, pipeline.kafka, pipeline.topics_of(table), oldest_ms)
    if forgetful:
        raise WorldError(
            f"the topic {forgetful[0]} may have deleted changes since {utc(oldest_ms)} already, so rows of the "
            f"export {exports[0].location} cannot be compared with them",
            hint="load an export that was made later; see the topic's retention.ms and retention.bytes",
        )


def _describe(open_export: Callable[[str], ExportReader], location: str) -> ExportFacts:
    with closing(open_export(location)) as reader:
        return reader.describe()


def _order(export: ExportFacts) -> tuple[bool, int]:
    return export.from_ms is not None, export.exported_ms


def _drafted(export: ExportFacts) -> DraftedExport:
    return DraftedExport(
        LoadedExport(export.location, export.exported_ms, export.from_ms),
        export.item_count,
        tuple(each.name for each in export.files),
    )


def _command(export: ExportFacts, window: Window) -> str:
    """Return AWS's command for an incremental export, into the bucket of `export`."""
    is_in_s3 = export.location.startswith(_S3_SCHEME)
    bucket = export.location.removeprefix(_S3_SCHEME).partition("/")[0] if is_in_s3 else "BUCKET"
    return (
        f"aws dynamodb export-table-to-point-in-time --table-arn {export.table_arn} --s3-bucket {bucket} "
        "--export-type INCREMENTAL_EXPORT --incremental-export-specification "
        f"ExportFromTime={utc(window.from_ms)},ExportToTime={utc(window.to_ms)},ExportViewType=NEW_AND_OLD_IMAGES"
    )
