"""Checks what a listing says of shards and their parents."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from tailrace.aws.errors import Subject, broken
from tailrace.core.shard import ListedShard


def check_lineage(operation: str, subject: Subject, shards: Mapping[str, ListedShard]) -> None:
    """Refuse a listing in which a shard is its own ancestor: what waits for itself is never read.

    Raises `ReadError`.
    """
    try:
        TopologicalSorter({shard_id: shard.parent_ids for shard_id, shard in shards.items()}).prepare()
    except CycleError as error:
        cycle = " < ".join(error.args[1])
        raise broken(operation, subject, f"shards descend in a circle: {cycle}") from error
