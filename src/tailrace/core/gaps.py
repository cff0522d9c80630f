"""The gaps of a table that nobody accepted, and the record that accepts exactly those. Pure."""

from __future__ import annotations

from tailrace.core.checkpoint import GapAccepted, Milliseconds
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.shard import ShardRef


def shards_at_gap(checkpoint_state: CheckpointState, table: str) -> list[tuple[ShardRef, Milliseconds]]:
    """Return the table's shards at a gap, accepted ones too, and when each was found."""
    return [(shard, checkpoint_state.checkpoints[shard].at_ms) for shard in checkpoint_state.gaps_of(table)]


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
