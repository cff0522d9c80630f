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


def published_until_ms(checkpoint_state: CheckpointState, table: str, source: SourcePolicy, whole_ms: int) -> int:
    """Return until when all changes of a table are surely published, by the clocks of its lanes; 0 when unknown.

    Each shard says it in its checkpoint: the time of the last change published, or when it was last read to its end.
    Shards that are not listed yet have changes, too: see `_Listing`. Where a stream may carry several tables, every
    stream counts. The checkpoint state shows all that was committed up to `whole_ms`.
    """
    entries = checkpoint_state.entries_with(table, source)
    return min((_entry_until_ms(checkpoint_state, entry, source, whole_ms) for entry in entries), default=0)


def _entry_until_ms(checkpoint_state: CheckpointState, table: str, source: SourcePolicy, whole_ms: int) -> int:
    record = checkpoint_state.tables.get(table)
    if record is None or record.state != "streaming" or is_of_another_table(checkpoint_state, table):
        return 0  # what is read now may be of a table, or of a time, of which a stream tells that is not known yet
    current = record.stream_arn
    shards = [
        shard for stream in checkpoint_state.streams_of(table) for shard in checkpoint_state.shards_of_stream(stream)
    ]
    if current is None or not checkpoint_state.shards_of_stream(current):
        return 0  # its first listing is still to come
    listing = _Listing(checkpoint_state, current, source, whole_ms)
    return min((_until_ms(checkpoint_state, shard, listing) for shard in shards), default=FOREVER_MS)


def stream_of(checkpoint_state: CheckpointState, table: str, source: SourcePolicy) -> str | None:
    """Return the stream that a snapshot of a table holds for; None where streams may carry several tables."""
    record = None if source.carries_tables else checkpoint_state.tables.get(table)
    return None if record is None else record.stream_arn


def is_of_another_table(checkpoint_state: CheckpointState, table: str) -> bool:
    """Return whether the table's last snapshot was started when the table had another stream.

    Then the table was created again, or has a gap: rows that were read for it may be of items that no change follows.
    """
    record, snapshot = checkpoint_state.tables.get(table), checkpoint_state.snapshots.snapshots.get(table)
    return (
        record is not None
        and record.state == "streaming"
        and snapshot is not None
        and snapshot.stream not in {None, record.stream_arn}
    )


def _until_ms(checkpoint_state: CheckpointState, shard: ShardRef, listing: _Listing) -> int:
    checkpoint = checkpoint_state.checkpoints.get(shard)
    if checkpoint is None:
        # A parent that has not ended bounds what is older than all changes of this shard.
        return FOREVER_MS if any(map(listing.is_unended, checkpoint_state.shards[shard].parents)) else 0
    if listing.may_lack_others_like(shard):
        return 0
    if checkpoint.state == "ended":
        # It stands for nothing any more once its children stand for themselves.
        return checkpoint_state.closed_after_ms(shard) if listing.may_lack_children(shard) else FOREVER_MS
    # Changes may come out of order where arrivals are told: what arrived before the last one is published.
    last_ms = checkpoint.created_ms if checkpoint.arrived_ms is None else checkpoint.arrived_ms
    return max(last_ms or 0, checkpoint.until_ms or 0)


class _Listing:
    """What the listings of the table's present stream may not have shown yet: shards show one after the other.

    No time tells that: listing and committing may take as long as they like. The enumerator says it in the records of
    the shards (`ShardRecord.complete_ms`).
    """

    def __init__(self, checkpoint_state: CheckpointState, stream: str, source: SourcePolicy, whole_ms: int) -> None:
        self._checkpoint_state = checkpoint_state
        self._stream = stream
        self._retention_ms = source.retention_ms
        self._known_ms = whole_ms - source.settle_ms
        """All that the enumerator had published by then, by its clock, is known here: partitions show separately."""
        shards = checkpoint_state.shards_of_stream(stream)
        self._last_listed_ms = max(map(checkpoint_state.listed_ms, shards), default=0)

    def is_unended(self, shard: ShardRef) -> bool:
        """Return whether a shard is known and has not ended; of others nothing was read yet, or is left."""
        return shard in self._checkpoint_state.shards and not self._checkpoint_state.ended(shard)

    def may_lack_others_like(self, shard: ShardRef) -> bool:
        """Return whether other shards without known parents may be still to be listed."""
        is_current = shard.stream == self._stream
        return is_current and self._checkpoint_state.is_root(shard) and not self._is_complete(shard)

    def may_lack_children(self, shard: ShardRef) -> bool:
        """Return whether children of a shard that has ended may be still to be listed.

        They may be gone without ever having been listed. What descends from them is then in the first listing after.
        """
        if shard.stream != self._stream:
            return False
        children = self._checkpoint_state.children_of(shard)
        if children:
            return not any(map(self._is_complete, children))
        return self._checkpoint_state.closed_after_ms(shard) + self._retention_ms > self._last_listed_ms

    def _is_complete(self, shard: ShardRef) -> bool:
        """Return whether all shards that were made with this one are known."""
        complete_ms = self._checkpoint_state.shards[shard].complete_ms
        return complete_ms is not None and complete_ms <= self._known_ms
