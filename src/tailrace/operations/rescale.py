"""Raises the number of lanes of an existing pipeline; `tailrace rescale`.

A shard's lane follows from the number of lanes, so the records of most shards have to move. Workers should be stopped,
but one may only sleep. So each lane is claimed as a worker would (`core.claiming`); then one transaction of the lane's
own producer writes its records where they belong, tombstones where they were, and a mark with the new number of lanes,
which stops whoever claims the lane with the old number in mind. Lane 0, the enumerator's, is claimed first, so that no
enumerator writes meanwhile, and moved last: until then `["pipeline"]` of partition 0 differs from the topic's number of
partitions, and no worker starts. Broken off at any point, it is finished by running it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager

import msgspec

from tailrace.config import LoadedPipeline, Pipeline
from tailrace.core.checkpoint import (
    Claim,
    PipelineKey,
    PipelineRecord,
    SegmentKey,
    ShardKey,
    SnapshotClaimKey,
    TopicKey,
    TopicRecord,
    Write,
)
from tailrace.core.claiming import lane_claim
from tailrace.core.lane_messages import Transaction
from tailrace.core.shard import ENUMERATOR_LANE
from tailrace.errors import WorldError
from tailrace.kafka import membership, topics
from tailrace.kafka.checkpoint_topic import Follower
from tailrace.kafka.client_factory import ClientFactory
from tailrace.operations import claims, preconditions
from tailrace.operations.claims import ClaimLostError, HeldClaim
from tailrace.operations.progress import OnProgress, Progress, unheard
from tailrace.operations.surroundings import THIS_PROCESS, Surroundings
from tailrace.remedy import RescaleAgain
from tailrace.wiring.pipeline import lane_suffix, snapshot_suffix

READ_TIMEOUT_S = 30.0
METADATA_TIMEOUT_S = 30.0
_AGAIN = RescaleAgain()


class Rescaled(msgspec.Struct, frozen=True):
    """What a rescale has done; with `lanes_before` equal to `lanes` there was nothing to do."""

    pipeline: str
    lanes_before: int
    lanes: int
    moved_shards: int


def rescale(loaded: LoadedPipeline, *, progress: OnProgress = unheard, around: Surroundings = THIS_PROCESS) -> Rescaled:
    """Bring a pipeline to `pipeline.lanes` lanes, or finish a rescale that broke off.

    `progress` hears of each lane before it is moved. Raises WorldError when the
    pipeline does not exist, has workers, or has more lanes already, and for whatever fails on the way.
    """
    pipeline = loaded.pipeline
    partitions = preconditions.count_lanes(pipeline, around.clients)
    if pipeline.lanes < partitions:
        raise WorldError(
            f"the file asks for {pipeline.lanes} lanes, but {pipeline.checkpoints_topic} has {partitions}, "
            "and Kafka can only add partitions",
            hint=f"set `lanes: {partitions}` or more",
        )
    workers = membership.describe(pipeline.kafka, pipeline.name, around.clients).members
    if workers:
        raise WorldError(
            f"the pipeline {pipeline.name} has running workers: {', '.join(workers)}",
            hint="stop them all; one that was killed is gone after its session.timeout.ms (10 s)",
        )
    with closing(_Records(pipeline, partitions, around.clients)) as records:
        before = records.pipeline.lanes if records.pipeline else partitions
        if before == pipeline.lanes:
            return Rescaled(pipeline.name, before, before, 0)
        if pipeline.lanes > partitions:
            topics.add_partitions(
                around.clients.admin(pipeline.kafka), pipeline.kafka, pipeline.checkpoints_topic, pipeline.lanes
            )
            _wait_for_partitions(pipeline, around)
        return Rescaled(pipeline.name, before, pipeline.lanes, _Move(pipeline, records, around).run(progress))


def moves(lane: int, records: Mapping[TopicKey, TopicRecord], lanes: int) -> tuple[Write, ...]:
    """Return what moves the records that with `lanes` lanes do not belong to `lane` any more.

    Those move too that only a newer version reads: their keys say where they belong.
    """
    writes = []
    for key, record in records.items():
        home = key.home_lane(lanes)
        if home is not None and home != lane:
            writes += [Write(home, key, record), Write(lane, key, None)]
    return tuple(writes)


class _Records:
    """What stands in each partition of the checkpoint topic, up to where it was read."""

    def __init__(self, pipeline: Pipeline, partitions: int, factory: ClientFactory) -> None:
        """Read to the present end."""
        self.of = [dict[TopicKey, TopicRecord]() for _ in range(partitions)]
        self._topic = pipeline.checkpoints_topic
        self._follower = Follower(pipeline.kafka, pipeline.name, range(partitions), to_end=True, factory=factory)
        self.read_until(lambda: self._follower.has_reached_end)

    @property
    def pipeline(self) -> PipelineRecord | None:
        """The pipeline's birth and its number of lanes."""
        record = self.of[0].get(PipelineKey())
        return record if isinstance(record, PipelineRecord) else None

    def shows(self, write: Write) -> bool:
        """Return whether what `write` says is the last that was read of its key."""
        return self.of[write.partition].get(write.key) == write.record

    def read_until(self, condition: Callable[[], bool]) -> None:
        """Read on until `condition` holds. Raises WorldError when it does not in time."""
        if not self._follower.read_until(condition, self._take, READ_TIMEOUT_S):
            raise WorldError(f"{self._topic} could not be read within {READ_TIMEOUT_S:.0f} s", remedy=_AGAIN)

    def close(self) -> None:
        self._follower.close()

    def _take(self, partition: int, key: TopicKey, record: TopicRecord | None) -> None:
        if record is None:
            self.of[partition].pop(key, None)
        else:
            self.of[partition][key] = record


