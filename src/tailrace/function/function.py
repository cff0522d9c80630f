"""Serves the batches that AWS Lambda brings: each is published exactly once, and what is not published is given back.

Everything costly outlives an invocation: the clients, the checkpoint state of the lanes that it has served, the
producers, up to a bound. Nothing is under way when `handle` returns: what did not end in time is given up, the shard
claimed again.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Final

from tailrace.config import LoadedPipeline, Pipeline
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.claiming import CatchUp, ClaimCommand, drive
from tailrace.core.lane_messages import ProducerAnswer
from tailrace.core.page import Page
from tailrace.core.shard import ShardRef, is_after
from tailrace.core.shard_publisher import Failure, ShardPublisher
from tailrace.errors import WorldError
from tailrace.kafka import checkpoint_topic, clients
from tailrace.kafka.checkpoint_topic import Follower
from tailrace.kafka.producer_runner import ProducerRunner
from tailrace.kafka.topic_limits import TopicLimits
from tailrace.kafka.topics import TopicKeeper
from tailrace.operations import switch
from tailrace.operations.definition import define
from tailrace.sources.aws_lambda.event import Batch, has_window
from tailrace.sources.aws_lambda.intake import Delivery
from tailrace.wiring.pipeline import (
    make_converter,
    make_limits,
    make_producer,
    prepare_topics,
    shard_suffix,
    topics_met,
)
from tailrace.wiring.sources import make_intake, policy_of
from tailrace.wiring.transcoder import choose
from tailrace.wiring.transformations import Transformations

logger = logging.getLogger("tailrace.function")

SHARDS_MAX: Final = 16
"""Shards whose producers are kept: one sandbox serves many shards in its life, one at a time."""
RESERVE_S: Final = 1.0
"""What is left of an invocation's time when nothing new is begun: enough to give up and answer."""
PATIENCE_S: Final = 30.0
"""How long the first answers of Kafka are waited for; or half of an invocation's time: enough is left to tell of it."""
CATCH_UP_TIMEOUT_S: Final = 10.0
"""A claim that does not show for so long is hidden by another's: the batch is given back."""


