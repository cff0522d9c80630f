"""Carries out a lane's producer calls, one after the other, in a thread of the lane's own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import assert_never

from confluent_kafka import KafkaException

from tailrace.core.lane_messages import CloseProducer, Commit, Event, OpenProducer, ProducerLost, Transaction
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.worker.host import Host, Jobs

logger = logging.getLogger("tailrace.worker")

OPEN_TIMEOUT_S = 10.0


class LaneRunner:
    """The producer side of one lane. Answers go to `answer`, in the order of the calls."""

    def __init__(
        self,
        lane: int,
        make_producer: Callable[[int, int], LaneProducer],
        answer: Callable[[Event], None],
        host: Host,
    ) -> None:
        """`make_producer(lane, epoch)` gives a producer that is not open yet."""
        self._lane = lane
        self._make_producer = make_producer
        self._answer = answer
        self._producer: LaneProducer | None = None
        self._host = host
        self._thread: Jobs | None = None

    def carry_out(self, command: OpenProducer | Commit | CloseProducer) -> None:
        """Queue a producer call. The thread begins with the first: a lane that is never taken has none."""
        self._thread = self._thread or self._host.pool(f"lane-{self._lane}", 1)
        self._thread.submit(lambda: self._call(command))

    def stop(self) -> None:
        """End the thread after what is queued."""
        if self._thread is not None:
            self._thread.stop()

    def _call(self, command: OpenProducer | Commit | CloseProducer) -> None:
        match command:
            case OpenProducer(epoch):
                self._answer_with(epoch, lambda: self._open(epoch))
            case Commit(epoch, transaction):
                self._answer_with(epoch, lambda: self._commit(epoch, transaction))
            case CloseProducer():
                self._close()
            case _:
                assert_never(command)

    def _answer_with(self, epoch: int, call: Callable[[], Event]) -> None:
        """Answer whatever happens: a lane waits for its answer for ever."""
        try:
            event = call()
        except Exception as error:
            logger.exception("a call of lane %d's producer failed; this is a defect of Tailrace", self._lane)
            event = ProducerLost(epoch, fenced=False, reason=f"{type(error).__name__}: {error}")
        self._answer(event)

    def _commit(self, epoch: int, transaction: Transaction) -> Event:
        if self._producer is None:
            return ProducerLost(epoch, fenced=False, reason="there is no producer")
        return self._producer.commit(transaction)

    def _open(self, epoch: int) -> Event:
        self._close()
        try:
            self._producer = self._make_producer(self._lane, epoch)
        except KafkaException as error:
            return ProducerLost(epoch, fenced=False, reason=f"making a producer: {error.args[0].str()}")
        return self._producer.open(OPEN_TIMEOUT_S)

    def _close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close()
