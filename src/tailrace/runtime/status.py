"""Where each table and shard of a pipeline stands, read from its checkpoint topic and its group."""

from __future__ import annotations

import time
from collections import Counter
from typing import Literal

import msgspec

from tailrace.config import LoadedPipeline
from tailrace.core.change import ViewType
from tailrace.core.checkpoint import Method, TableState
from tailrace.core.lane import LISTER_LANE
from tailrace.core.shard import ShardRef, lane_of
from tailrace.core.view import View
from tailrace.kafka import checkpoint_topic, clients, membership, topics
from tailrace.kafka.membership import Group
from tailrace.runtime import existing

State = Literal["waiting", "open", "ended", "gap", "failed", "paused"]
STATES: tuple[State, ...] = ("gap", "failed", "paused", "waiting", "open", "ended")
"""Worst first."""


class ShardStatus(msgspec.Struct, frozen=True):
    """One shard."""

    shard: str
    stream_arn: str
    state: State
    sequence: str | None
    """Last published sequence number."""
    last_change_s: float | None
    """Age of the last published change; None without one."""
    lag_s: float | None
    """How far it is behind the source: of one that had more to read when it last published, else it is not known."""
    checkpoint_ms: int | None
    """When its last checkpoint was made, milliseconds since the epoch."""
    lane: int
    owner: str | None
    detail: str | None


class TableStatus(msgspec.Struct, frozen=True):
    """One table and its shards, the largest lag first; ended shards only when they were asked for."""

    table: str
    state: TableState
    stream_arn: str | None
    view_type: ViewType | None
    detail: str | None
    mend: str | None
    """What the operator can do, when the table or one of its shards stands still."""
    shards_by_state: dict[str, int]
    last_change_s: float | None
    """Age of the last published change; None without one."""
    max_lag_s: float | None
    """The largest lag that is known of a shard."""
    shards: tuple[ShardStatus, ...]


class Status(msgspec.Struct, frozen=True):
    """A pipeline at a moment."""

    pipeline: str
    at_ms: int
    lanes: int
    workers: tuple[str, ...]
    tables: tuple[TableStatus, ...]
    untaken: tuple[int, ...] = ()
    """Lanes with work whose owner in the group has not taken them: so for seconds after a rebalance, no longer."""
    dead_letters_at_most: int = 0
    """Records and transaction markers in the dead-letter topic: what was redriven is among them until it expires."""
    method: Method = "worker"
    """Which method publishes; `none` in the midst of a switch."""


def read_status(loaded: LoadedPipeline, *, with_ended: bool = False) -> Status:
    """Read how a pipeline stands. Raises WorldError when it does not exist yet."""
    pipeline = loaded.pipeline
    with loaded.telling("kafka", "bootstrap.servers"):
        lanes = existing.lanes_of(pipeline)
        dead_letters = topics.offsets_held(clients.admin(pipeline.kafka), pipeline.kafka, pipeline.dead_letters_topic)
    view = checkpoint_topic.read_view(pipeline.kafka, pipeline.name, lanes)
    group = membership.describe(pipeline.kafka, pipeline.name)
    now_ms = time.time_ns() // 1_000_000
    tables = tables_of(view, group, now_ms, argument=loaded.argument, with_ended=with_ended)
    untaken = untaken_lanes(view, group)
    return Status(pipeline.name, now_ms, lanes, group.members, tables, untaken, dead_letters, view.method)


def untaken_lanes(view: View, group: Group) -> tuple[int, ...]:
    """Give the lanes with work whose owner has not taken them."""
    return tuple(
        lane
        for lane, owner in sorted(group.owners.items())
        if (lane == LISTER_LANE or view.shards_of(lane))
        and (lane not in view.takers or view.takers[lane].owner != owner)
    )


def tables_of(view: View, group: Group, now_ms: int, *, argument: str, with_ended: bool) -> tuple[TableStatus, ...]:
    """Describe the tables of a view, by name; `argument` is how a command is told of the pipeline."""
    shards: dict[str, list[ShardStatus]] = {table: [] for table in view.table_names}
    stopped = {table for table in shards if view.is_stopped(table)}
    for shard in view.shards.keys() | view.checkpoints.keys():  # Lambda keeps checkpoints, and no lineage
        record = view.shards.get(shard) or view.checkpoints[shard]
        status = _shard(view, group, shard, now_ms, table_stopped=record.table in stopped)
        shards.setdefault(record.table, []).append(status)
    return tuple(
        _table(view, table, shards[table], argument=argument, with_ended=with_ended) for table in sorted(shards)
    )