class Function:
    """One sandbox of the Lambda function. Lambda calls it for one batch at a time."""

    def __init__(self, loaded: LoadedPipeline, owner: str, *, shards_max: int = SHARDS_MAX) -> None:
        """Reach for Kafka, make the pipeline's topics if they are missing, and claim a new pipeline for Lambda.

        Raises WorldError, also when the pipeline is served by another method.
        """
        self._loaded = loaded
        pipeline = self._pipeline = loaded.pipeline
        self._owner = owner
        self._shards_max = shards_max
        transcoder = choose()
        logger.info("transcoder", extra={"transcoder": transcoder.name, "why": transcoder.why})
        transformations = Transformations(pipeline)
        self._intake = make_intake(pipeline, transcoder, transformations.of)
        self._source_policy = policy_of(pipeline)
        patience_s = min(PATIENCE_S, pipeline.function.timeout_ms / 2000)
        admin = clients.LastingAdmin(pipeline.kafka, patience_s)
        self._limits = make_limits(pipeline, admin)
        self._converter = make_converter(pipeline, transformations, self._limits)
        with admin.use() as client:
            prepare_topics(pipeline, client)
        self._claim(patience_s)
        define(loaded, owner, accept_changes=False, method="lambda")
        self._checkpoint_state = CheckpointState(pipeline.lanes)
        self._follower = Follower(pipeline.kafka, pipeline.name, [])
        self._topics = TopicKeeper(admin, pipeline.kafka)
        self._shards: OrderedDict[ShardRef, _Shard] = OrderedDict()
        if not pipeline.function.publishes_exactly_once:
            logger.warning(
                "lambda.window is 0s or lambda.parallelization_factor above 1: changes are published at least once"
            )

    def handle(self, event: object, remaining_s: Callable[[], float]) -> dict[str, Any]:
        """Publish one event's batch; return the answer for Lambda, with the first record that is not published.

        `remaining_s` tells how much of the invocation's time is left. Raises TailraceError when nothing can be
        published at all, so that the invocation counts as an error; Lambda then brings the whole batch again.
        """
        delivery = self._intake.take(event)
        failed_at = None if delivery is None else self._publish(delivery, remaining_s)
        answer: dict[str, Any] = {"batchItemFailures": [{"itemIdentifier": failed_at}] if failed_at else []}
        if has_window(event):
            answer["state"] = {}
        return answer

    def close(self) -> None:
        """Drop every producer, and end the follower and the intake."""
        while self._shards:
            self._shards.popitem()[1].close()
        self._follower.close()
        self._intake.close()

    def _claim(self, timeout_s: float) -> None:
        """Claim a pipeline in which nobody ever worked; refuse one that another method publishes.

        Lane 0 tells: a worker claims it before any other, a switch marks every lane. The others may be large.
        """
        pipeline = self._pipeline
        checkpoint_state = checkpoint_topic.read_checkpoint_state(
            pipeline.kafka, pipeline.name, pipeline.lanes, timeout_s, lanes=[0]
        )
        if checkpoint_state.is_new:
            switch.switch(self._loaded, "lambda")
        else:
            checkpoint_topic.check_method(pipeline.name, checkpoint_state.method_of(0), "lambda")
            checkpoint_topic.check_source(pipeline.name, checkpoint_state, pipeline.source.type)

    def _publish(self, delivery: Delivery, remaining_s: Callable[[], float]) -> str | None:
        """Publish a batch; return the sequence number of its first record that is not published."""
        batch = delivery.batch
        if not self._pipeline.source.reads(batch.table):
            raise WorldError(
                f"the event is of table {batch.table}, which the pipeline file does not name",
                hint=f"name it in {self._pipeline.source.tables_key}, or remove the event source mapping of its stream",
            )
        shard = self._shard(batch)

        def pause(seconds: float) -> None:
            if remaining_s() - RESERVE_S <= seconds:
                raise _TimeIsUpError
            time.sleep(seconds)

        failure = shard.publish(self._pages(delivery, shard.publisher, pause), remaining_s)
        if failure is None:
            return None
        if failure.inactive:
            checkpoint_topic.check_method(
                self._pipeline.name, self._checkpoint_state.method_of(shard.publisher.lane), "lambda"
            )
        sequence = next((each for each in delivery.sequences if is_after(each, shard.publisher.sequence)), None)
        if sequence is None:  # another sandbox has published it, or a commit succeeded without an answer
            return None
        log = logger.info if failure.fenced else logger.warning
        log(
            "a batch of shard %s of table %s is given back from record %s on: %s",
            batch.shard.shard_id or "(not named)", batch.table, sequence, failure.reason,
        )  # fmt: skip
        return sequence

    def _pages(self, delivery: Delivery, publisher: ShardPublisher, pause: Callable[[float], None]) -> Iterator[Page]:
        """Convert the batch piece by piece, each for a transaction of its own."""
        for piece in delivery.pages(publisher, self._pipeline.batch.changes, pause):
            for table in dict.fromkeys(record.origin.table for record in piece.records if record.skipped is None):
                for spec in topics_met(self._pipeline, table, delivery.batch.shard.stream):
                    self._topics.ensure(spec)
            yield self._converter.convert(delivery.batch.shard, piece, time.time_ns())

    def _shard(self, batch: Batch) -> _Shard:
        """Return what publishes the shard; the one that was not needed for the longest time makes room."""
        is_exact = batch.is_exact and self._pipeline.function.parallelization_factor == 1
        shard = batch.shard if is_exact else ShardRef(batch.shard.stream, f"function-{self._owner}")
        found = self._shards.get(shard)
        if found is None:
            while len(self._shards) >= self._shards_max:
                self._shards.popitem(last=False)[1].close()
            if not batch.is_exact:
                logger.warning(
                    "batches of %s come without a tumbling window, so its changes are published at least once; "
                    "give the event source mapping one to have them exactly once", batch.table,
                )  # fmt: skip
            errors_fail = self._pipeline.errors == "fail"
            publisher = ShardPublisher(
                shard,
                self._owner,
                self._checkpoint_state,
                table=batch.table,
                source=self._source_policy,
                errors_fail=errors_fail,
                exact=is_exact,
            )
            found = self._shards[shard] = _Shard(self._pipeline, publisher, self._limits, self._catch_up)
        self._shards.move_to_end(shard)
        return found

    def _catch_up(self, command: CatchUp, timeout_s: float) -> None:
        self._follower.follow(command.partitions)
        self._follower.read_until(command.is_over, self._checkpoint_state.apply, min(timeout_s, CATCH_UP_TIMEOUT_S))
        checkpoint_topic.check_rescaled(self._pipeline.name, self._checkpoint_state)


class _TimeIsUpError(Exception):
    """What is left of the invocation is kept for its answer."""


class _Shard:
    """Carries out what a shard's publisher asks for, as long as there is time."""

    def __init__(
        self,
        pipeline: Pipeline,
        publisher: ShardPublisher,
        limits: TopicLimits,
        catch_up: Callable[[CatchUp, float], None],
    ) -> None:
        self.publisher = publisher
        self._catch_up = catch_up
        suffix = shard_suffix(publisher.shard)
        self._producer = ProducerRunner(lambda epoch: make_producer(pipeline, suffix, epoch, limits=limits))

    def publish(self, pages: Iterator[Page], remaining_s: Callable[[], float]) -> Failure | None:
        """Publish pages until one fails, or the time is up."""

        def carry_out(command: ClaimCommand) -> ProducerAnswer | None:
            left_s = remaining_s() - RESERVE_S
            if left_s <= 0:
                raise _TimeIsUpError
            return self._carry_out(command, left_s)

        try:
            return drive(self.publisher.publish(pages, time.time_ns() // 1_000_000), carry_out)
        except _TimeIsUpError:
            self.close()
            return Failure("the invocation's time is up")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the producer; the next batch claims the shard again."""
        self.publisher.abandon()
        self._producer.close()

    def _carry_out(self, command: ClaimCommand, timeout_s: float) -> ProducerAnswer | None:
        if isinstance(command, CatchUp):
            self._catch_up(command, timeout_s)
            return None
        return self._producer.carry_out(command, open_timeout_s=timeout_s, commit_timeout_s=timeout_s)
