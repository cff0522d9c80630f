"""Carries out requests, many at a time, as fast as the tables take them, again and again where a failure may pass."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from random import Random
from typing import Final

from tailrace.aws.errors import RefusedRequestError
from tailrace.core.ports import ReadError, ReadFailure
from tailrace.core.write_rate import WriteRate
from tailrace.errors import WorldError
from tailrace.replica.answers import Answer, Verdict, refused, written
from tailrace.replica.requests import Request

_PAUSE_MS: Final = (25, 2_000)
"""Before a request is repeated: the first pause, and the longest."""
_LOOK_MS: Final = 100
"""The longest wait until it is looked again whether to go on."""
_AGAIN: Final = {Verdict.AGAIN, Verdict.THROTTLED}

Ask = Callable[[Request], bytes]
"""Makes a call and returns the answer's body. Raises ReadError."""


class Writer:
    """Used by one thread, which decides; those of the pool only make the calls."""

    def __init__(
        self,
        ask: Ask,
        pool: Executor,
        at_once: int,
        rate: WriteRate,
        *,
        now_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
        sleep: Callable[[float], None] = time.sleep,
        random: Random | None = None,
    ) -> None:
        """Make at most `at_once` calls at a time."""
        self.rate = rate
        self.throttled = 0
        """How often a request was throttled."""
        self._ask = ask
        self._pool = pool
        self._at_once = at_once
        self._now_ms = now_ms
        self._sleep = sleep
        self._random = random or Random()

    def carry_out(self, requests: Sequence[Request], patience_ms: int) -> list[Answer | None]:
        """Return what became of each request, the first ones first; None where it is not known after `patience_ms`.

        Nothing is under way any more when this returns. Raises WorldError for what does not pass by itself.
        """
        answers: list[Answer | None] = [None] * len(requests)
        waiting = [(0, index, 0) for index in range(len(requests))]
        """When each may be asked for (ms), and how often it was."""
        running: dict[Future[Answer], tuple[int, int]] = {}
        until_ms = self._now_ms() + patience_ms
        try:
            while (waiting and self._now_ms() < until_ms) or running:
                if self._now_ms() < until_ms:
                    self._begin(requests, waiting, running)
                if not running:
                    self._sleep(self._pause_ms(waiting, until_ms) / 1000)
                    continue
                done, _ = wait(running, _LOOK_MS / 1000, FIRST_COMPLETED)
                for future in done:
                    index, attempts = running.pop(future)
                    answer = future.result()
                    self._count(requests[index], answer)
                    if answer.verdict in _AGAIN:
                        pause_ms = min(_PAUSE_MS[0] * 2**attempts, _PAUSE_MS[1]) * self._random.uniform(0.5, 1.0)
                        heapq.heappush(waiting, (self._now_ms() + int(pause_ms), index, attempts + 1))
                    else:
                        answers[index] = answer
        finally:
            wait(running)
        return answers

    def _begin(
        self,
        requests: Sequence[Request],
        waiting: list[tuple[int, int, int]],
        running: dict[Future[Answer], tuple[int, int]],
    ) -> None:
        now_ms = self._now_ms()
        while waiting and len(running) < self._at_once and waiting[0][0] <= now_ms:
            if self.rate.wait_ms(now_ms):
                return
            _, index, attempts = heapq.heappop(waiting)
            self.rate.used(requests[index].units, now_ms)
            running[self._pool.submit(self._call, requests[index])] = (index, attempts)

    def _pause_ms(self, waiting: list[tuple[int, int, int]], until_ms: int) -> int:
        now_ms = self._now_ms()
        wanted = max(self.rate.wait_ms(now_ms), waiting[0][0] - now_ms, 1)
        return max(1, min(wanted, _LOOK_MS, until_ms - now_ms))

    def _count(self, request: Request, answer: Answer) -> None:
        """Correct what was expected of a request; one that was throttled took nothing."""
        now_ms = self._now_ms()
        if answer.verdict is Verdict.THROTTLED:
            self.throttled += 1
            self.rate.used(-request.units, now_ms)
            self.rate.throttled(now_ms)
        elif answer.units is not None:
            self.rate.used(answer.units - request.units, now_ms)

    def _call(self, request: Request) -> Answer:
        try:
            return written(self._ask(request))
        except RefusedRequestError as error:
            return refused(error)
        except ReadError as error:
            if error.failure is ReadFailure.THROTTLED:
                return Answer(Verdict.THROTTLED, error.message)
            if error.failure is ReadFailure.UNAVAILABLE:
                return Answer(Verdict.AGAIN, error.message)
            raise WorldError(error.message, hint=error.hint) from error
