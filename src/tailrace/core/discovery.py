"""Decides what a listing means: which shards to publish, which to delete, which to ask about first.

Listings are eventually consistent: they may miss shards, and show a child whose parent they miss. So a shard is
published only when each of its parents is known, listed, or certainly gone: the source itself was asked
(`Enumerator.exists`). What is published is therefore true, and lanes need not check it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Final

import msgspec

from tailrace.core import definition
from tailrace.core.checkpoint import (
    CheckpointKey,
    ShardClaimKey,
    ShardKey,
    ShardRecord,
    Start,
    TableKey,
    TableRecord,
    TableState,
    Write,
)
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.ports import StreamListing, TableStream
from tailrace.core.shard import ListedShard, ShardRef
from tailrace.core.source_policy import SourcePolicy

STREAM_OFF: Final = "its stream is switched off"
TAGS_LOST: Final = "it does not have the tags that the file asks for"


class Reconciliation(msgspec.Struct, frozen=True):
    """What to write to the checkpoint topic, and the shards to ask `exists` about before more can be published."""

    writes: tuple[Write, ...]
    unknown: frozenset[ShardRef]


def reconcile(
    checkpoint_state: CheckpointState,
    table: str,
    listing: StreamListing,
    *,
    whole: bool,
    current: bool,
    start: Start,
    since_ms: int | None = None,
    gone: Collection[ShardRef],
    complete_before_ms: int = 0,
    now_ms: int,
    source: SourcePolicy,
    handover: str | None = None,
) -> Reconciliation:
    """Compare a listing with what is published.

    `whole`: it shows the whole stream, not only some children. `current`: it is the table's present stream. `start`:
    where the shards of a stream that was never listed before begin, unless Lambda has delivered from it: then they
    begin where Lambda stopped. `since_ms`: they skip what arrived before. `gone`: shards that the source denies
    (`exists` is false). `complete_before_ms`: the listing shows all that was made with what was first listed before.
    Once there is nothing else to write, it is confirmed as published (`ShardRecord.complete_ms`).
    `handover`: the switch in whose time the stream is read in place of another source.
    """
    listed = {ShardRef(listing.stream, shard.shard_id): shard for shard in listing.shards}
    known = checkpoint_state.shards_of_stream(listing.stream)
    initial = not known
    carried_over = unended_elsewhere(checkpoint_state, table, listing.stream) if initial or current else ()
    with_children = {ShardRef(listing.stream, parent) for shard in listing.shards for parent in shard.parent_ids}
    held_back, unknown = _hold_back(listed, known, gone)
    if initial and held_back:
        # `start` and `initial` are right for all the shards of a first listing or for none.
        return Reconciliation((), frozenset(unknown))
    delivered = {shard for shard in listed if shard in checkpoint_state.checkpoints} if initial else set()
    passed = _ancestors(listed, delivered)
    retention_ms = listing.retention_ms or _retention_ms(checkpoint_state, known)
    writes = []
    for shard, entry in listed.items():
        if shard in known and checkpoint_state.shards[shard].retention_ms != retention_ms:
            changed = msgspec.structs.replace(checkpoint_state.shards[shard], retention_ms=retention_ms)
            writes.append(ShardKey(*shard).write(changed, checkpoint_state.lane_count))
        if shard in known or shard in held_back:
            continue
        parents = [ShardRef(listing.stream, parent) for parent in entry.parent_ids]
        waits_for = [parent for parent in parents if parent in listed or parent in known]
        begins: Start = "TRIM_HORIZON"
        if shard in passed:
            begins = "END"
        elif initial and start == "LATEST" and not delivered:
            begins = "END" if entry.closed or shard in with_children else "LATEST"
        record = ShardRecord(
            table=table,
            parents=tuple(waits_for) or carried_over,
            start=begins,
            seen_ms=now_ms if initial else _unread_since_ms(checkpoint_state, waits_for, known, now_ms),
            initial=initial,
            listed_ms=now_ms,
            since_ms=since_ms if initial and begins == "TRIM_HORIZON" and shard not in delivered else None,
            retention_ms=retention_ms,
            handover=handover,
        )
        writes.append(ShardKey(*shard).write(record, checkpoint_state.lane_count))
    if whole:
        waited_for = {
            ShardRef(listing.stream, parent)
            for shard, entry in listed.items()
            if shard not in checkpoint_state.checkpoints
            for parent in entry.parent_ids
        }
        absent = {
            shard
            for shard in known - listed.keys() - waited_for
            if _is_done(checkpoint_state, shard, current=current, now_ms=now_ms, source=source)
        }
        unknown |= absent - set(gone)
        for shard in sorted(absent & set(gone)):
            # In this order: a shard without a checkpoint would be read from its head.
            writes += [each(*shard).write(None, checkpoint_state.lane_count) for each in (ShardKey, CheckpointKey)]
    if not writes and not held_back:
        # An empty listing proves nothing: for some seconds a stream may seem to be gone.
        shown = known if whole and listed else {shard for shard in listed if not checkpoint_state.is_root(shard)}
        for shard in sorted(shown):
            record = checkpoint_state.shards[shard]
            if record.complete_ms is None and checkpoint_state.listed_ms(shard) < complete_before_ms:
                complete = msgspec.structs.replace(record, complete_ms=now_ms)
                writes.append(ShardKey(*shard).write(complete, checkpoint_state.lane_count))
    return Reconciliation(tuple(writes), frozenset(unknown))


def lacks_roots(checkpoint_state: CheckpointState, stream: str) -> bool:
    """Return whether shards without known parents may still be missing from a stream's listings."""
    shards = checkpoint_state.shards_of_stream(stream)
    return any(checkpoint_state.shards[each].complete_ms is None and checkpoint_state.is_root(each) for each in shards)