def _table(view: View, table: str, shards: list[ShardStatus], *, argument: str, with_ended: bool) -> TableStatus:
    record = view.tables.get(table)
    counts = Counter(shard.state for shard in shards)
    state: TableState = record.state if record else "streaming"
    if state == "streaming" and counts["gap"]:
        state = "gap"  # of one shard, it stops the whole table
    shown = [shard for shard in shards if with_ended or shard.state != "ended"]
    lags = [shard.lag_s for shard in shards if shard.lag_s is not None]
    ages = [shard.last_change_s for shard in shards if shard.last_change_s is not None]
    return TableStatus(
        table=table,
        state=state,
        stream_arn=record.stream_arn if record else None,
        view_type=record.view_type if record else None,
        detail=record.detail if record else None,
        mend=_mend(table, state, counts, argument),
        shards_by_state={each: counts[each] for each in STATES if counts[each]},
        last_change_s=min(ages, default=None),
        max_lag_s=max(lags, default=None),
        shards=tuple(sorted(shown, key=_worst_first)),
    )


def _worst_first(shard: ShardStatus) -> tuple[float, float, str]:
    """Those that are behind come first, and then those whose last change is the oldest."""
    return -(shard.lag_s or 0.0), -(shard.last_change_s or 0.0), shard.shard


def _shard(view: View, group: Group, shard: ShardRef, now_ms: int, *, table_stopped: bool) -> ShardStatus:
    checkpoint = view.checkpoints.get(shard)
    state = _state(view, shard, table_stopped=table_stopped)
    last_change_s = None
    if checkpoint is not None and checkpoint.created_ms is not None:
        last_change_s = max(0, now_ms - checkpoint.created_ms) / 1000
    lane = lane_of(shard, view.lane_count)
    detail = checkpoint.detail if checkpoint else None
    if checkpoint is not None and view.is_accepted(shard, checkpoint):
        detail = "its gap is accepted"
    elif state == "waiting" and not view.may_begin(shard):
        detail = "for the ends of " + ", ".join(
            parent.shard_id for parent in view.shards[shard].parents if not view.ended(parent)
        )
    return ShardStatus(
        shard=shard.shard_id,
        stream_arn=shard.stream_arn,
        state=state,
        sequence=checkpoint.sequence if checkpoint else None,
        last_change_s=last_change_s,
        lag_s=last_change_s if state == "open" and checkpoint is not None and checkpoint.behind else None,
        checkpoint_ms=checkpoint.at_ms if checkpoint else None,
        lane=lane,
        owner=_owner(view, group, shard, lane),
        detail=detail,
    )


def _owner(view: View, group: Group, shard: ShardRef, lane: int) -> str | None:
    """Return the worker that has the shard's lane, or the sandbox of the Lambda function that served it last."""
    if view.method_of(lane) != "lambda":
        return group.owners.get(lane)
    delivery = view.deliveries.get(shard)
    return delivery.owner if delivery is not None else None


def _state(view: View, shard: ShardRef, *, table_stopped: bool) -> State:
    checkpoint = view.checkpoints.get(shard)
    if checkpoint is not None and checkpoint.state in {"ended", "failed"}:
        return checkpoint.state
    if checkpoint is not None and checkpoint.state == "gap" and not view.is_accepted(shard, checkpoint):
        return "gap"
    if table_stopped:
        return "paused"
    return "open" if checkpoint is not None and checkpoint.state == "open" else "waiting"


def _mend(table: str, state: TableState, counts: Counter[State], argument: str) -> str | None:
    if state == "gap" or counts["gap"]:
        return f"decide what the loss means, then: tailrace accept-gap {argument} --table {table}"
    if counts["failed"]:
        return "mend the cause and restart the workers, or set `errors: dead-letter`"
    if state == "off":
        return "switch its stream on, or take the table out of source.tables"
    if state == "left out":
        return "source.tables leaves it out; name it again and it goes on where it stands"
    if state == "missing":
        return "create it, or take it out of source.tables"
    return None