class _Move:
    """Claims and moves lane after lane."""

    def __init__(self, pipeline: Pipeline, records: _Records, around: Surroundings) -> None:
        self._pipeline = pipeline
        self._records = records
        self._around = around
        self._owner = f"rescale:{around.new_owner()}"
        self._old_lanes = range(len(records.of))
        born_ms = records.pipeline.created_ms if records.pipeline else around.now_ms()
        self._mark = PipelineRecord(lanes=pipeline.lanes, created_ms=born_ms)

    def run(self, progress: OnProgress) -> int:
        """Move all lanes; return the number of shards moved."""
        count = len(self._old_lanes)
        with self._claim_lane(ENUMERATOR_LANE) as enumerator:
            moved = 0
            for lane in self._old_lanes:
                if lane != ENUMERATOR_LANE:
                    progress(Progress("lanes", lane - 1, count))
                    with self._claim_lane(lane) as held:
                        moved += self._move(lane, held)
            progress(Progress("lanes", count - 1, count))
            return moved + self._move(ENUMERATOR_LANE, enumerator)

    @contextmanager
    def _claim_lane(self, lane: int) -> Iterator[HeldClaim]:
        """Claim a lane as a worker does. Raises as `_claim` does."""
        with self._claim(lane, lane_suffix(lane), lane_claim(lane, len(self._old_lanes), self._claimant(lane))) as held:
            yield held

    def _claimant(self, lane: int) -> Claim:
        return Claim(owner=self._owner, nonce=f"{self._owner}/{lane}", at_ms=self._around.now_ms())

    @contextmanager
    def _claim(self, lane: int, suffix: str, writes: tuple[Write, ...]) -> Iterator[HeldClaim]:
        """Claim what a lane has. Raises WorldError when that, or a commit under it, does not succeed."""
        try:
            with claims.claim(
                self._pipeline,
                suffix,
                writes,
                shows=self._records.shows,
                follow=self._records.read_until,
                factory=self._around.clients,
            ) as held:
                yield held
        except ClaimLostError as error:
            raise WorldError(f"lane {lane} could not be moved: {error}", remedy=_AGAIN) from error

    def _move(self, lane: int, held: HeldClaim) -> int:
        """Move what does not belong here any more, and leave the mark; return the number of shards moved.

        The segments of snapshots are moved under the claim of a snapshot worker: it could write them again otherwise.
        Lane 0 gets its mark last, as it says that all is done; by then the other lanes' marks stop snapshot workers.
        """
        mark = Write(lane, PipelineKey(), self._mark)
        claim = (Write(lane, SnapshotClaimKey(), self._claimant(lane)),)
        with self._claim(lane, snapshot_suffix(lane), claim) as snapshots:
            segments: dict[TopicKey, TopicRecord] = {
                key: record for key, record in self._records.of[lane].items() if isinstance(key, SegmentKey)
            }
            writes = moves(lane, segments, self._mark.lanes)
            snapshots.commit(Transaction((), writes if lane == ENUMERATOR_LANE else (*writes, mark)))
        others = {key: record for key, record in self._records.of[lane].items() if key not in segments}
        writes = moves(lane, others, self._mark.lanes)
        held.commit(Transaction((), (*writes, mark)))
        return sum(isinstance(write.key, ShardKey) and write.record is None for write in writes)


def _wait_for_partitions(pipeline: Pipeline, around: Surroundings) -> None:
    """Wait until the brokers tell of the new partitions; a new client each time, so that nothing is remembered."""
    deadline_s = around.clients.monotonic_s() + METADATA_TIMEOUT_S
    while True:
        if preconditions.count_lanes(pipeline, around.clients) >= pipeline.lanes:
            return
        if around.clients.monotonic_s() > deadline_s:
            raise WorldError(f"the new partitions of {pipeline.checkpoints_topic} do not show", remedy=_AGAIN)
        around.sleep(0.2)
