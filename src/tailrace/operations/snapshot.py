"""Starts, pauses, resumes and cancels snapshots: records in the checkpoint topic, which every worker reads."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from tailrace.config import LoadedPipeline, Pipeline
from tailrace.core.barrier import stream_of
from tailrace.core.checkpoint import (
    SegmentKey,
    SegmentRecord,
    SegmentRef,
    SnapshotClaimKey,
    SnapshotControl,
    SnapshotControlKey,
    SnapshotKey,
    SnapshotReason,
    SnapshotRecord,
    SnapshotSource,
    Write,
)
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.lane_messages import Transaction
from tailrace.core.ports import LoadedExport, ReadError, ReadFailure, TableFacts, TableReader
from tailrace.core.shard import ENUMERATOR_LANE
from tailrace.core.snapshot_state import SnapshotState, new_snapshot_id
from tailrace.errors import FileError, WorldError
from tailrace.kafka import checkpoint_topic, operator_records
from tailrace.operations import claims, preconditions
from tailrace.operations.claims import ClaimLostError
from tailrace.operations.snapshot_estimate import Estimate, estimate_keys, estimate_scan
from tailrace.operations.snapshot_keys import read_keys
from tailrace.operations.snapshot_plan import why_not_read
from tailrace.operations.snapshot_status import no_snapshot
from tailrace.remedy import AcceptGap, CancelSnapshot, NameTable, ShowSnapshots, ShowStatus
from tailrace.transform.rows import row_condition
from tailrace.wiring.pipeline import snapshot_suffix
from tailrace.wiring.sources import policy_of

KEYS_A_SEGMENT: Final = 500
KEY_BYTES_A_SEGMENT: Final = 200_000
"""A segment's keys are in its record, which is written again after each chunk."""

TRIES_MAX: Final = 5

Order = Literal["pause", "run", "cancel"]
_ATTEMPTS: Final[Mapping[Order, str]] = {"pause": "pausing", "run": "resuming", "cancel": "cancelling"}


class DraftedExport(msgspec.Struct, frozen=True):
    """An export to S3 that can be loaded."""

    export: LoadedExport
    items: int
    files: tuple[str, ...]


class SnapshotDraft(msgspec.Struct, frozen=True):
    """A snapshot that can be started: what it will read, and what that costs."""

    table: str
    source: SnapshotSource
    filter: str | None
    segments: int
    keys: tuple[str, ...]
    """Of a snapshot by keys: DynamoDB JSON objects."""
    estimate: Estimate
    exports: tuple[DraftedExport, ...] = ()
    """Of exports: in the order in which they are read."""


class StartedSnapshot(msgspec.Struct, frozen=True):
    """A snapshot that workers read from now on."""

    table: str
    id: str
    segments: int


class OrderedSnapshot(msgspec.Struct, frozen=True):
    """What an operator ordered of a snapshot."""

    table: str
    id: str
    order: Order


def draft_scan(
    loaded: LoadedPipeline, tables: TableReader, table: str, *, row_filter: str | None = None
) -> SnapshotDraft:
    """Prepare to read a whole table. Without `row_filter`, that of the file holds.

    Raises WorldError when the table cannot be read now, `FileError` for a filter that is none.
    """
    facts = facts_to_start(loaded, tables, table)
    chosen = filter_of(loaded.pipeline, row_filter)
    snapshot = loaded.pipeline.snapshot
    return SnapshotDraft(
        table=table,
        source="scan",
        filter=chosen,
        segments=snapshot.segment_count(facts, loaded.pipeline.lanes),
        keys=(),
        estimate=estimate_scan(facts, snapshot.wanted_read_capacity(facts)),
    )


def draft_keys(
    loaded: LoadedPipeline,
    tables: TableReader,
    table: str,
    lines: Iterable[bytes],
    *,
    file: str = "the keys",
    row_filter: str | None = None,
) -> SnapshotDraft:
    """Prepare to read the items with these keys, one JSON object a line; `file` names them in errors.

    Raises as `draft_scan` does, and `FileErrors` for lines that are no keys of the table.
    """
    facts = facts_to_start(loaded, tables, table)
    chosen = filter_of(loaded.pipeline, row_filter)
    keys = read_keys(lines, facts.key_types, file)
    return SnapshotDraft(
        table=table,
        source="keys",
        filter=chosen,
        segments=len(parts_of(keys)),
        keys=keys,
        estimate=estimate_keys(facts, len(keys), loaded.pipeline.snapshot.wanted_read_capacity(facts)),
    )


