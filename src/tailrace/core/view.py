"""What the checkpoint topic says, folded record by record: every worker holds one, and follows the whole topic."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from tailrace.core.checkpoint import (
    AcceptKey,
    Checkpoint,
    CheckpointKey,
    GapAccepted,
    ListerKey,
    PipelineKey,
    PipelineRecord,
    ShardKey,
    ShardRecord,
    TableKey,
    TableRecord,
    Taken,
    TakenKey,
    TopicKey,
    TopicRecord,
    Write,
)
from tailrace.core.shard import ShardRef, lane_of


class View:
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
        self.takers: dict[int, Taken] = {}
        self.listers: dict[int, Taken] = {}
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

        Partitions come in any order among each other, so what a shard left in its lane before a relane does not count.
        """
        # The lanes that the record concerns; None: all, since it may stop a table or let it go on.
        concerned: Iterable[int] | None = ()
        match key, record:
            case ShardKey() | CheckpointKey(), _ if lane_of(_shard_of(key), self.lane_count) != partition:
                return
            case ShardKey(), ShardRecord() | None:
                self._apply_shard(partition, _shard_of(key), record)
                concerned = (partition,)
            case CheckpointKey(), Checkpoint() | None:
                concerned = self._apply_checkpoint(partition, _shard_of(key), record)
            case TakenKey(), Taken():
                self.takers[partition] = record
                concerned = (partition,)
            case ListerKey(), Taken():
                self.listers[partition] = record
                concerned = (0,)
            case TableKey(), TableRecord() | None:
                concerned = self._apply_table(key.table, record)
            case PipelineKey(), PipelineRecord():
                self.pipelines[partition] = record
                concerned = None
            case AcceptKey(), GapAccepted():
                self.accepted[key.table] = record
                concerned = None
            case AcceptKey(), None:
                self.accepted.pop(key.table, None)
                concerned = None
            case _:
                pass
        if concerned is None:
            self._tables_version += 1
        self._lane_versions.update(concerned or ())
        self.version += concerned is None or bool(concerned)

    def versions_of(self, lane: int) -> tuple[int, int]:
        """Give two numbers: one grows with every record that can stop a table or let it go on, in any lane; the other
        with every further record that can change what this lane does."""
        return self._tables_version, self._lane_versions[lane]

    @property
    def pipeline(self) -> PipelineRecord | None:
        """The pipeline's birth."""
        return self.pipelines.get(0)

    @property
    def is_relaned(self) -> bool:
        """A relane changed the number of lanes, or has begun to: nobody may work with this view."""
        return any(record.lanes != self.lane_count for record in self.pipelines.values())

    def shows(self, write: Write) -> bool:
        """Tell whether the view holds what `write` says, for the records that the lister writes."""
        match write.key:
            case ShardKey():
                return self.shards.get(_shard_of(write.key)) == write.record
            case TableKey():
                return self.tables.get(write.key.table) == write.record
            case PipelineKey():
                return self.pipeline == write.record
            case _:
                return False

    def shards_of(self, lane: int) -> set[ShardRef]:
        """Give the shards of a lane that the lister has published."""
        return self._shards_of_lane[lane]

    def checkpoints_of(self, lane: int) -> dict[ShardRef, Checkpoint]:
        """Give the checkpoints of a lane, those of shards without lineage too."""
        return {shard: self.checkpoints[shard] for shard in self._checkpoints_of_lane[lane]}

    def children_of(self, shard: ShardRef) -> set[ShardRef]:
        """Give the known shards that wait, or waited, for `shard`. Having one proves that `shard` is closed."""
        return self._children.get(shard, set())

    def ended(self, shard: ShardRef) -> bool:
        """Tell whether the shard's end is committed."""
        checkpoint = self.checkpoints.get(shard)
        return checkpoint is not None and checkpoint.state == "ended"

    def may_begin(self, shard: ShardRef) -> bool:
        """Tell whether every parent that the shard waits for has its end committed, or the shard has begun already."""
        if shard in self.checkpoints:
            return True
        return all(self.ended(parent) for parent in self.shards[shard].parents)

    def is_accepted(self, shard: ShardRef, checkpoint: Checkpoint | None) -> bool:
        """Tell whether the operator accepted this very gap: a later one of the same shard is another."""
        if checkpoint is None or checkpoint.state != "gap":
            return False
        accepted = self.accepted.get(checkpoint.table)
        return accepted is not None and (shard, checkpoint.at_ms) in accepted.shards

    def is_stopped(self, table: str) -> bool:
        """Tell whether the table is not to be read: the file leaves it out, or it has a gap that nobody accepted."""
        record = self.tables.get(table)
        if record is not None and record.state == "left out":
            return True
        return any(not self.is_accepted(shard, self.checkpoints[shard]) for shard in self._gaps.get(table, ()))

    def streams_of(self, table: str) -> set[str]:
        """Give the streams of a table that have known shards."""
        return self._streams_of_table.get(table, set())

    def shards_of_stream(self, stream_arn: str) -> set[ShardRef]:
        """Give the shards of a stream that the lister has published."""
        return self._shards_of_stream.get(stream_arn, set())

    def _apply_shard(self, lane: int, shard: ShardRef, record: ShardRecord | None) -> None:
        previous = self.shards.pop(shard, None)
        if previous is not None:
            self._shards_of_stream[shard.stream_arn].discard(shard)
            if not self._shards_of_stream[shard.stream_arn]:
                del self._shards_of_stream[shard.stream_arn]
                self._streams_of_table[previous.table].discard(shard.stream_arn)
            for parent in previous.parents:
                self._children[parent].discard(shard)
                if not self._children[parent]:
                    del self._children[parent]
        if record is None:
            self._shards_of_lane[lane].discard(shard)
            return
        self.shards[shard] = record
        self._shards_of_lane[lane].add(shard)
        self._shards_of_stream[shard.stream_arn].add(shard)
        self._streams_of_table[record.table].add(shard.stream_arn)
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


def _shard_of(key: ShardKey | CheckpointKey) -> ShardRef:
    return ShardRef(key.stream_arn, key.shard_id)
