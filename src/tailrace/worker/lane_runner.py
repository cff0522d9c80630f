"""Carries out a lane's producer calls, one after the other, in a thread of the lane's own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from tailrace.core.lane_messages import CloseProducer, ProducerAnswer, ProducerCommand, ProducerLost
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.kafka.producer_runner import ProducerRunner
from tailrace.process.host import Host, Jobs

logger = logging.getLogger("tailrace.worker")

OPEN_TIMEOUT_S = 10.0


class LaneRunner:
    """The producer side of one lane. Answers go to `answer`, in the order of the calls."""

    def __init__(
        self,
        lane: int,
        make_producer: Callable[[int, int], LaneProducer],
        answer: Callable[[ProducerAnswer], None],
        host: Host,
    ) -> None:
        """`make_producer(lane, epoch)` returns a producer that is not open yet."""
        self._lane = lane
        self._producer = ProducerRunner(partial(make_producer, lane))
        self._answer = answer
        self._host = host
        self._thread: Jobs | None = None

    def carry_out(self, command: ProducerCommand) -> None:
        """Queue a producer call. The thread begins with the first: a lane that is never claimed has none."""
        self._thread = self._thread or self._host.pool(f"lane-{self._lane}", 1)
        self._thread.submit(lambda: self._call(command))

    def stop(self) -> None:
        """End the thread after what is queued."""
        if self._thread is not None:
            self._thread.stop()

    def _call(self, command: ProducerCommand) -> None:
        """Answer whatever happens: a lane waits for its answer for ever."""
        answer: ProducerAnswer | None
        try:
            answer = self._producer.carry_out(command, open_timeout_s=OPEN_TIMEOUT_S)
        except Exception as error:
            logger.exception("a call of lane %d's producer failed; this is a defect of Tailrace", self._lane)
            reason = f"{type(error).__name__}: {error}"
            is_answered = not isinstance(command, CloseProducer)
            answer = ProducerLost(command.epoch, fenced=False, reason=reason) if is_answered else None
        if answer is not None:
            self._answer(answer)
