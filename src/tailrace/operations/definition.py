"""Records a pipeline's definition in the checkpoint topic when a worker or the Lambda function starts with another one.

Definers claim it as workers claim lanes (`core.claiming`): with the transactional id `<name>.definition` and a
*definer* record. So of two files that start at the same moment the later one is compared with the earlier one, and what
would stop or redirect a table that runs is refused unless it is accepted.
"""

from __future__ import annotations

import logging

import msgspec

from tailrace.config import LoadedPipeline, Pipeline
from tailrace.config.definition import definition_of
from tailrace.core.checkpoint import ActiveMethod, DefinerKey, DefinitionKey, DefinitionRecord, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.definition import conflicts, differences
from tailrace.core.lane_messages import Transaction
from tailrace.core.shard import ENUMERATOR_LANE
from tailrace.errors import WorldError
from tailrace.kafka import checkpoint_topic
from tailrace.operations import claims
from tailrace.operations.claims import ClaimLostError, HeldClaim
from tailrace.operations.surroundings import THIS_PROCESS, Surroundings
from tailrace.remedy import AcceptChanges, SwitchSource

logger = logging.getLogger("tailrace")

TRIES_MAX = 5
_SUFFIX = "definition"


def check(
    pipeline: Pipeline,
    checkpoint_state: CheckpointState,
    mine: DefinitionRecord,
    method: ActiveMethod,
    *,
    accept_changes: bool = False,
) -> None:
    """Raise WorldError for what a definition would do to tables that run; `method` is who starts with it.

    With `accept_changes` only for another kind of source: the next one could neither go on where the one before
    stopped nor leave out what that published.
    """
    found, recorded = conflicts(checkpoint_state, mine), checkpoint_state.definition
    if found and recorded is not None and recorded.source_type != mine.source_type:
        raise WorldError(
            f"the pipeline {pipeline.name} reads from {recorded.source_type}, and the file has `source.type: "
            f"{mine.source_type}`",
            hint="if this is another pipeline, give it another `name`",
            remedy=SwitchSource(),
        )
    if not found or accept_changes:
        return
    listed = "; ".join(map(str, found))
    raise WorldError(
        f"the pipeline {pipeline.name} runs with another definition: {listed}",
        hint="if this is another pipeline, give it another `name`",
        remedy=AcceptChanges(method),
    )


def define(
    loaded: LoadedPipeline,
    owner: str,
    *,
    accept_changes: bool,
    method: ActiveMethod = "worker",
    around: Surroundings = THIS_PROCESS,
) -> DefinitionRecord:
    """Record the pipeline's definition unless it is recorded already, and log what differs; return what is recorded.

    Raises WorldError for a conflict that is not accepted (`accept_changes`), and when Kafka does not answer.
    """
    pipeline = loaded.pipeline
    mine = definition_of(pipeline)
    reason = ""
    for _ in range(TRIES_MAX):
        checkpoint_state = checkpoint_topic.read_checkpoint_state(
            pipeline.kafka, pipeline.name, pipeline.lanes, lanes=[ENUMERATOR_LANE], factory=around.clients
        )
        if checkpoint_state.definition is not None and not differences(checkpoint_state.definition, mine):
            return checkpoint_state.definition
        check(pipeline, checkpoint_state, mine, method, accept_changes=accept_changes)
        try:
            with claims.claim_first_lane(
                pipeline, _SUFFIX, DefinerKey(), owner, lanes=pipeline.lanes, around=around
            ) as (held, checkpoint_state):
                check(pipeline, checkpoint_state, mine, method, accept_changes=accept_changes)
                return _record(held, checkpoint_state, mine)
        except ClaimLostError as error:
            reason = str(error)
            if error.denied:  # as its lanes are: they say so again and again, until it is granted
                logger.warning("the pipeline's definition is not recorded: %s", reason)
                generation = checkpoint_state.definition.generation if checkpoint_state.definition is not None else 0
                return msgspec.structs.replace(mine, generation=generation)
    raise WorldError(
        f"the definition of the pipeline {pipeline.name} could not be recorded: {reason}", hint="try again"
    )


def _record(held: HeldClaim, checkpoint_state: CheckpointState, mine: DefinitionRecord) -> DefinitionRecord:
    recorded = checkpoint_state.definition
    found = differences(recorded, mine) if recorded is not None else ()
    if recorded is not None and not found:
        return recorded
    generation = recorded.generation + 1 if recorded is not None else 1
    mine = msgspec.structs.replace(mine, generation=generation)
    held.commit(Transaction((), (Write(ENUMERATOR_LANE, DefinitionKey(), mine),)))
    if changes := (*found, *map(str, conflicts(checkpoint_state, mine))):
        logger.warning("the pipeline's definition is changed: %s", "; ".join(changes))
    return mine