def lacks_children(checkpoint_state: CheckpointState, shard: ShardRef) -> bool:
    """Return whether children of a shard that has ended may still be missing from its stream's listings."""
    children = checkpoint_state.children_of(shard)
    return all(checkpoint_state.shards[child].complete_ms is None for child in children)


def _retention_ms(checkpoint_state: CheckpointState, known: Collection[ShardRef]) -> int | None:
    """Return the retention of a stream as it is known from its shards."""
    return next((checkpoint_state.shards[shard].retention_ms for shard in known), None)


def _hold_back(
    listed: dict[ShardRef, ListedShard], known: set[ShardRef], gone: Collection[ShardRef]
) -> tuple[set[ShardRef], set[ShardRef]]:
    """Find the listed shards with an ancestor that is neither known, listed nor certainly gone; and those ancestors."""
    children: dict[ShardRef, list[ShardRef]] = defaultdict(list)
    unknown: set[ShardRef] = set()
    for shard, entry in listed.items():
        for parent_id in entry.parent_ids:
            parent = ShardRef(shard.stream, parent_id)
            children[parent].append(shard)
            if shard not in known and parent not in listed and parent not in known and parent not in gone:
                unknown.add(parent)
    held_back: set[ShardRef] = set()
    frontier = list(unknown)
    while frontier:
        for child in children[frontier.pop()]:
            if child not in held_back and child not in known:
                held_back.add(child)
                frontier.append(child)
    return held_back, unknown


def _ancestors(listed: dict[ShardRef, ListedShard], delivered: set[ShardRef]) -> set[ShardRef]:
    """Find the ancestors of the shards that Lambda delivered from, other than themselves.

    Lambda delivers a shard's changes after all those of its parents, so nothing of the parents is missing.
    """
    passed: set[ShardRef] = set()
    frontier = list(delivered)
    while frontier:
        shard = frontier.pop()
        for parent_id in listed[shard].parent_ids if shard in listed else ():
            parent = ShardRef(shard.stream, parent_id)
            if parent not in passed:
                passed.add(parent)
                frontier.append(parent)
    return passed - delivered


def _is_done(
    checkpoint_state: CheckpointState, shard: ShardRef, *, current: bool, now_ms: int, source: SourcePolicy
) -> bool:
    """Return whether the shard is no longer needed: it ended, its children have begun, and nothing of it is left.

    A shard of the present stream that ended must have children: none known means that they are not listed yet.
    """
    children = checkpoint_state.children_of(shard)
    return (
        checkpoint_state.ended(shard)
        and now_ms - checkpoint_state.shards[shard].seen_ms > source.retention_ms
        and (bool(children) or not current)
        and all(child in checkpoint_state.checkpoints for child in children)
    )


def _unread_since_ms(
    checkpoint_state: CheckpointState, parents: list[ShardRef], known: set[ShardRef], now_ms: int
) -> int:
    """Return since when a shard that was not in the first listing may have unread changes.

    A child has them since its parents were open. One whose parents are no longer known descends from one of the known
    shards, and was overlooked since that one was open.
    """
    if not parents:
        return min(
            [
                now_ms,
                *(
                    min(checkpoint_state.shards[shard].seen_ms, _ended_ms(checkpoint_state, shard, now_ms))
                    for shard in known
                ),
            ]
        )
    return min(now_ms, *(_ended_ms(checkpoint_state, parent, now_ms) for parent in parents))


def _ended_ms(checkpoint_state: CheckpointState, shard: ShardRef, now_ms: int) -> int:
    """Return when a shard ended, or earlier; `now_ms` if its end is not committed: its lane checks again once it is."""
    if checkpoint_state.ended(shard):
        return checkpoint_state.closed_after_ms(shard)
    record = checkpoint_state.shards.get(shard)
    return record.seen_ms if record is not None and record.start == "END" else now_ms


def unended_elsewhere(checkpoint_state: CheckpointState, table: str, stream: str) -> tuple[ShardRef, ...]:
    """Return the shards of the table's earlier streams that have not ended: item order needs them first."""
    earlier = checkpoint_state.streams_of(table) - {stream}
    return tuple(
        sorted(
            shard
            for each in earlier
            for shard in checkpoint_state.shards_of_stream(each)
            if not checkpoint_state.ended(shard)
        )
    )


