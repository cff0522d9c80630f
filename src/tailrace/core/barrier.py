"""The barrier of a snapshot: until when all changes of a table are published. Pure.

A row that was read at a moment may be published once everything up to that moment is: otherwise changes older than the
row would follow it.
"""

from __future__ import annotations

from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.shard import ShardRef
from tailrace.core.source_policy import SourcePolicy

FOREVER_MS = 1 << 62
"""Nothing is missing, whatever moment is asked for."""


def published_until_ms(checkpoint_state: CheckpointState, table: str, source: SourcePolicy, now_ms: int) -> int:
    """Return until when all changes of a table are surely published, by the clocks of its lanes; 0 when unknown.

    Each shard says it in its checkpoint: the creation time of the last change published, or when it was last read to
    its end. An ended shard stands for nothing any more once its children are known, all of them as far as anybody can
    tell: they are looked for until `second_child_ms` after the first one.
    """
    record = checkpoint_state.tables.get(table)
    if record is None or record.state == "gap":
        return 0
    current = record.stream_arn if record.state == "streaming" else None
    shards = [
        shard for stream in checkpoint_state.streams_of(table) for shard in checkpoint_state.shards_of_stream(stream)
    ]
    if current is not None and not checkpoint_state.shards_of_stream(current):
        return 0  # its first listing is still to come
    return min((_until_ms(checkpoint_state, shard, current, source, now_ms) for shard in shards), default=FOREVER_MS)


def _until_ms(
    checkpoint_state: CheckpointState, shard: ShardRef, current: str | None, source: SourcePolicy, now_ms: int
) -> int:
    checkpoint = checkpoint_state.checkpoints.get(shard)
    if checkpoint is None:
        parents = checkpoint_state.shards[shard].parents
        # What its parents bound is older than its own changes.
        return FOREVER_MS if any(not checkpoint_state.ended(parent) for parent in parents) else 0
    if checkpoint.state == "ended":
        if shard.stream != current:
            return FOREVER_MS
        children = checkpoint_state.children_of(shard)
        first_ms = min((checkpoint_state.shards[child].seen_ms for child in children), default=None)
        is_whole = first_ms is not None and now_ms - first_ms >= 2 * source.second_child_ms
        return FOREVER_MS if is_whole else checkpoint_state.closed_after_ms(shard)
    return max(checkpoint.created_ms or 0, checkpoint.until_ms or 0)
