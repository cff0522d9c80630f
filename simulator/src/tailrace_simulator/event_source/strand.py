"""The records of a shard on their way through the function: batches, windows, retries, bisection, age.

With a parallelization factor a shard has several strands, each with the changes of some of its items.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final

from tailrace_simulator.event_source.destination import Condition, Discarded
from tailrace_simulator.event_source.mapping import EventSourceMapping, Hostility
from tailrace_simulator.event_source.outcome import FAILURE, Answered, Errored, NotInvoked, Outcome, Unknown, judge
from tailrace_simulator.event_source.records import PAYLOAD_BYTES_MAX, Record, Span, WindowPart, span_of

RETENTION_MS: Final = 24 * 3600 * 1000
"""How long DynamoDB Streams keep records: no batch is older."""
STATE_BYTES_MAX: Final = 1024 * 1024
"""A window whose state is larger is terminated early."""
WINDOW_WAIT_MS: Final = 120_000
"""How long a window that is over waits for a further record: AWS says up to 2 minutes."""
BACK_OFF_MS: Final = (100, 10_000)
"""The first pause before a batch is sent again, and the longest; it doubles. AWS does not say."""
_ENVELOPE_BYTES: Final = 1024
"""What an event holds beside its records and its state, and a little more."""


@dataclass(eq=False)
class Window:
    """A window that is open: its time, and the state that the function returned last."""

    span: Span
    state: bytes = b"{}"


@dataclass(eq=False)
class Batch:
    """Records to be sent together, and what became of that so far."""

    records: list[Record]
    window: Window | None = None
    is_final: bool = False
    is_early: bool = False
    failures: int = 0
    """Failed invocations that count against the retry quota."""
    pauses: int = 0
    not_before_ms: int = 0
    invocations: int = 0
    has_errored: bool = False
    request_id: str = ""


@dataclass(frozen=True)
class Settlement:
    """What an answer came to: records that need not be read again, and a batch that is given up."""

    saved: list[Record] = field(default_factory=list)
    discarded: Discarded | None = None


class Strand:
    """One batch at a time. Every method takes the time, milliseconds since the epoch."""

    def __init__(
        self,
        mapping: EventSourceMapping,
        hostility: Hostility,
        draw: Callable[[], random.Random],
        make: Callable[[list[Record], WindowPart | None], bytes],
    ) -> None:
        """`draw` gives the randomness for the next batch, `make` an event."""
        self._mapping = mapping
        self._hostility = hostility
        self._draw = draw
        self._make = make
        self._queue: deque[Record] = deque()
        self._pending: list[Batch] = []
        self._window: Window | None = None
        self._unsaved: list[Record] = []
        """Records of the open window that are done: only its end saves them."""
        self._last_read_ms = 0
        self.in_flight: Batch | None = None

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing left to do."""
        return not (self._queue or self._pending or self._window)

    @property
    def queued_bytes(self) -> int:
        """Size of what was read and is in no batch yet."""
        return sum(len(record.body) for record in self._queue)

    @property
    def is_hungry(self) -> bool:
        """Whether it waits for nothing but records."""
        return self.in_flight is None and not self._pending

    def offer(self, records: Iterable[Record], now_ms: int) -> None:
        """Take records that were read."""
        for record in records:
            self._queue.append(record)
            self._last_read_ms = now_ms

    def next_batch(self, now_ms: int, *, ended: bool) -> Batch | None:
        """Return the batch to invoke the function with now, if any. `ended`: no record will follow those offered."""
        if self.in_flight is not None:
            return None
        if not self._pending and (cut := self._cut(now_ms, ended)):
            self._pending.append(cut)
        if not self._pending or self._pending[0].not_before_ms > now_ms:
            return None
        batch = self._pending[0]
        runs = [list(run) for _, run in groupby(batch.records, lambda record: self._is_expired(record, now_ms))]
        if len(runs) > 1:
            self._split(batch, runs)
        return self._pending[0]

    def is_too_old(self, batch: Batch, now_ms: int) -> bool:
        """Return whether the records of a batch are older than the function may get; they are all, or none is."""
        return bool(batch.records) and self._is_expired(batch.records[0], now_ms)

    def discard(self, condition: Condition) -> Settlement:
        """Return the next batch up."""
        batch = self._pending.pop(0)
        discarded = Discarded(
            records=batch.records,
            condition=condition,
            invocations=batch.invocations,
            has_errored=batch.has_errored,
            request_id=batch.request_id,
            event=self._event(batch),
        )
        if batch.is_final:
            self._pending.insert(0, Batch([], batch.window, is_final=True))
        return Settlement(self._save(batch.records), discarded)

    def launch(self, batch: Batch) -> bytes:
        """Note that a batch is being sent; give its event."""
        self.in_flight = batch
        batch.invocations += 1
        return self._event(batch)

    def settle(self, outcome: Outcome, now_ms: int) -> Settlement:
        """Take the outcome of the batch in flight."""
        batch, self.in_flight = self.in_flight, None
        assert batch is not None
        batch.request_id = outcome.request_id
        if isinstance(outcome, NotInvoked | Unknown):
            self._pause(batch, now_ms)
            return Settlement()
        batch.has_errored = isinstance(outcome, Errored)
        sequences = [record.sequence for record in batch.records]
        verdict = judge(outcome.payload, sequences, self._mapping) if isinstance(outcome, Answered) else FAILURE
        if verdict.failed_from is None:
            return self._succeed(batch, verdict.state)
        if verdict.failed_from:
            done, batch.records = batch.records[: verdict.failed_from], batch.records[verdict.failed_from :]
            if self._mapping.bisect_batch_on_function_error:
                settlement = Settlement()
            else:
                settlement = self._count_failure(batch, now_ms)
            saved = self._save(done)
            self._keep_state(batch, verdict.state)
            return Settlement(saved + settlement.saved, settlement.discarded)
        if verdict.is_whole_failure and self._mapping.bisect_batch_on_function_error and len(batch.records) > 1:
            middle = (len(batch.records) + 1) // 2
            self._split(batch, [batch.records[:middle], batch.records[middle:]])
            return Settlement()
        return self._count_failure(batch, now_ms)

    def _cut(self, now_ms: int, ended: bool) -> Batch | None:
        """Take the next batch, if it is large or old enough; or the final call of a window that is over."""
        following = self._following_span()
        if self._window is not None and self._is_over(self._window.span, following, now_ms, ended=ended):
            return Batch([], self._window, is_final=True)
        if not self._queue:
            return None
        count, is_full = self._fitting(now_ms, following)
        first = self._queue[0]
        is_due = is_full or ended or self._is_expired(first, now_ms)
        if not is_due and now_ms - first.read_ms < self._mapping.maximum_batching_window_s * 1000:
            return None
        rng = self._draw()
        if rng.random() < self._hostility.short:
            count = rng.randint(1, count)
        batch = Batch([self._queue.popleft() for _ in range(count)])
        if following is not None:
            self._window = batch.window = self._window or Window(following)
            is_last = self._is_over(following, self._following_span(), now_ms, ended=ended)
            batch.is_final = is_last and rng.random() < self._hostility.final_with_records
        return batch

    def _fitting(self, now_ms: int, span: Span | None) -> tuple[int, bool]:
        """Count the records that go into one batch, and tell whether no further one does.

        A batch never spans two windows, and never mixes expired records with others.
        """
        room = PAYLOAD_BYTES_MAX - _ENVELOPE_BYTES - (len(self._window.state) if self._window else 0)
        is_old = self._is_expired(self._queue[0], now_ms)
        count = 0
        for record in self._queue:
            room -= len(record.body) + 1
            if count and (
                count == self._mapping.batch_size
                or room < 0
                or (span is not None and span_of(record.created_ms, self._mapping.tumbling_window_s) != span)
                or self._is_expired(record, now_ms) is not is_old
            ):
                return count, True
            count += 1
        return count, count == self._mapping.batch_size

    def _split(self, batch: Batch, parts: list[list[Record]]) -> None:
        """Put parts of the next batch in its place, each with its past: splitting uses up no retries."""
        self._pending[:1] = [replace(batch, records=part, is_final=False) for part in parts]
        self._pending[len(parts) - 1].is_final = batch.is_final

    def _following_span(self) -> Span | None:
        """Return the window of the next record; None without one, or without windows."""
        width_s = self._mapping.tumbling_window_s
        return span_of(self._queue[0].created_ms, width_s) if width_s and self._queue else None

    def _is_over(self, span: Span, following: Span | None, now_ms: int, *, ended: bool) -> bool:
        """Return whether a window gets no further record: another began, the shard ended, or it is quiet."""
        if following is not None:
            return following != span
        return ended or (now_ms >= span.end_ms and now_ms - self._last_read_ms >= WINDOW_WAIT_MS)

    def _is_expired(self, record: Record, now_ms: int) -> bool:
        limit_ms = RETENTION_MS
        if self._mapping.maximum_record_age_s >= 0:
            limit_ms = min(limit_ms, self._mapping.maximum_record_age_s * 1000)
        return now_ms - record.created_ms > limit_ms

    def _event(self, batch: Batch) -> bytes:
        window = batch.window
        if window is None:
            return self._make(batch.records, None)
        part = WindowPart(window.span, window.state, is_final=batch.is_final, is_early=batch.is_early)
        return self._make(batch.records, part)

    def _succeed(self, batch: Batch, state: bytes) -> Settlement:
        self._pending.pop(0)
        saved = self._save(batch.records)
        if batch.is_final:
            self._window = None
            saved, self._unsaved = self._unsaved, []
        elif batch.is_early and batch.window:
            batch.window.state = b"{}"
        else:
            self._keep_state(batch, state)
        return Settlement(saved)

    def _keep_state(self, batch: Batch, state: bytes) -> None:
        if batch.window is None:
            return
        batch.window.state = state
        if len(state) > STATE_BYTES_MAX:
            self._pending.insert(0, Batch([], batch.window, is_early=True))

    def _save(self, records: list[Record]) -> list[Record]:
        """Return what the checkpoint may pass: within a window nothing, until it ends."""
        if self._window is None:
            return records
        self._unsaved += records
        return []

    def _count_failure(self, batch: Batch, now_ms: int) -> Settlement:
        """Send a batch again later, or give it up. One without records is a window's: it is sent until it succeeds."""
        batch.failures += 1
        limit = self._mapping.maximum_retry_attempts
        if batch.records and -1 < limit < batch.failures:
            return self.discard("RetryAttemptsExhausted")
        self._pause(batch, now_ms)
        return Settlement()

    def _pause(self, batch: Batch, now_ms: int) -> None:
        first_ms, longest_ms = BACK_OFF_MS
        batch.not_before_ms = now_ms + min(first_ms * 2 ** min(batch.pauses, 20), longest_ms)
        batch.pauses += 1
