"""Changes the method that publishes a pipeline: `tailrace switch`, and the first start of a Lambda function.

Lane and shard producers do not fence each other, so the method stands in every partition of the checkpoint topic, where
whoever claims a lane or a shard reads it. A switch is three steps: (1) claim all partitions (`core.claiming`), with the
method *none* for the claim; (2) fence every lane and every shard that was ever claimed: who claimed one before (1)
commits nothing more, who claims one after (1) sees it and refuses; (3) commit the new method to all partitions. Broken
off, nobody publishes until it has been run again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import closing

import msgspec

from tailrace.config import LoadedPipeline, Pipeline
from tailrace.core.checkpoint import ActiveMethod, Method, MethodKey, MethodRecord, ShardKey, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.lane_messages import ProducerLost, ProducerOpened, Transaction
from tailrace.errors import WorldError
from tailrace.kafka import checkpoint_topic
from tailrace.kafka.checkpoint_topic import Follower
from tailrace.operations import claims, preconditions
from tailrace.operations.claims import ClaimLostError
from tailrace.operations.progress import OnProgress, Progress, unheard
from tailrace.operations.surroundings import THIS_PROCESS, Surroundings
from tailrace.remedy import ShowStatus, SwitchAgain
from tailrace.wiring.pipeline import lane_suffix, make_producer, shard_suffix

READ_TIMEOUT_S = 30.0
_FENCES_AT_ONCE = 8
_SUFFIX = "switch"
_AGAIN = SwitchAgain()


class Switched(msgspec.Struct, frozen=True):
    """What a switch has done; with `before` equal to `method` there was nothing to do."""

    pipeline: str
    before: Method
    method: Method
    fenced: int
    """Lanes and shards whose producers were fenced."""


def method_of(loaded: LoadedPipeline, *, around: Surroundings = THIS_PROCESS) -> Method:
    """Return the method that publishes a pipeline; `none` in the midst of a switch. Raises WorldError as `switch`."""
    pipeline = loaded.pipeline
    with closing(Switching(pipeline, preconditions.count_lanes(pipeline, around.clients), around)) as looked_at:
        return looked_at.method


def switch(
    loaded: LoadedPipeline, to: ActiveMethod, *, progress: OnProgress = unheard, around: Surroundings = THIS_PROCESS
) -> Switched:
    """Make `to` the method that publishes. `progress` hears of each producer that is fenced.

    Raises WorldError when the pipeline does not exist, reads another source, still reads what it read before a switch
    of sources, when another switch is under way, and for whatever fails.
    """
    pipeline = loaded.pipeline
    lanes = preconditions.count_lanes(pipeline, around.clients)
    with closing(Switching(pipeline, lanes, around)) as under_way:
        before, checkpoint_state = under_way.method, under_way.checkpoint_state
        checkpoint_topic.check_source(pipeline.name, checkpoint_state, pipeline.source.type)
        if before == to and not checkpoint_state.is_new:
            return Switched(pipeline.name, before, to, 0)
        handover = checkpoint_state.handovers.active
        if handover is not None and to == "lambda":
            raise WorldError(
                f"the pipeline {pipeline.name} was switched from {handover.before} to {handover.after}, and workers "
                "still leave out what both of them tell",
                hint="AWS Lambda can take over once the switch of sources does not show there any more",
                remedy=ShowStatus(),
            )

        def lineage() -> tuple[Write, ...]:
            return under_way.lineage() if to == "lambda" else ()

        fenced = under_way.run(to, progress, lineage, source_type=checkpoint_state.source_type)
        return Switched(pipeline.name, before, to, fenced)


class Switching:
    """One switch, its checkpoint state and its producer: another switch of the pipeline fences it."""

    def __init__(self, pipeline: Pipeline, lanes: int, around: Surroundings) -> None:
        self._pipeline = pipeline
        self._around = around
        self._lanes = range(lanes)
        self._nonce = uuid.uuid4().hex
        self.checkpoint_state = CheckpointState(lanes)
        self._follower = Follower(pipeline.kafka, pipeline.name, self._lanes, to_end=True, factory=around.clients)
        self._follow_until(lambda: self._follower.has_reached_end)
        checkpoint_topic.check_rescaled(pipeline.name, self.checkpoint_state)

    @property
    def method(self) -> Method:
        """The method of all lanes; `none` when they differ."""
        methods = {self.checkpoint_state.method_of(lane) for lane in self._lanes}
        return methods.pop() if len(methods) == 1 else "none"

    def run(
        self,
        to: ActiveMethod,
        progress: OnProgress,
        writes: Callable[[], tuple[Write, ...]],
        *,
        source_type: str | None,
    ) -> int:
        """Switch; return how many producers were fenced.

        `writes`, called when nobody publishes any more and all that was published shows, returns what is written with
        the new method; `source_type` is the kind of source that is read from then on, None if there was no switch to
        it.
        """
        nobody = self._marks("none", self.checkpoint_state.source_type)
        try:
            with claims.claim(
                self._pipeline,
                _SUFFIX,
                nobody,
                shows=self.checkpoint_state.shows,
                follow=self._follow_until,
                factory=self._around.clients,
            ) as held:
                fenced = self._fence(progress)
                self._catch_up()
                marks = self._marks(to, source_type)
                held.commit(Transaction((), (*writes(), *marks)))
        except ClaimLostError as error:
            raise self._broke_off(str(error)) from error
        self._follow_until(lambda: all(map(self.checkpoint_state.shows, marks)))
        return fenced

    def close(self) -> None:
        """Stop following the checkpoint topic."""
        self._follower.close()

    def _catch_up(self) -> None:
        """Read what was committed before the fences."""
        pipeline, clients = self._pipeline, self._around.clients
        self.checkpoint_state = checkpoint_topic.read_checkpoint_state(
            pipeline.kafka, pipeline.name, len(self._lanes), factory=clients
        )

    def lineage(self) -> tuple[Write, ...]:
        """Return tombstones for the lineage: Lambda keeps none, and the workers' first listing after it starts over."""
        return tuple(ShardKey(*shard).write(None, len(self._lanes)) for shard in sorted(self.checkpoint_state.shards))

    def _marks(self, method: Method, source_type: str | None) -> tuple[Write, ...]:
        record = MethodRecord(method=method, nonce=self._nonce, at_ms=self._around.now_ms(), source_type=source_type)
        return tuple(Write(lane, MethodKey(), record) for lane in self._lanes)

    def _fence(self, progress: OnProgress) -> int:
        """Fence whoever claimed a lane or a shard before the mark: these claims lie before it, so they were read."""
        suffixes = [*map(lane_suffix, self._lanes), *map(shard_suffix, sorted(self.checkpoint_state.shard_claims))]
        for fenced, answer in enumerate(self._around.map(self._fence_one, suffixes, _FENCES_AT_ONCE), 1):
            if isinstance(answer, ProducerLost):
                raise self._broke_off(answer.reason)
            progress(Progress("producers", fenced, len(suffixes)))
        return len(suffixes)

    def _fence_one(self, suffix: str) -> ProducerOpened | ProducerLost:
        with closing(make_producer(self._pipeline, suffix, factory=self._around.clients)) as producer:
            return producer.open(claims.OPEN_TIMEOUT_S)

    def _broke_off(self, why: str) -> WorldError:
        return WorldError(f"the switch of {self._pipeline.name} broke off: {why}", remedy=_AGAIN)

    def _follow_until(self, condition: Callable[[], bool]) -> None:
        if not self._follower.read_until(condition, self.checkpoint_state.apply, READ_TIMEOUT_S):
            topic = self._pipeline.checkpoints_topic
            raise WorldError(f"{topic} could not be read within {READ_TIMEOUT_S:.0f} s", remedy=_AGAIN)
