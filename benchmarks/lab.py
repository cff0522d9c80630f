"""What the parts share: one real broker, topics, page servers, and how thorough the run is."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.measure import on_core
from benchmarks.page_server import PageServer, Stream
from tailrace.local.dynamodb import CREDENTIALS
from tailrace.local.kafka import KafkaBroker

MEASURED_CORE = 0
SERVICE_CORE = 1
PARTITIONS = 6
KEYS = 1_000_000

Cell = str | int | float
_T = TypeVar("_T")


@dataclass
class Table:
    """What a part found."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    """Numbers that goals are about, by name."""


class Lab:
    """A context manager that starts the broker on a core of its own, away from what is measured."""

    def __init__(self, folder: Path, *, quick: bool, keys: int = KEYS) -> None:
        self.folder = folder
        self.quick = quick
        self.keys = keys
        """Most keys that memory is measured at."""
        self.rounds = 1 if quick else 5
        self.round_s = 0.05 if quick else 0.6

    def __enter__(self) -> Self:
        os.environ.update(CREDENTIALS)
        with on_core(SERVICE_CORE):
            self.broker = KafkaBroker(properties={"log.retention.bytes": str(1 << 28)}).__enter__()
        self.kafka = self.broker.client_properties()
        self._admin = AdminClient({**self.kafka, "log_level": 0})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.broker.close()

    def some(self, cases: Sequence[_T]) -> Sequence[_T]:
        """Return all cases, or the first alone when it is only to be shown that they run."""
        return cases[:1] if self.quick else cases

    def topic(self, partitions: int = PARTITIONS, properties: Mapping[str, str] = MappingProxyType({})) -> str:
        """Make a topic; `properties` win over those that keep it small."""
        name = f"bench-{uuid.uuid4().hex[:8]}"
        large = {"max.message.bytes": str(4 << 20), "retention.bytes": str(1 << 26), "segment.bytes": str(1 << 26)}
        self._admin.create_topics([NewTopic(name, partitions, config={**large, **properties})])[name].result()
        return name

    def delete_topics(self, prefix: str) -> None:
        """Delete topics, so that a run does not fill the disk."""
        names = [name for name in self._admin.list_topics(timeout=10).topics if name.startswith(prefix)]
        for deleted in self._admin.delete_topics(names).values() if names else ():
            try:
                deleted.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:  # gone already: a listing may lag behind
                    raise

    def bytes_of(self, topic: str) -> int:
        """Return how many bytes the broker's log holds of a topic."""
        return sum(file.stat().st_size for file in (self.broker.folder / "data").glob(f"{topic}-*/*.log"))

    @contextmanager
    def pages(self, stream: Stream) -> Iterator[PageServer]:
        """Start a page server."""
        with on_core(SERVICE_CORE):
            server = PageServer(stream)
        with server:
            yield server


def wait_until(what: str, is_true: Callable[[], bool], timeout_s: float, pause_s: float = 0.02) -> None:
    """Wait for a condition, looked at often but not so often that it costs."""
    deadline_s = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{what} did not happen within {timeout_s} s")
        time.sleep(pause_s)
