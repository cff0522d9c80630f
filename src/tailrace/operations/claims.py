"""Claims of operations: what they must hold before they write what a worker, or the same operation, may write too."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from tailrace.config import Pipeline
from tailrace.core.checkpoint import Claim, DefinerKey, SnapshotClaimKey, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.claiming import CatchUp, ClaimCommand, Claiming, drive
from tailrace.core.lane_messages import Commit, ProducerAnswer, ProducerLost, Transaction
from tailrace.core.shard import ENUMERATOR_LANE
from tailrace.kafka.checkpoint_topic import Follower
from tailrace.kafka.client_factory import ClientFactory
from tailrace.kafka.producer_runner import ProducerRunner
from tailrace.operations.surroundings import THIS_PROCESS, Surroundings
from tailrace.wiring.pipeline import make_producer

OPEN_TIMEOUT_S = 30.0
FOLLOW_TIMEOUT_S = 30.0
_EPOCH = 1


class ClaimLostError(Exception):
    """A claim, or what was committed under it, did not surely succeed."""

    def __init__(self, lost: ProducerLost) -> None:
        super().__init__(lost.reason)
        self.denied = lost.denied


class HeldClaim:
    """What was committed before it has been read, and nobody else commits behind it."""

    def __init__(self, producer: ProducerRunner) -> None:
        self._producer = producer

    def commit(self, transaction: Transaction) -> None:
        """Commit a transaction. Raises ClaimLostError."""
        answer = self._producer.carry_out(Commit(_EPOCH, transaction), open_timeout_s=OPEN_TIMEOUT_S)
        if isinstance(answer, ProducerLost):
            raise ClaimLostError(answer)


@contextmanager
def claim(
    pipeline: Pipeline,
    suffix: str,
    writes: tuple[Write, ...],
    *,
    shows: Callable[[Write], bool],
    follow: Callable[[Callable[[], bool]], object],
    factory: ClientFactory,
) -> Iterator[HeldClaim]:
    """Claim what `<pipeline>.<suffix>` stands for, and hold it for the length of the block.

    `writes` is the claim; `shows` as `Claiming` has it. `follow(is_over)` reads the partitions on that the claim is in,
    until `is_over()`, or for long enough. Raises ClaimLostError, and whatever `follow` raises.
    """
    with closing(ProducerRunner(lambda epoch: make_producer(pipeline, suffix, epoch, factory=factory))) as producer:
        lost = _run(Claiming(_EPOCH, writes, shows), producer, follow)
        if lost is not None:
            raise ClaimLostError(lost)
        yield HeldClaim(producer)


@contextmanager
def claim_first_lane(
    pipeline: Pipeline,
    suffix: str,
    key: DefinerKey | SnapshotClaimKey,
    owner: str,
    *,
    lanes: int,
    around: Surroundings = THIS_PROCESS,
) -> Iterator[tuple[HeldClaim, CheckpointState]]:
    """Claim what `<pipeline>.<suffix>` stands for by a record in the first of `lanes` lanes alone.

    Yield the claim, and what that lane shows under it. Raises ClaimLostError.
    """
    record = Claim(owner=owner, nonce=uuid.uuid4().hex, at_ms=around.now_ms())
    checkpoint_state = CheckpointState(lanes)
    with (
        closing(Follower(pipeline.kafka, pipeline.name, [ENUMERATOR_LANE], factory=around.clients)) as follower,
        claim(
            pipeline,
            suffix,
            (Write(ENUMERATOR_LANE, key, record),),
            shows=checkpoint_state.shows,
            follow=lambda is_over: follower.read_until(is_over, checkpoint_state.apply, FOLLOW_TIMEOUT_S),
            factory=around.clients,
        ) as held,
    ):
        yield held, checkpoint_state


def _run(
    claiming: Claiming, producer: ProducerRunner, follow: Callable[[Callable[[], bool]], object]
) -> ProducerLost | None:
    def carry_out(command: ClaimCommand) -> ProducerAnswer | None:
        if isinstance(command, CatchUp):
            follow(command.is_over)
            return None
        return producer.carry_out(command, open_timeout_s=OPEN_TIMEOUT_S)

    return drive(claiming.steps(), carry_out)
