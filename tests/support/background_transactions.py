"""Writes transactions in a thread of its own, some of them aborted."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from random import Random
from typing import Self

from support.kafka_clients import transactional_producer


class BackgroundTransactions(ABC):
    """A context manager that writes until it is left or stopped; what is drawn comes from a seed."""

    def __init__(self, properties: dict[str, str], seed: int, records_max: int = 60) -> None:
        """A transaction of the thread has fewer than `records_max` records."""
        self._random = Random(seed)
        self._producer = transactional_producer(properties)
        self._records_max = records_max
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @abstractmethod
    def transaction(self, records: int, *, commit: bool) -> None:
        """Write one transaction. Not while the thread writes."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the transaction that is open, and write no more."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.transaction(self._random.randrange(1, self._records_max), commit=self._random.random() < 0.8)
            self._stopping.wait(0.02)