def end_handover(checkpoint_state: CheckpointState) -> tuple[Write, ...]:
    """Return what ends a handover once every shard of the next source is read past its time; nothing before."""
    handover = checkpoint_state.handovers.active
    if handover is None:
        return ()
    for entry in handover.entries:
        record = checkpoint_state.tables.get(entry)
        if record is not None and record.state in {"left out", "missing"}:
            continue
        shards = [
            shard
            for stream in checkpoint_state.streams_of(entry)
            for shard in checkpoint_state.shards_of_stream(stream)
        ]
        if not shards or not all(checkpoint_state.is_past_handover(shard, handover.until_ms) for shard in shards):
            return ()
    return checkpoint_state.handovers.ended()


def forget_outdated(checkpoint_state: CheckpointState, source: SourcePolicy, now_ms: int) -> tuple[Write, ...]:
    """Return tombstones for what Lambda left of shards that their streams no longer have: no listing shows them."""
    before_ms = now_ms - source.shard_life_ms
    checkpoints = (
        shard
        for shard, each in checkpoint_state.checkpoints.items()
        if shard not in checkpoint_state.shards and each.at_ms < before_ms
    )
    shard_claims = (shard for shard, claim in checkpoint_state.shard_claims.items() if claim.at_ms < before_ms)
    return (
        *(CheckpointKey(*shard).write(None, checkpoint_state.lane_count) for shard in sorted(checkpoints)),
        *(ShardClaimKey(*shard).write(None, checkpoint_state.lane_count) for shard in sorted(shard_claims)),
    )


def reconcile_table(
    checkpoint_state: CheckpointState,
    found: TableStream | None,
    table: str,
    now_ms: int,
    *,
    off_why: str | None = None,
) -> TableRecord:
    """Return how a table stands, given its description (None: there is no such table).

    `off_why` says why it cannot be read yet, when there is more to say than that its stream is off.

    Another stream than before means that changes between the two may be lost: a gap, until the operator accepts it.
    The old stream is read to its end meanwhile.
    """
    before = checkpoint_state.tables.get(table)
    streamed = before.stream_arn if before is not None else None
    if found is None:
        return _table("missing", streamed, None, now_ms, detail="there is no such table")
    if found.stream is None or off_why is not None:
        return _table("off", streamed, None, now_ms, detail=off_why or STREAM_OFF)
    if streamed is None or streamed == found.stream:
        return _table("streaming", found.stream, found, now_ms)
    accepted = checkpoint_state.accepted.get(table)
    if accepted is not None and accepted.stream_arn == found.stream:
        return _table("streaming", found.stream, found, now_ms)
    detail = "its stream was switched off and on, or the table was created again: the changes between are lost"
    return _table("gap", streamed, found, now_ms, detail=detail)


def leave_out(checkpoint_state: CheckpointState, wanted: Callable[[str], bool], now_ms: int) -> tuple[Write, ...]:
    """Return the records that stop tables which the pipeline file no longer names.

    A table in the recorded definition continues: the file of a worker that started later names it.
    """
    recorded = checkpoint_state.definition
    return tuple(
        Write(0, TableKey(table), msgspec.structs.replace(record, state="left out", at_ms=now_ms, detail=None))
        for table, record in checkpoint_state.tables.items()
        if record.state != "left out"
        and not wanted(table)
        and not (recorded is not None and definition.wants(recorded, table))
    )


def leave_out_untagged(
    checkpoint_state: CheckpointState, table: str, tags: Mapping[str, str], now_ms: int
) -> tuple[Write, ...]:
    """Return the record that stops a table whose `tags` are not those that the pipeline file asks for.

    Nothing if the recorded definition asks for tags that it has, or if it is stopped already.
    """
    recorded, record = checkpoint_state.definition, checkpoint_state.tables.get(table)
    if record is None or record.state == "left out":
        return ()
    if recorded is not None and definition.wants(recorded, table, tags):
        return ()
    left_out = msgspec.structs.replace(record, state="left out", at_ms=now_ms, detail=TAGS_LOST)
    return (Write(0, TableKey(table), left_out),)


def _table(
    state: TableState, stream_arn: str | None, found: TableStream | None, now_ms: int, *, detail: str | None = None
) -> TableRecord:
    return TableRecord(
        stream_arn=stream_arn,
        view_type=found.view_type if found else None,
        state=state,
        at_ms=now_ms,
        detail=detail,
        next_stream_arn=found.stream if found and state == "gap" else None,
    )


def table_write(checkpoint_state: CheckpointState, table: str, record: TableRecord) -> tuple[Write, ...]:
    """Return the record to write, if it says anything new."""
    before = checkpoint_state.tables.get(table)
    if before is not None and msgspec.structs.replace(before, at_ms=record.at_ms) == record:
        return ()
    return (Write(0, TableKey(table), record),)