def start(loaded: LoadedPipeline, draft: SnapshotDraft, *, reason: SnapshotReason = "manual") -> StartedSnapshot:
    """Start a snapshot. Raises WorldError when the table cannot have one now, or Kafka does not confirm it."""
    now_ms = _now_ms()
    record = SnapshotRecord(
        id=new_snapshot_id(now_ms, random.random()),
        source=draft.source,
        reason=reason,
        segments=draft.segments,
        at_ms=now_ms,
        filter=draft.filter,
        item_count=draft.estimate.items,
        size_bytes=draft.estimate.size_bytes,
        exports=tuple(each.export for each in draft.exports),
    )
    running = SegmentRecord(table=draft.table, state="running", at_ms=now_ms)
    if draft.source == "keys":
        parts = parts_of(draft.keys)
        segments = {str(number): msgspec.structs.replace(running, keys=keys) for number, keys in enumerate(parts)}
    elif draft.source == "export":
        files = ((number, file) for number, each in enumerate(draft.exports) for file in each.files)
        names = [SegmentRef.for_export(draft.table, record.id, number, file).name for number, file in files]
        segments = dict.fromkeys(names, running)
    else:
        segments = dict.fromkeys(map(str, range(draft.segments)), running)
    return write_snapshot(loaded, draft.table, record, segments)


def write_snapshot(
    loaded: LoadedPipeline, table: str, record: SnapshotRecord, segments: Mapping[str, SegmentRecord]
) -> StartedSnapshot:
    """Write a snapshot: its segments by name, and then the record that makes it active, with the table's stream.

    Whatever breaks off before that leaves nothing active. The record is committed in the place of the coordinator (the
    owner of snapshot lane 0): of several starts at the same moment, one finds the snapshot of the other. Raises
    WorldError as `start` does.
    """
    pipeline = loaded.pipeline
    checkpoint_state = _read(pipeline)
    require_startable(pipeline, checkpoint_state, table)
    record = msgspec.structs.replace(record, stream=stream_of(checkpoint_state, table, policy_of(pipeline)))
    keys = {SegmentKey(SegmentRef(table, record.id, name)): segment for name, segment in segments.items()}
    lane_count = checkpoint_state.lane_count
    _write(
        pipeline,
        [Write(key.segment.lane(lane_count), key, segment) for key, segment in keys.items()],
        f"starting a snapshot of table {table}",
    )
    _activate(pipeline, table, record)
    return StartedSnapshot(table, record.id, len(segments))


def _activate(pipeline: Pipeline, table: str, record: SnapshotRecord) -> None:
    """Commit a snapshot's record unless the table has another snapshot that has not ended. Raises WorldError.

    It claims the coordinator's lane for the moment; its owner claims it again.
    """
    suffix, lanes, reason = snapshot_suffix(ENUMERATOR_LANE), preconditions.count_lanes(pipeline), ""
    for _ in range(TRIES_MAX):
        try:
            claimed = claims.claim_first_lane(pipeline, suffix, SnapshotClaimKey(), "operator", lanes=lanes)
            with claimed as (held, checkpoint_state):
                snapshots = checkpoint_state.snapshots
                present = snapshots.snapshots.get(table)
                if present is not None and present.id == record.id:
                    return  # the try before was carried out after all
                _require_ended(snapshots, table)
                held.commit(Transaction((), (Write(ENUMERATOR_LANE, SnapshotKey(table), record),)))
                return
        except ClaimLostError as error:
            reason = str(error)
            if error.denied:
                break
        time.sleep(random.random())  # two starters must not fence each other in turns
    raise WorldError(f"a snapshot of table {table} could not be started: {reason}", remedy=ShowSnapshots())


def order(loaded: LoadedPipeline, table: str, wanted: Order) -> OrderedSnapshot:
    """Pause, resume (`run`) or cancel a table's snapshot; workers follow within a second or so.

    To resume also tries segments again that failed. Raises WorldError when there is nothing to be ordered.
    """
    pipeline = loaded.pipeline
    checkpoint_state = _read(pipeline)
    preconditions.require_tables(checkpoint_state, [table], pipeline.source.named_tables)
    control = control_of(checkpoint_state, table, wanted, _now_ms())
    _write(
        pipeline, [Write(0, SnapshotControlKey(table), control)], f"{_ATTEMPTS[wanted]} the snapshot of table {table}"
    )
    return OrderedSnapshot(table, control.id, wanted)


def control_of(checkpoint_state: CheckpointState, table: str, wanted: Order, now_ms: int) -> SnapshotControl:
    """Return the record of an order. Raises WorldError when the table's snapshot cannot be ordered so."""
    snapshots = checkpoint_state.snapshots
    if table not in snapshots.snapshots:
        raise no_snapshot(table)
    if result := snapshots.result_of(table):
        words = "was cancelled" if result.outcome == "cancelled" else "has ended"
        raise WorldError(f"the last snapshot of table {table} {words}", remedy=ShowSnapshots())
    present, progress = snapshots.order_of(table), snapshots.progress_of(table)
    if present == "cancel":
        raise WorldError(f"the snapshot of table {table} is being cancelled", remedy=ShowSnapshots())
    if wanted == present and not (wanted == "run" and progress.failed):
        words = "is paused already" if wanted == "pause" else "is running, and no segment has failed"
        raise WorldError(f"the snapshot of table {table} {words}", remedy=ShowSnapshots())
    # A failed segment is tried again if it failed before the order: clocks differ.
    return SnapshotControl(id=snapshots.snapshots[table].id, order=wanted, at_ms=max(now_ms, progress.at_ms + 1))


