"""Drives the event source mapper: reads a stream, invokes a function, tells of each invocation. The thin part."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

from tailrace_simulator.errors import SimulatorError
from tailrace_simulator.event_source import Discard, Invoke, Mapper, Outcome, Probe, Read
from tailrace_simulator.event_source.records import sequence_of
from tailrace_simulator.event_source.shard import Position
from tailrace_simulator.streams_client import StreamsClient, StreamsError

TICK_S: Final = 0.05
LISTING_S: Final = 1.0
_READERS: Final = 16


class Invokable(Protocol):
    """A function: safe to invoke from many threads at once."""

    def invoke(self, event: bytes) -> Outcome:
        """Invoke it and wait for how that ends."""
        ...


@dataclass(frozen=True)
class Invoked:
    """One invocation that ended."""

    shard_id: str
    records: int
    is_window_end: bool
    outcome: Outcome
    duration_s: float


class Runner:
    """Runs in the thread that calls `run`; reading and invoking have threads of their own."""

    def __init__(
        self,
        mapper: Mapper,
        client: StreamsClient,
        function: Invokable,
        stream_arn: str,
        *,
        concurrency: int = 10,
        tell: Callable[[Invoked | Discard], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`tell` is called in `run`'s thread; `clock` gives seconds since the epoch."""
        self._mapper = mapper
        self._client = client
        self._function = function
        self._stream_arn = stream_arn
        self._tell = tell
        self._clock = clock
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")
        self._invokers = ThreadPoolExecutor(concurrency, thread_name_prefix="invoker")
        self._iterators: dict[str, tuple[Position, str]] = {}
        """Where each shard is read on, and from which position that is."""
        self._quiet_since_s = 0.0
        self._defect: BaseException | None = None

    def run(self, stopped: threading.Event, *, idle_s: float | None = None) -> None:
        """Run until it is stopped, or until every record is through and none came for `idle_s`.

        Invocations that are under way then are not waited for: close the function next.
        Raises `SimulatorError` when the stream cannot be listed at first.
        """
        self._mapper.listed(self._client.shards(self._stream_arn))
        listed_s = self._quiet_since_s = time.monotonic()
        try:
            while not stopped.is_set() and self._defect is None:
                now_s = time.monotonic()
                if idle_s is not None and now_s - self._quiet_since_s >= idle_s and self._mapper.is_done:
                    return
                if now_s - listed_s >= LISTING_S:
                    listed_s = now_s
                    self._start(self._readers, self._list)
                for command in self._mapper.due(self._now_ms()):
                    self._carry_out(command)
                self._hear()
        finally:
            for pool in (self._readers, self._invokers):
                pool.shutdown(wait=False, cancel_futures=True)
        if self._defect is not None:
            raise self._defect

    def _hear(self) -> None:
        """Take what happened meanwhile; wait for something a moment."""
        try:
            self._inbox.get(timeout=TICK_S)()
            while True:
                self._inbox.get_nowait()()
        except queue.Empty:
            return

    def _carry_out(self, command: Read | Probe | Invoke | Discard) -> None:
        match command:
            case Read():
                self._start(self._readers, lambda: self._read(command))
            case Probe():
                self._start(self._readers, lambda: self._probe(command.shard_id))
            case Invoke():
                self._start(self._invokers, lambda: self._invoke(command))
            case Discard():
                self._tell(command)

    def _start(self, pool: ThreadPoolExecutor, work: Callable[[], Callable[[], None]]) -> None:
        """Do work in a pool; what it gives is done in `run`'s thread. A defect in it ends `run`."""

        def do() -> None:
            try:
                self._inbox.put(work())
            except Exception as error:
                self._defect = error

        pool.submit(do)

    def _list(self) -> Callable[[], None]:
        try:
            shards = self._client.shards(self._stream_arn)
        except StreamsError:
            return lambda: None
        return lambda: self._mapper.listed(shards)

    def _probe(self, shard_id: str) -> Callable[[], None]:
        try:
            self._client.iterator(self._stream_arn, shard_id, Position("TRIM_HORIZON"))
        except StreamsError as error:
            exists = error.code != "ResourceNotFoundException"
            return lambda: self._mapper.probed(shard_id, exists=exists)
        return lambda: self._mapper.probed(shard_id, exists=True)

    def _read(self, command: Read) -> Callable[[], None]:
        shard_id = command.shard_id
        at, iterator = self._iterators.pop(shard_id, (command.position, ""))
        try:
            if not iterator or at != command.position:
                iterator = self._client.iterator(self._stream_arn, shard_id, command.position)
            page, following = self._client.records(iterator)
        except StreamsError as error:
            match error.code:
                case "TrimmedDataAccessException":
                    return lambda: self._mapper.trimmed(shard_id, self._now_ms())
                case "ResourceNotFoundException":
                    return lambda: self._mapper.page_read(shard_id, [], self._now_ms(), is_end=True)
                case code:
                    if iterator and code != "ExpiredIteratorException":
                        self._iterators[shard_id] = (command.position, iterator)
                    return lambda: self._mapper.read_failed(shard_id, self._now_ms())
        if following is not None:
            last = sequence_of(page[-1]) if page else None
            self._iterators[shard_id] = (
                Position("AFTER_SEQUENCE_NUMBER", last) if last else command.position,
                following,
            )

        def take() -> None:
            if page:
                self._quiet_since_s = time.monotonic()
            self._mapper.page_read(shard_id, page, self._now_ms(), is_end=following is None)

        return take

    def _invoke(self, command: Invoke) -> Callable[[], None]:
        began_s = time.monotonic()
        outcome = self._function.invoke(command.event)
        duration_s = time.monotonic() - began_s

        def take() -> None:
            self._quiet_since_s = time.monotonic()
            self._mapper.answered(command.number, outcome, self._now_ms())
            self._tell(Invoked(command.shard_id, command.records, command.is_window_end, outcome, duration_s))

        return take

    def _now_ms(self) -> int:
        return round(self._clock() * 1000)


def find_stream(client: StreamsClient, table_or_arn: str) -> str:
    """Return the stream's ARN of a table's name, or of itself. Raises `SimulatorError`."""
    if table_or_arn.startswith("arn:"):
        return table_or_arn
    try:
        return client.stream_arn(table_or_arn)
    except StreamsError as error:
        if error.code == "ResourceNotFoundException":
            raise SimulatorError(
                f"there is no table {table_or_arn}", hint="look at --endpoint-url and --region"
            ) from error
        raise
