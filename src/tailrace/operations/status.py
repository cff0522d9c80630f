"""Where each table and shard of a pipeline stands, read from its checkpoint topic and its group."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Literal

import msgspec

from tailrace.config import LoadedPipeline
from tailrace.core.change import ViewType
from tailrace.core.checkpoint import Method, TableState
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.discovery import TAGS_LOST
from tailrace.core.shard import ENUMERATOR_LANE, ShardRef, lane_of
from tailrace.kafka import checkpoint_topic, clients, membership, topics
from tailrace.kafka.membership import Group
from tailrace.operations import preconditions
from tailrace.operations.lake_status import LakeStatus, lake_statuses
from tailrace.operations.lake_targets import targets_of
from tailrace.operations.replica_status import ReplicaStatus, replica_status
from tailrace.operations.severity import Severity
from tailrace.operations.snapshot_status import SnapshotStatus, snapshots_of
from tailrace.remedy import AcceptGap, CreateTable, EnableStream, NameTable, Remedy, RestoreShard, TagTable

State = Literal["waiting", "open", "ended", "gap", "failed", "paused"]
STATES: tuple[State, ...] = ("gap", "failed", "paused", "waiting", "open", "ended")
"""Worst first."""
_SEVERITIES: Mapping[State | TableState, Severity] = {
    "gap": "error",
    "failed": "error",
    "off": "error",
    "missing": "error",
    "paused": "warning",
}
"""Of every other state it is `ok`."""


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

    @property
    def severity(self) -> Severity:
        """How bad its state is."""
        return _SEVERITIES.get(self.state, "ok")


class TableStatus(msgspec.Struct, frozen=True):
    """One table and its shards, the largest lag first; ended shards only when they were asked for."""

    table: str
    state: TableState
    stream_arn: str | None
    view_type: ViewType | None
    detail: str | None
    remedy: Remedy | None
    """What the operator can do, when the table or one of its shards stands still."""
    shards_by_state: dict[State, int]
    last_change_s: float | None
    """Age of the last published change; None without one."""
    max_lag_s: float | None
    """The largest lag that is known of a shard."""
    shards: tuple[ShardStatus, ...]
    snapshot: SnapshotStatus | None = None
    """Its last snapshot; None when it had none."""

    @property
    def severity(self) -> Severity:
        """How bad the worst state is, its own, that of one of its shards, or of its snapshot."""
        found = {_SEVERITIES.get(state, "ok") for state in (self.state, *self.shards_by_state)}
        found.add(self.snapshot.severity if self.snapshot is not None else "ok")
        return "error" if "error" in found else "warning" if "warning" in found else "ok"


class HandoverStatus(msgspec.Struct, frozen=True):
    """A switch of sources of which the workers still leave out what the source before published."""

    before: str
    after: str
    """The kinds of source."""
    from_ms: int
    """All changes that were made before are published by the source before; milliseconds since the epoch."""
    until_ms: int
    """Each shard is to be read up to what arrived then."""
    changes: int
    """Published changes that are left out."""
    shards: int
    """Known shards that are not read so far."""


class Status(msgspec.Struct, frozen=True):
    """A pipeline at a moment."""

    pipeline: str
    at_ms: int
    lanes: int
    workers: tuple[str, ...]
    tables: tuple[TableStatus, ...]
    untaken: tuple[int, ...] = ()
    """Lanes with work that their owner in the group has not claimed: normal for seconds after a rebalance only."""
    dead_letters_at_most: int = 0
    """Records and transaction markers in the dead-letter topic: what was redriven is among them until it expires."""
    method: Method = "worker"
    """Which method publishes; `none` in the midst of a switch."""
    handover: HandoverStatus | None = None
    """Of a switch of sources; None when there was none, or its time has passed."""
    lakes: tuple[LakeStatus, ...] = ()
    """How far the data lakes of the file are."""
    replica: ReplicaStatus | None = None
    """How far the copies of the tables are; None when the file has none."""


def read_status(loaded: LoadedPipeline, *, with_ended: bool = False) -> Status:
    """Read how a pipeline stands. Raises WorldError when it does not exist yet."""
    pipeline = loaded.pipeline
    with loaded.telling("kafka", "bootstrap.servers"):
        lanes = preconditions.count_lanes(pipeline)
        dead_letters = topics.offsets_held(clients.admin(pipeline.kafka), pipeline.kafka, pipeline.dead_letters_topic)
    checkpoint_state = checkpoint_topic.read_checkpoint_state(pipeline.kafka, pipeline.name, lanes)
    group = membership.describe(pipeline.kafka, pipeline.name)
    now_ms = time.time_ns() // 1_000_000
    tables = tables_of(
        checkpoint_state,
        group,
        now_ms,
        tables_key=pipeline.source.tables_key,
        with_ended=with_ended,
        parallel_tables=pipeline.snapshot.tables_max,
    )
    untaken = untaken_lanes(checkpoint_state, group)
    return Status(
        pipeline.name,
        now_ms,
        lanes,
        group.members,
        tables,
        untaken,
        dead_letters,
        checkpoint_state.method,
        _handover(checkpoint_state),
        lake_statuses(targets_of(loaded), now_ms),
        replica_status(loaded, now_ms),
    )


def _handover(checkpoint_state: CheckpointState) -> HandoverStatus | None:
    record = checkpoint_state.handovers.active
    if record is None:
        return None
    return HandoverStatus(
        before=record.before,
        after=record.after,
        from_ms=record.from_ms,
        until_ms=record.until_ms,
        changes=record.changes,
        shards=sum(not checkpoint_state.is_past_handover(shard, record.until_ms) for shard in checkpoint_state.shards),
    )


def untaken_lanes(checkpoint_state: CheckpointState, group: Group) -> tuple[int, ...]:
    """Return the lanes with work whose owner has not taken them."""
    return tuple(
        lane
        for lane, owner in sorted(group.owners.items())
        if (lane == ENUMERATOR_LANE or checkpoint_state.shards_of(lane))
        and (lane not in checkpoint_state.claims or checkpoint_state.claims[lane].owner != owner)
    )


def tables_of(
    checkpoint_state: CheckpointState,
    group: Group,
    now_ms: int,
    *,
    tables_key: str,
    with_ended: bool,
    parallel_tables: int | None = None,
) -> tuple[TableStatus, ...]:
    """Describe the tables of a checkpoint state, by name; `tables_key` is the key of the file that names them.

    Snapshots read `parallel_tables` at the same time; None: all.
    """
    shards: dict[str, list[ShardStatus]] = {table: [] for table in checkpoint_state.table_names}
    stopped = {table for table in shards if checkpoint_state.is_stopped(table)}
    for shard in (
        checkpoint_state.shards.keys() | checkpoint_state.checkpoints.keys()
    ):  # Lambda keeps checkpoints, and no lineage
        record = checkpoint_state.shards.get(shard) or checkpoint_state.checkpoints[shard]
        status = _shard(checkpoint_state, group, shard, now_ms, table_stopped=record.table in stopped)
        shards.setdefault(record.table, []).append(status)
    snapshots = {snapshot.table: snapshot for snapshot in snapshots_of(checkpoint_state.snapshots, parallel_tables)}
    return tuple(
        _table(
            checkpoint_state,
            table,
            shards[table],
            snapshots.get(table),
            tables_key=tables_key,
            with_ended=with_ended,
        )
        for table in sorted(shards)
    )


def _table(
    checkpoint_state: CheckpointState,
    table: str,
    shards: list[ShardStatus],
    snapshot: SnapshotStatus | None,
    *,
    tables_key: str,
    with_ended: bool,
) -> TableStatus:
    record = checkpoint_state.tables.get(table)
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
        remedy=_remedy(table, state, counts, tables_key, record.detail if record else None),
        shards_by_state={each: counts[each] for each in STATES if counts[each]},
        last_change_s=min(ages, default=None),
        max_lag_s=max(lags, default=None),
        shards=tuple(sorted(shown, key=_worst_first)),
        snapshot=snapshot,
    )


def _worst_first(shard: ShardStatus) -> tuple[float, float, str]:
    """Those that are behind come first, and then those whose last change is the oldest."""
    return -(shard.lag_s or 0.0), -(shard.last_change_s or 0.0), shard.shard


def _shard(
    checkpoint_state: CheckpointState, group: Group, shard: ShardRef, now_ms: int, *, table_stopped: bool
) -> ShardStatus:
    checkpoint = checkpoint_state.checkpoints.get(shard)
    state = _state(checkpoint_state, shard, table_stopped=table_stopped)
    last_change_s = None
    if checkpoint is not None and checkpoint.created_ms is not None:
        last_change_s = max(0, now_ms - checkpoint.created_ms) / 1000
    lane = lane_of(shard, checkpoint_state.lane_count)
    detail = checkpoint.detail if checkpoint else None
    if checkpoint is not None and checkpoint_state.is_accepted(shard, checkpoint):
        detail = "its gap is accepted"
    elif state == "waiting" and not checkpoint_state.may_begin(shard):
        detail = "for the ends of " + ", ".join(
            parent.shard_id for parent in checkpoint_state.shards[shard].parents if not checkpoint_state.ended(parent)
        )
    return ShardStatus(
        shard=shard.shard_id,
        stream_arn=shard.stream,
        state=state,
        sequence=checkpoint.sequence if checkpoint else None,
        last_change_s=last_change_s,
        lag_s=last_change_s if state == "open" and checkpoint is not None and checkpoint.behind else None,
        checkpoint_ms=checkpoint.at_ms if checkpoint else None,
        lane=lane,
        owner=_owner(checkpoint_state, group, shard, lane),
        detail=detail,
    )


def _owner(checkpoint_state: CheckpointState, group: Group, shard: ShardRef, lane: int) -> str | None:
    """Return the worker that has the shard's lane, or the sandbox of the Lambda function that served it last."""
    if checkpoint_state.method_of(lane) != "lambda":
        return group.owners.get(lane)
    delivery = checkpoint_state.shard_claims.get(shard)
    return delivery.owner if delivery is not None else None


def _state(checkpoint_state: CheckpointState, shard: ShardRef, *, table_stopped: bool) -> State:
    checkpoint = checkpoint_state.checkpoints.get(shard)
    if checkpoint is not None and checkpoint.state in {"ended", "failed"}:
        return checkpoint.state
    if checkpoint is not None and checkpoint.state == "gap" and not checkpoint_state.is_accepted(shard, checkpoint):
        return "gap"
    if table_stopped:
        return "paused"
    return "open" if checkpoint is not None and checkpoint.state == "open" else "waiting"


def _remedy(
    table: str, state: TableState, counts: Counter[State], tables_key: str, detail: str | None
) -> Remedy | None:
    if state == "gap" or counts["gap"]:
        return AcceptGap(table)
    if counts["failed"]:
        return RestoreShard()
    if state == "off":
        return EnableStream(table, tables_key)
    if state == "left out":
        return TagTable(table) if detail == TAGS_LOST else NameTable(table, tables_key)
    if state == "missing":
        return CreateTable(table, tables_key)
    return None
