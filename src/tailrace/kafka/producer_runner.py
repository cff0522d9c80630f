"""Carries out what a claim, and who holds it, asks of a producer: one call after the other, one producer at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import assert_never

from confluent_kafka import KafkaException

from tailrace.core.lane_messages import (
    CloseProducer,
    Commit,
    Committed,
    OpenProducer,
    ProducerAnswer,
    ProducerCommand,
    ProducerLost,
    Transaction,
)
from tailrace.kafka.lane_producer import Aborted, LaneProducer


class ProducerRunner:
    """Holds the producer of one transactional id. Not safe for several threads."""

    def __init__(self, make_producer: Callable[[int], LaneProducer]) -> None:
        """`make_producer(epoch)` returns a producer that is not open yet."""
        self._make_producer = make_producer
        self._producer: LaneProducer | None = None

    def carry_out(
        self, command: ProducerCommand, *, open_timeout_s: float, commit_timeout_s: float = math.inf
    ) -> ProducerAnswer | None:
        """Carry out a command, and return its answer; CloseProducer has none."""
        match command:
            case OpenProducer(epoch):
                return self._open(epoch, open_timeout_s)
            case Commit(epoch, transaction):
                if self._producer is None:
                    return ProducerLost(epoch, fenced=False, reason="there is no producer")
                return self._producer.commit(transaction, commit_timeout_s)
            case CloseProducer():
                self.close()
                return None
            case _:
                assert_never(command)

    def commit_if(
        self, epoch: int, transaction: Transaction, holds: Callable[[], bool]
    ) -> Committed | Aborted | ProducerLost:
        """Commit a transaction if `holds()` once its records lie in the topics, else abort it."""
        if self._producer is None:
            return ProducerLost(epoch, fenced=False, reason="there is no producer")
        return self._producer.commit_if(transaction, holds)

    def close(self) -> None:
        """Drop the producer, if there is one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close()

    def _open(self, epoch: int, timeout_s: float) -> ProducerAnswer:
        self.close()
        try:
            self._producer = self._make_producer(epoch)
        except KafkaException as error:
            return ProducerLost(epoch, fenced=False, reason=f"making a producer: {error.args[0].str()}")
        return self._producer.open(timeout_s)
