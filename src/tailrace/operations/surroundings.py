"""What the operations that claim need of the process that they run in: Kafka's clients, time, a name, threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeVar

from tailrace.kafka import clients
from tailrace.kafka.client_factory import ClientFactory
from tailrace.kafka.owner import new_owner

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Surroundings(Protocol):
    """The simulation has its own."""

    @property
    def clients(self) -> ClientFactory:
        """What makes Kafka's clients."""
        ...

    def now_ms(self) -> int:
        """Return the time, milliseconds since the epoch."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    def new_owner(self) -> str:
        """Return a name for this process that is never used twice."""
        ...

    def map(self, call: Callable[[_In], _Out], items: Iterable[_In], at_once: int) -> Iterator[_Out]:
        """Call for each item, so many at once, and yield the answers in the order of the items."""
        ...


class ThisProcess:
    """The process as it is."""

    clients: ClientFactory = clients

    def now_ms(self) -> int:
        """Return the time, milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def new_owner(self) -> str:
        """Return a name for this process that is never used twice."""
        return new_owner()

    def map(self, call: Callable[[_In], _Out], items: Iterable[_In], at_once: int) -> Iterator[_Out]:
        """Call for each item in threads."""
        with ThreadPoolExecutor(at_once) as pool:
            yield from pool.map(call, items)


THIS_PROCESS: Final = ThisProcess()
