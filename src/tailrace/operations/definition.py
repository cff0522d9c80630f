"""Records a pipeline's definition in the checkpoint topic when a worker or the Lambda function starts with another one.

Definers fence each other as lane owners do: with the transactional id `<name>.definition`, a *definer* record, and a
checkpoint state that shows that very record. So of two files that start at the same moment the later one is compared
with the earlier one, and what would stop or redirect a table that runs is refused unless it is accepted.
"""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import closing

import msgspec

from tailrace.config import LoadedPipeline, Pipeline
from tailrace.config.definition import definition_of
from tailrace.core.checkpoint import ActiveMethod, Claim, DefinerKey, DefinitionKey, DefinitionRecord, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.definition import conflicts, differences
from tailrace.core.lane import ENUMERATOR_LANE
from tailrace.core.lane_messages import ProducerLost, Transaction
from tailrace.errors import WorldError
from tailrace.kafka import checkpoint_topic
from tailrace.kafka.checkpoint_topic import Follower
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.remedy import AcceptChanges
from tailrace.wiring.pipeline import make_producer

logger = logging.getLogger("tailrace")

TRIES_MAX = 5
TIMEOUT_S = 30.0
_SUFFIX = "definition"


def check(pipeline: Pipeline, checkpoint_state: CheckpointState, mine: DefinitionRecord, method: ActiveMethod) -> None:
    """Raise WorldError for what a definition would do to tables that run; `method` is who starts with it."""
    found = conflicts(checkpoint_state, mine)
    if not found:
        return
    listed = "; ".join(map(str, found))
    raise WorldError(
        f"the pipeline {pipeline.name} runs with another definition: {listed}",
        hint="if this is another pipeline, give it another `name`",
        remedy=AcceptChanges(method),
    )


def define(
    loaded: LoadedPipeline, owner: str, *, accept_changes: bool, method: ActiveMethod = "worker"
) -> DefinitionRecord:
    """Record the pipeline's definition unless it is recorded already, and log what differs; return what is recorded.

    Raises WorldError for a conflict that is not accepted (`accept_changes`), and when Kafka does not answer.
    """
    pipeline = loaded.pipeline
    mine = definition_of(pipeline)
    reason = ""
    for _ in range(TRIES_MAX):
        checkpoint_state = checkpoint_topic.read_checkpoint_state(
            pipeline.kafka, pipeline.name, pipeline.lanes, lanes=[ENUMERATOR_LANE]
        )
        if checkpoint_state.definition is not None and not differences(checkpoint_state.definition, mine):
            return checkpoint_state.definition
        if not accept_changes:
            check(pipeline, checkpoint_state, mine, method)
        with closing(make_producer(pipeline, _SUFFIX)) as producer:
            try:
                checkpoint_state = _take(pipeline, producer, owner)
                if not accept_changes:
                    check(pipeline, checkpoint_state, mine, method)
                return _record(producer, checkpoint_state, mine)
            except _LostError as error:
                reason = str(error)
                if error.denied:  # as its lanes are: they say so again and again, until it is granted
                    logger.warning("the pipeline's definition is not recorded: %s", reason)
                    generation = (
                        checkpoint_state.definition.generation if checkpoint_state.definition is not None else 0
                    )
                    return msgspec.structs.replace(mine, generation=generation)
    raise WorldError(
        f"the definition of the pipeline {pipeline.name} could not be recorded: {reason}", hint="try again"
    )


def _take(pipeline: Pipeline, producer: LaneProducer, owner: str) -> CheckpointState:
    """Fence the other definers, and return a checkpoint state of all that they recorded."""
    claim = Claim(owner=owner, nonce=uuid.uuid4().hex, at_ms=time.time_ns() // 1_000_000)
    _expect(producer.open(TIMEOUT_S))
    _expect(producer.commit(Transaction((), (Write(ENUMERATOR_LANE, DefinerKey(), claim),))))
    checkpoint_state = CheckpointState(pipeline.lanes)
    with closing(Follower(pipeline.kafka, pipeline.name, [ENUMERATOR_LANE])) as follower:
        if not follower.read_until(lambda: checkpoint_state.definer == claim, checkpoint_state.apply, TIMEOUT_S):
            raise _LostError("the definer's record does not show: another one took over")
    return checkpoint_state


def _record(producer: LaneProducer, checkpoint_state: CheckpointState, mine: DefinitionRecord) -> DefinitionRecord:
    recorded = checkpoint_state.definition
    found = differences(recorded, mine) if recorded is not None else ()
    if recorded is not None and not found:
        return recorded
    generation = recorded.generation + 1 if recorded is not None else 1
    mine = msgspec.structs.replace(mine, generation=generation)
    _expect(producer.commit(Transaction((), (Write(ENUMERATOR_LANE, DefinitionKey(), mine),))))
    if changes := (*found, *map(str, conflicts(checkpoint_state, mine))):
        logger.warning("the pipeline's definition is changed: %s", "; ".join(changes))
    return mine


def _expect(answer: object) -> None:
    if isinstance(answer, ProducerLost):
        raise _LostError(answer.reason, denied=answer.denied)


class _LostError(Exception):
    """Another definer was quicker, or Kafka refused or did not answer."""

    def __init__(self, reason: str, *, denied: bool = False) -> None:
        super().__init__(reason)
        self.denied = denied
