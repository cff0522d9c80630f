"""Whether exports and the changes in the topics join without a hole. Pure.

An export holds a table as of a time. What changes later must come from the topics: if they hold all changes only since
a later time, those between are in neither, unless incremental exports bring them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import msgspec

from tailrace.core.checkpoint import SnapshotRecord
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.ports import ExportFacts
from tailrace.core.shard import ShardRef
from tailrace.core.source_policy import SourcePolicy
from tailrace.errors import WorldError
from tailrace.remedy import AcceptGap, RunPipeline

_SECOND_MS: Final = 1000
WINDOW_MAX_MS: Final = 24 * 3600 * _SECOND_MS
"""The longest time that an incremental export may cover."""
WINDOW_MIN_MS: Final = 15 * 60 * _SECOND_MS
"""The shortest."""


class Window(msgspec.Struct, frozen=True):
    """What one incremental export covers, in whole seconds."""

    from_ms: int
    to_ms: int


def since_ms(exports: Sequence[ExportFacts], published: SnapshotRecord | None) -> int:
    """Return as of when exports that are loaded one after the other leave the table in the topics.

    The first must be a full one, or begin where the exports in `published`, the table's last snapshot if that is
    complete, end. Raises WorldError when they do not join.
    """
    first, *others = exports
    loaded = published.exports if published is not None else ()
    until_ms = max((each.exported_ms for each in loaded), default=None)
    if first.from_ms is not None and until_ms is None:
        raise WorldError(
            f"the incremental export {first.location} holds changes only, and no export was loaded before it",
            hint="name the full export that it continues first",
        )
    if first.from_ms is None:
        until_ms = first.exported_ms
        rest = others
    else:
        rest = [first, *others]
    assert until_ms is not None
    for export in rest:
        if export.from_ms is None:
            raise WorldError(
                f"the export {export.location} is a full one, and follows another",
                hint="name one full export, and behind it the incremental ones in the order of their times",
            )
        if export.from_ms > until_ms:
            raise WorldError(
                f"the incremental export {export.location} begins {(export.from_ms - until_ms) // _SECOND_MS} s after "
                "the end of what is loaded before it",
                hint="name the incremental export between them, too",
            )
        until_ms = max(until_ms, export.exported_ms)
    return until_ms


def covered_since_ms(checkpoint_state: CheckpointState, table: str) -> int:
    """Return since when the topics hold, or will hold, all changes of a table for certain, by the workers' clocks.

    Raises WorldError when nothing is certain: the table does not stream, has a gap, or was never read by a worker.
    """
    record = checkpoint_state.tables.get(table)
    if record is not None and (record.state == "gap" or checkpoint_state.is_stopped(table)):
        raise WorldError(f"table {table} has a gap, and is not being read", remedy=AcceptGap(table))
    shards = checkpoint_state.shards_of_stream(record.stream_arn or "") if record is not None else set()
    if record is None or record.state != "streaming" or not shards:
        raise WorldError(
            f"since when the topics hold all changes of table {table} is not known: no worker has listed its stream",
            hint="an export can be loaded only beside workers, not beside the Lambda function alone",
            remedy=RunPipeline(),
        )
    initial = [shard for shard in shards if checkpoint_state.shards[shard].initial]
    if initial:
        since = max(_begun_ms(checkpoint_state, shard) for shard in initial)
    else:  # those of the first listing ended long ago
        since = min(checkpoint_state.shards[shard].seen_ms for shard in shards)
    accepted = checkpoint_state.accepted.get(table)
    return max(since, accepted.at_ms if accepted is not None else 0)


def counts_from_ms(exported_ms: int, source: SourcePolicy) -> int:
    """Return from when changes count as newer than an export: clocks differ, and DynamoDB rounds to seconds."""
    return exported_ms - source.clock_skew_ms - _SECOND_MS


def windows_to_fill(until_ms: int, covered_ms: int, source: SourcePolicy) -> tuple[Window, ...]:
    """Return the incremental exports that are missing between exports and changes; none if nothing is.

    `until_ms`: as of when the exports hold the table; `covered_ms`: since when the topics hold its changes.
    """
    if counts_from_ms(until_ms, source) >= covered_ms:
        return ()
    start_s = until_ms // _SECOND_MS
    end_s = -((until_ms - counts_from_ms(until_ms, source) + covered_ms) // -_SECOND_MS)
    start_s = min(start_s, end_s - WINDOW_MIN_MS // _SECOND_MS)
    count = -((end_s - start_s) // -(WINDOW_MAX_MS // _SECOND_MS))
    edges = [start_s + (end_s - start_s) * each // count for each in range(count + 1)]
    return tuple(Window(begin * _SECOND_MS, end * _SECOND_MS) for begin, end in itertools.pairwise(edges))


def _begun_ms(checkpoint_state: CheckpointState, shard: ShardRef) -> int:
    """Return since when nothing of a shard of a first listing is left out.

    One that begins at LATEST leaves out what was changed before its first read.
    """
    record, checkpoint = checkpoint_state.shards[shard], checkpoint_state.checkpoints.get(shard)
    if record.start != "LATEST":
        return record.seen_ms
    if checkpoint is None:
        raise WorldError(
            f"shard {shard.shard_id} of table {record.table} has not been read yet: which of its changes the topics "
            "will hold is not known",
            hint="wait until the workers stream it, then export the table",
        )
    return max(record.seen_ms, checkpoint.at_ms if checkpoint.begun_ms is None else checkpoint.begun_ms)
