"""Finds what a shard's ancestors published lately: a source may repeat their changes in their children."""

from __future__ import annotations

from collections.abc import Iterable

from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.shard import ListedShard, ShardRef, Tail
from tailrace.core.source_policy import SourcePolicy


def tails_of_ancestors(
    checkpoint_state: CheckpointState, shard: ShardRef, window_ms: int, handed_over_from_ms: int | None = None
) -> tuple[Tail, ...]:
    """Return the tails to read again before `shard` is read from its position, the oldest ancestors first.

    Its own changes, or those of its parents if it has none yet, arrived at some time: what arrived in the `window_ms`
    before that counts, and while a handover may be met, all since that began. An ancestor that the stream no longer
    has is older than that.
    """
    generations = _generations(checkpoint_state, shard)
    since_ms = _since_ms(checkpoint_state, [shard, *generations], window_ms, handed_over_from_ms)
    tails = []
    for ancestor in reversed(generations):
        checkpoint = checkpoint_state.checkpoints[ancestor]
        if checkpoint.arrived_ms is not None and checkpoint.arrived_ms >= since_ms:
            tails.append(Tail(ancestor, checkpoint.window_from))
    return tuple(tails)


def misses_ancestors(
    checkpoint_state: CheckpointState,
    shard: ShardRef,
    source: SourcePolicy,
    now_ms: int,
    handed_over_from_ms: int | None = None,
) -> bool:
    """Return whether a tail cannot be told yet: nothing is known of an ancestor that may have published it.

    Its checkpoint is in another partition, which may be behind; or it was forgotten with its shard, which the stream
    no longer has.
    """
    generations = _generations(checkpoint_state, shard)
    since_ms = _since_ms(checkpoint_state, [shard, *generations], source.window_ms, handed_over_from_ms)
    skew_ms = source.clock_skew_ms
    for child in (shard, *generations):
        record = checkpoint_state.shards.get(child)
        # What its parents had arrived before it was listed.
        listed_ms = record.listed_ms if record is not None else None
        if record is None or listed_ms is None or listed_ms <= max(since_ms - skew_ms, now_ms - source.retention_ms):
            continue
        parents = (parent for parent in record.parents if parent.stream == shard.stream)
        if any(parent not in checkpoint_state.checkpoints for parent in parents):
            return True
    return False


def _since_ms(
    checkpoint_state: CheckpointState, shards: Iterable[ShardRef], window_ms: int, handed_over_from_ms: int | None
) -> int:
    """Return when the window begins of a shard and its ancestors; 0 when nothing arrived in them."""
    checkpoints = (checkpoint_state.checkpoints.get(shard) for shard in shards)
    arrivals_ms = (each.arrived_ms for each in checkpoints if each is not None and each.arrived_ms is not None)
    # The first changes of a shard arrive after the last ones of its ancestors.
    since_ms = max(0, max(arrivals_ms, default=0) - window_ms)
    return since_ms if handed_over_from_ms is None else min(since_ms, handed_over_from_ms)


def listed_tails(shards: Iterable[ListedShard], shard: ShardRef, since_ms: int) -> tuple[Tail, ...]:
    """Return what arrived in `shard`'s ancestors since a time, the oldest ancestors first, as a listing shows them.

    It is for whoever does not know their checkpoints, but that they are published to their ends.
    """
    parents = {each.shard_id: each.parent_ids for each in shards}
    found: dict[str, None] = {}
    frontier = [shard.shard_id]
    while frontier:
        for parent in parents.get(frontier.pop(0), ()):
            if parent in parents and parent not in found:
                found[parent] = None
                frontier.append(parent)
    return tuple(Tail(ShardRef(shard.stream, ancestor), None, since_ms) for ancestor in reversed(found))


def _generations(checkpoint_state: CheckpointState, shard: ShardRef) -> list[ShardRef]:
    """Return the ancestors that are published to their ends, parents before their parents.

    Those of a shard that has begun are, even if no end is committed: AWS Lambda brings none.
    """
    found: dict[ShardRef, None] = {}
    frontier = [shard]
    while frontier:
        child = frontier.pop(0)
        lineage = checkpoint_state.shards.get(child)
        has_begun = child in checkpoint_state.checkpoints
        for parent in lineage.parents if lineage is not None else ():
            checkpoint = checkpoint_state.checkpoints.get(parent)
            state = checkpoint.state if checkpoint is not None else None
            is_through = state == "ended" or (state == "open" and has_begun)
            if parent not in found and is_through:
                found[parent] = None
                frontier.append(parent)
    return list(found)