def require_startable(pipeline: Pipeline, checkpoint_state: CheckpointState, table: str) -> None:
    """Raise WorldError unless a snapshot of the table can be started now."""
    source = pipeline.source
    entries = checkpoint_state.entries_with(table, policy_of(pipeline))
    found = {entry: checkpoint_state.tables.get(entry) for entry in entries}
    records = {entry: record for entry, record in found.items() if record is not None}
    if not source.publishes(table) and table not in checkpoint_state.table_names:
        key, named = source.tables_key, ", ".join(each.text for each in source.tables_read)
        raise WorldError(f"table {table} is no table of the pipeline", hint=f"{key} of the file has: {named}")
    if not source.publishes(table) or any(record.state == "left out" for record in records.values()):
        raise WorldError(f"table {table} is no table of the pipeline", remedy=NameTable(table, source.tables_key))
    for entry in entries:
        if checkpoint_state.is_stopped(entry) or (entry in records and records[entry].state == "gap"):
            raise WorldError(
                f"{_called(entry, table)} is stopped by a gap, so no snapshot can be started", remedy=AcceptGap(entry)
            )
    if not records and table not in checkpoint_state.snapshot_tables(source.named_tables):
        if checkpoint_state.method == "lambda":
            raise WorldError(
                f"the Lambda function has published no change of table {table} yet",
                hint=f"name the table in {source.tables_key}, where a pattern brings it in now",
            )
        raise WorldError(
            f"no worker has listed table {table} yet",
            hint="start a worker with this file, or wait some seconds until one has listed it",
        )
    for entry, record in records.items():
        if record.state != "streaming":
            detail = f": {record.detail}" if record.detail else ""
            raise WorldError(f"{_called(entry, table)} is {record.state}, not streaming{detail}", remedy=ShowStatus())
    others = checkpoint_state.table_names.union(pipeline.source.named_tables)
    if why_not := why_not_read(pipeline, table, others):
        raise WorldError(why_not)
    _require_ended(checkpoint_state.snapshots, table)


def _require_ended(snapshots: SnapshotState, table: str) -> None:
    if snapshots.is_unfinished(table):
        unfinished = snapshots.snapshots[table].id
        raise WorldError(f"table {table} has a snapshot that has not ended: {unfinished}", remedy=CancelSnapshot(table))


def _called(entry: str, table: str) -> str:
    """Name what brings the changes of a table."""
    return f"table {table}" if entry == table else f"stream {entry}"


def parts_of(keys: Sequence[str]) -> list[tuple[str, ...]]:
    """Divide keys into the segments that read them."""
    parts: list[list[str]] = []
    size_bytes = KEY_BYTES_A_SEGMENT
    for key in keys:
        key_bytes = len(key.encode())
        if size_bytes + key_bytes > KEY_BYTES_A_SEGMENT or len(parts[-1]) == KEYS_A_SEGMENT:
            parts.append([])
            size_bytes = 0
        parts[-1].append(key)
        size_bytes += key_bytes
    return [tuple(part) for part in parts]


def facts_to_start(loaded: LoadedPipeline, tables: TableReader, table: str) -> TableFacts:
    """Describe a table that a snapshot can be started of."""
    require_startable(loaded.pipeline, _read(loaded.pipeline), table)
    try:
        return tables.facts(table)
    except ReadError as error:
        if error.failure is ReadFailure.GONE:
            raise loaded.pipeline.source.missing_table(table) from error
        raise


def filter_of(pipeline: Pipeline, text: str | None) -> str | None:
    """Return the filter to use: the one given, or that of the file. Raises FileError for one that is none."""
    if text is None:
        return pipeline.snapshot.filter
    try:
        row_condition(text)
    except ValueError as error:
        raise FileError(f"the filter {text}: {error}") from None
    return text


def _read(pipeline: Pipeline) -> CheckpointState:
    lanes = preconditions.count_lanes(pipeline)
    return checkpoint_topic.read_checkpoint_state(pipeline.kafka, pipeline.name, lanes)


def _write(pipeline: Pipeline, writes: Sequence[Write], attempted: str) -> None:
    operator_records.write(pipeline.kafka, pipeline.name, writes, attempted=attempted, unconfirmed=ShowSnapshots())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
