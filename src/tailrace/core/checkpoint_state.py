"""The checkpoint topic, folded record by record: every worker holds this state, and follows the whole topic."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from tailrace.core.checkpoint import (
    AcceptKey,
    Checkpoint,
    CheckpointKey,
    Claim,
    ClaimKey,
    DefinerKey,
    DefinitionKey,
    DefinitionRecord,
    EnumeratorKey,
    GapAccepted,
    HandoverKey,
    HandoverPartKey,
    IgnoredKey,
    KeyOfShard,
    Method,
    MethodKey,
    MethodRecord,
    PipelineKey,
    PipelineRecord,
    ShardClaimKey,
    ShardKey,
    ShardRecord,
    TableKey,
    TableRecord,
    TopicKey,
    TopicRecord,
    Write,
)
from tailrace.core.handover import Handover
from tailrace.core.handover_state import HandoverState
from tailrace.core.shard import ShardRef, lane_of
from tailrace.core.snapshot_state import SNAPSHOT_KEYS, SnapshotState
from tailrace.core.source_policy import SourcePolicy


class CheckpointState:
    """The committed state of a pipeline, at most as old as the follower is behind.

    `version` grows with every record that can change what a lane does; the progress of an open shard does not.
    """

    def __init__(self, lane_count: int) -> None:
        self.lane_count = lane_count
        self.version = 0
        self.shards: dict[ShardRef, ShardRecord] = {}
        self.checkpoints: dict[ShardRef, Checkpoint] = {}
        self.tables: dict[str, TableRecord] = {}
        self.accepted: dict[str, GapAccepted] = {}
        self.pipelines: dict[int, PipelineRecord] = {}
        self.claims: dict[int, Claim] = {}
        self.enumerators: dict[int, Claim] = {}
        self.shard_claims: dict[ShardRef, Claim] = {}
        self.methods: dict[int, MethodRecord] = {}
        self.handovers = HandoverState()
        self.snapshots = SnapshotState(lane_count)
        self._definitions: dict[int, DefinitionRecord] = {}
        self._definers: dict[int, Claim] = {}
        self._others: dict[type[TopicKey], dict[Any, Any]] = {
            ClaimKey: self.claims,
            EnumeratorKey: self.enumerators,
            ShardClaimKey: self.shard_claims,
            AcceptKey: self.accepted,
            MethodKey: self.methods,
            PipelineKey: self.pipelines,
            DefinitionKey: self._definitions,
            DefinerKey: self._definers,
        }
        self._tables_version = 0
        self._lane_versions: Counter[int] = Counter()
        self._shards_of_lane: dict[int, set[ShardRef]] = defaultdict(set)
        self._shards_of_stream: dict[str, set[ShardRef]] = defaultdict(set)
        self._streams_of_table: dict[str, set[str]] = defaultdict(set)
        self._checkpoints_of_lane: dict[int, set[ShardRef]] = defaultdict(set)
        self._children: dict[ShardRef, set[ShardRef]] = defaultdict(set)
        self._gaps: dict[str, set[ShardRef]] = defaultdict(set)

    def apply(self, partition: int, key: TopicKey, record: TopicRecord | None) -> None:
        """Fold in one committed record, in the order of its partition.

        Partitions arrive in any order relative to each other, so records in a partition other than their own are
        ignored, such as those that a rescale left behind.
        """
        # The lanes that the record concerns; None: all, since it may stop a table or resume it.
        concerned: Iterable[int] | None = ()
        match key, record:
            case IgnoredKey(), _:
                return
            case _ if isinstance(key, SNAPSHOT_KEYS):
                self.version += self.snapshots.apply(partition, key, record)
                return
            case KeyOfShard(), _ if key.home_lane(self.lane_count) != partition:
                return
            case ShardKey(), ShardRecord() | None:
                self._apply_shard(partition, key.shard, record)
                concerned = (partition,)
            case CheckpointKey(), Checkpoint() | None:
                concerned = self._apply_checkpoint(partition, key.shard, record)
            case TableKey() | AcceptKey() | HandoverKey() | HandoverPartKey(), _ if partition != 0:
                return
            case HandoverKey() | HandoverPartKey(), _:
                self.handovers.apply(key, record)
                concerned = None
            case TableKey(), TableRecord() | None:
                concerned = self._apply_table(key.table, record)
            case _:
                concerned = self._apply_other(partition, key, record)
        if concerned is None:
            self._tables_version += 1
        self._lane_versions.update(concerned or ())
        self.version += concerned is None or bool(concerned)

    def versions_of(self, lane: int) -> tuple[int, int]:
        """Return two counters: of records that can stop or resume a table in any lane, and of others that concern this
        lane."""
        return self._tables_version, self._lane_versions[lane]

    @property
    def pipeline(self) -> PipelineRecord | None:
        """The pipeline's creation."""
        return self.pipelines.get(0)

    @property
    def definition(self) -> DefinitionRecord | None:
        """What the pipeline is; None until a first definition is recorded."""
        return self._definitions.get(0)

    @property
    def definer(self) -> Claim | None:
        """Who fenced the other definers last."""
        return self._definers.get(0)

    def method_of(self, lane: int) -> Method:
        """Return the method that may publish to a lane: the workers, unless a record says otherwise."""
        record = self.methods.get(lane)
        return record.method if record is not None else "worker"

    @property
    def method(self) -> Method:
        """The method that may publish to all lanes: that of the workers only if no lane says otherwise."""
        return next((record.method for record in self.methods.values() if record.method != "worker"), "worker")

    @property
    def source_type(self) -> str | None:
        """The kind of source that the pipeline was switched to; None when it never was."""
        return next((record.source_type for record in self.methods.values() if record.source_type), None)

    @property
    def is_new(self) -> bool:
        """No worker and no function ever ran this pipeline."""
        return not self.methods and not self.claims and self.pipeline is None

    @property
    def is_rescaled(self) -> bool:
        """A rescale changed the number of lanes, or has begun to: this checkpoint state must not be used."""
        return any(record.lanes != self.lane_count for record in self.pipelines.values())

    @property
    def table_names(self) -> set[str]:
        """The tables that the pipeline has: those listed by a worker, and those of which Lambda published a change."""
        return {*self.tables, *(checkpoint.table for checkpoint in self.checkpoints.values())}

    def snapshot_tables(self, named: Iterable[str]) -> set[str]:
        """Return the tables of which snapshots can be started, if the pipeline's file names `named`.

        Nobody lists tables for Lambda, so there a named table counts even if it never had a change.
        """
        return self.table_names.union(named) if self.method == "lambda" else set(self.tables)

    def shows(self, write: Write) -> bool:
        """Return whether `write` is the last record that was seen of its key."""
        match write.key:
            case ShardKey():
                return self.shards.get(write.key.shard) == write.record
            case TableKey():
                return self.tables.get(write.key.table) == write.record
            case CheckpointKey():
                return self.checkpoints.get(write.key.shard) == write.record
            case _ if isinstance(write.key, SNAPSHOT_KEYS):
                return self.snapshots.shows(write)
            case HandoverKey() | HandoverPartKey():
                return self.handovers.shows(write)
            case _:
                return self._others[type(write.key)].get(_name(write.partition, write.key)) == write.record

    def shards_of(self, lane: int) -> set[ShardRef]:
        """Return the shards of a lane that the enumerator has published."""
        return self._shards_of_lane[lane]

    def checkpoints_of(self, lane: int) -> dict[ShardRef, Checkpoint]:
        """Return the checkpoints of a lane, those of shards without lineage too."""
        return {shard: self.checkpoints[shard] for shard in self._checkpoints_of_lane[lane]}

    def children_of(self, shard: ShardRef) -> set[ShardRef]:
        """Return the known shards that wait, or waited, for `shard`. Having one proves that `shard` is closed."""
        return self._children.get(shard, set())

    def is_root(self, shard: ShardRef) -> bool:
        """Return whether no parent of a shard is known in its own stream: others like it may be in any listing."""
        return all(parent.stream != shard.stream for parent in self.shards[shard].parents)

    def listed_ms(self, shard: ShardRef) -> int:
        """Return when a listing first showed a shard."""
        record = self.shards[shard]
        return record.seen_ms if record.listed_ms is None else record.listed_ms

    def ended(self, shard: ShardRef) -> bool:
        """Return whether the shard's end is committed."""
        checkpoint = self.checkpoints.get(shard)
        return checkpoint is not None and checkpoint.state == "ended"

    def may_begin(self, shard: ShardRef) -> bool:
        """Return whether every parent that the shard waits for has its end committed, or the shard has begun
        already; and what was handed over to its stream, if anything, is known."""
        handover_id = self.shards[shard].handover
        if handover_id is not None and not self.handovers.is_known(handover_id):
            return False
        if shard in self.checkpoints:
            return True
        return all(self.ended(parent) for parent in self.shards[shard].parents)

    def handover_of(self, shard: ShardRef) -> Handover | None:
        """Return what was handed over to a shard that may begin; None when it is read past the time of that."""
        handover_id = self.shards[shard].handover
        handover = self.handovers.of(handover_id) if handover_id is not None else None
        if handover is None or self._last_ms(shard) > handover.until_ms:
            return None
        return handover

    def _last_ms(self, shard: ShardRef) -> int:
        """Return when the last published change of a shard arrived, or was made where that is not told."""
        checkpoint = self.checkpoints.get(shard)
        if checkpoint is None:
            return 0
        return (checkpoint.created_ms if checkpoint.arrived_ms is None else checkpoint.arrived_ms) or 0

    def is_past_handover(self, shard: ShardRef, until_ms: int) -> bool:
        """Return whether nothing that arrived in a shard until then is still to be read; its children aside."""
        checkpoint = self.checkpoints.get(shard)
        if checkpoint is None:
            return False
        if checkpoint.state == "ended":
            return bool(self.children_of(shard)) or self.closed_after_ms(shard) > until_ms
        return max(self._last_ms(shard), checkpoint.until_ms or 0) > until_ms

    def closed_after_ms(self, ended: ShardRef) -> int:
        """Return when a shard whose end is committed was still open, possibly long before its end was read."""
        checkpoint = self.checkpoints[ended]
        return checkpoint.at_ms if checkpoint.open_ms is None else checkpoint.open_ms

    def unread_since_ms(self, shard: ShardRef) -> int:
        """Return since when a shard that may begin may have unread changes.

        What the first listing of a stream shows counts from then; any other shard from when its parents were open.
        """
        record = self.shards[shard]
        if record.initial:
            return record.seen_ms
        ended = (parent for parent in record.parents if self.ended(parent))
        return min([record.seen_ms, *map(self.closed_after_ms, ended)])

    def is_accepted(self, shard: ShardRef, checkpoint: Checkpoint | None) -> bool:
        """Return whether the operator accepted this very gap: a later one of the same shard is another."""
        if checkpoint is None or checkpoint.state != "gap":
            return False
        accepted = self.accepted.get(checkpoint.table)
        return accepted is not None and (shard, checkpoint.at_ms) in accepted.shards

    def accepted_ms(self, table: str) -> int:
        """Return when the operator last accepted gaps of a table; 0: never.

        Not before the gaps were found, whatever the clock of the operator's host says.
        """
        accepted = self.accepted.get(table)
        return 0 if accepted is None else max([accepted.at_ms, *(at_ms for _, at_ms in accepted.shards)])

    def was_replaced(self, shard: ShardRef, table: str) -> bool:
        """Return whether it is accepted that another stream took the place of the shard's."""
        record, accepted = self.tables.get(table), self.accepted.get(table)
        present = {record and record.stream_arn, accepted and accepted.stream_arn} - {None}
        return bool(present - {shard.stream})

    def is_stopped(self, table: str) -> bool:
        """Return whether the table must not be read: the file leaves it out, or it has a gap that is not accepted."""
        record = self.tables.get(table)
        if record is not None and record.state == "left out":
            return True
        return any(not self.is_accepted(shard, self.checkpoints[shard]) for shard in self._gaps.get(table, ()))

    def entries_with(self, table: str, source: SourcePolicy) -> list[str]:
        """Return what may bring changes of a table: itself, or every stream where streams carry several tables."""
        if not source.carries_tables:
            return [table]
        return sorted(entry for entry, record in self.tables.items() if record.state != "left out")

    def gaps_of(self, table: str) -> list[ShardRef]:
        """Return the table's shards at a gap, accepted ones too."""
        return sorted(self._gaps.get(table, ()))

    def streams_of(self, table: str) -> set[str]:
        """Return the streams of a table that have known shards."""
        return self._streams_of_table.get(table, set())

    def shards_of_stream(self, stream: str) -> set[ShardRef]:
        """Return the shards of a stream that the enumerator has published."""
        return self._shards_of_stream.get(stream, set())

    def _apply_other(self, partition: int, key: TopicKey, record: TopicRecord | None) -> Iterable[int] | None:
        """Fold in a record of which only the last counts; return the lanes that it concerns, None for all."""
        records, name = self._others[type(key)], _name(partition, key)
        if record is None:
            records.pop(name, None)
        else:
            records[name] = record
        if isinstance(key, DefinerKey):
            return ()
        if isinstance(key, EnumeratorKey):
            return (0,)
        return (partition,) if isinstance(key, ClaimKey | ShardClaimKey) else None

    def _apply_shard(self, lane: int, shard: ShardRef, record: ShardRecord | None) -> None:
        previous = self.shards.pop(shard, None)
        if previous is not None:
            self._shards_of_stream[shard.stream].discard(shard)
            if not self._shards_of_stream[shard.stream]:
                del self._shards_of_stream[shard.stream]
                self._streams_of_table[previous.table].discard(shard.stream)
            for parent in previous.parents:
                self._children[parent].discard(shard)
                if not self._children[parent]:
                    del self._children[parent]
        if record is None:
            self._shards_of_lane[lane].discard(shard)
            return
        self.shards[shard] = record
        self._shards_of_lane[lane].add(shard)
        self._shards_of_stream[shard.stream].add(shard)
        self._streams_of_table[record.table].add(shard.stream)
        for parent in record.parents:
            self._children[parent].add(shard)

    def _apply_table(self, table: str, record: TableRecord | None) -> Iterable[int] | None:
        previous = self.tables.pop(table, None)
        if record is not None:
            self.tables[table] = record
        states = {previous and previous.state, record and record.state}
        return None if "left out" in states else ()

    def _apply_checkpoint(self, lane: int, shard: ShardRef, record: Checkpoint | None) -> Iterable[int] | None:
        previous = self.checkpoints.pop(shard, None)
        if previous is not None:
            self._gaps[previous.table].discard(shard)
        if record is None:
            self._checkpoints_of_lane[lane].discard(shard)
        else:
            self.checkpoints[shard] = record
            self._checkpoints_of_lane[lane].add(shard)
            if record.state == "gap":
                self._gaps[record.table].add(shard)
        before, after = previous and previous.state, record and record.state
        if "gap" in {before, after}:
            return None
        if before == after:
            return ()
        return {lane, *(lane_of(child, self.lane_count) for child in self.children_of(shard))}


def _name(partition: int, key: TopicKey) -> object:
    """Return what identifies a record of its kind: its partition, unless the key names more."""
    match key:
        case ShardClaimKey():
            return key.shard
        case AcceptKey():
            return key.table
        case _:
            return partition
