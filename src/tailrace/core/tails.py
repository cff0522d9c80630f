"""Finds what a shard's ancestors published lately: a source may repeat their changes in their children."""

from __future__ import annotations

from collections.abc import Iterable

from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.shard import ListedShard, ShardRef, Tail


def tails_of_ancestors(checkpoint_state: CheckpointState, shard: ShardRef, window_ms: int) -> tuple[Tail, ...]:
    """Return the tails to read again before `shard` is read from its position, the oldest ancestors first.

    Its own changes, or those of its parents if it has none yet, arrived at some time: what arrived in the `window_ms`
    before that counts. An ancestor that the stream no longer has is older than that.
    """
    own = checkpoint_state.checkpoints.get(shard)
    generations = _generations(checkpoint_state, shard)
    arrivals_ms = [own.arrived_ms] if own is not None else []
    for ancestor in generations:
        arrivals_ms.append(checkpoint_state.checkpoints[ancestor].arrived_ms)
    # The first changes of a shard arrive after the last ones of its ancestors.
    since_ms = max((each for each in arrivals_ms if each is not None), default=0) - window_ms
    tails = []
    for ancestor in reversed(generations):
        checkpoint = checkpoint_state.checkpoints[ancestor]
        if checkpoint.arrived_ms is not None and checkpoint.arrived_ms >= since_ms:
            tails.append(Tail(ancestor, checkpoint.window_from))
    return tuple(tails)


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
