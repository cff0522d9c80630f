"""The gaps of a table that nobody accepted, what they are accepted with, and the record that does it. Pure."""

from __future__ import annotations

from tailrace.core.checkpoint import GapAccepted, Milliseconds
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.shard import ShardRef
from tailrace.core.source_policy import SourcePolicy


def shards_at_gap(checkpoint_state: CheckpointState, table: str) -> list[tuple[ShardRef, Milliseconds]]:
    """Return the table's shards at a gap, accepted ones too, and when each was found."""
    return [(shard, checkpoint_state.checkpoints[shard].at_ms) for shard in checkpoint_state.gaps_of(table)]


def unread_too_long(
    checkpoint_state: CheckpointState, table: str, source: SourcePolicy, now_ms: int
) -> list[tuple[ShardRef, Milliseconds]]:
    """Return the table's shards that are no gap yet and were not read for longer than their stream keeps changes.

    An acceptance covers what they have lost, too. With each: since when it was not read.
    """
    found = []
    for stream in sorted(checkpoint_state.streams_of(table)):
        for shard in sorted(checkpoint_state.shards_of_stream(stream)):
            record, checkpoint = checkpoint_state.shards[shard], checkpoint_state.checkpoints.get(shard)
            if checkpoint is None and (record.start != "TRIM_HORIZON" or not checkpoint_state.may_begin(shard)):
                continue
            if checkpoint is not None and checkpoint.state in {"ended", "gap"}:
                continue
            since_ms = checkpoint_state.unread_since_ms(shard) if checkpoint is None else checkpoint.at_ms
            if now_ms - since_ms > (record.retention_ms or source.retention_ms):
                found.append((shard, since_ms))
    return found


def next_stream_of(checkpoint_state: CheckpointState, table: str) -> str | None:
    """Return the stream that replaced the table's, as long as that is a gap."""
    record = checkpoint_state.tables.get(table)
    return record.next_stream_arn if record is not None and record.state == "gap" else None


def acceptance_of(checkpoint_state: CheckpointState, table: str, now_ms: int) -> GapAccepted | None:
    """Return what accepts the table's gaps; None when there is none that is not accepted already.

    It names all of them, since it takes the place of an earlier acceptance.
    """
    accepted = checkpoint_state.accepted.get(table)
    shards, stream = shards_at_gap(checkpoint_state, table), next_stream_of(checkpoint_state, table)
    is_new_stream = stream is not None and (accepted is None or accepted.stream_arn != stream)
    is_new = is_new_stream or any(
        not checkpoint_state.is_accepted(shard, checkpoint_state.checkpoints[shard]) for shard, _ in shards
    )
    return GapAccepted(shards=tuple(shards), stream_arn=stream, at_ms=now_ms) if is_new else None
