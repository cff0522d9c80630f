"""Publishes pages beside the workers, as a redrive and a replay do: a transactional id of its own, no checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal, Self

from tailrace.config import Pipeline
from tailrace.core.lane_messages import ProducerLost, Transaction
from tailrace.core.page import Page
from tailrace.errors import WorldError
from tailrace.kafka import clients
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.kafka.topics import TopicKeeper
from tailrace.remedy import Remedy
from tailrace.wiring.pipeline import dead_letters_topic, make_limits, make_producer, table_topics

OPEN_TIMEOUT_S: Final = 30.0
LOSSES_MAX: Final = 3
"""How often in a row it continues after its producer was lost without progress."""


class NotPublishedError(Exception):
    """A transaction was not published for sure, or not at all; the producer is gone."""

    def __init__(self, lost: ProducerLost, pages: tuple[Page, ...]) -> None:
        super().__init__(lost.reason)
        self.lost = lost
        self.pages = pages
        self.too_large = [refusal for refusal in lost.refusals if refusal.too_large]
        self.learned = lost.learned
        """The next try is in smaller batches."""


class Publisher:
    """A context manager. All that publish under one word share the transactional id `<name>.<word>`."""

    def __init__(self, pipeline: Pipeline, word: Literal["redrive", "replay"], again: Remedy | None = None) -> None:
        """`again` is the remedy of an error that ends it."""
        self.pipeline = pipeline
        self._word = word
        self._again = again
        self._admin = clients.LastingAdmin(pipeline.kafka)
        self._keeper = TopicKeeper(self._admin, pipeline.kafka)
        self.limits = make_limits(pipeline, self._admin)
        self._producer: LaneProducer | None = None
        self.commits = 0
        """How many transactions are published for sure."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self._drop()

    def existing(self, topics: Iterable[str]) -> list[str]:
        """Return those topics that exist."""
        with self._admin.use() as admin:
            there = clients.metadata(admin, self.pipeline.kafka).topics
        return [topic for topic in topics if topic in there]

    def ensure_topics(self, table: str) -> None:
        """Make a table's topics and that of the dead letters if they are missing. Raises WorldError."""
        for spec in (*table_topics(self.pipeline, table), dead_letters_topic(self.pipeline)):
            self._keeper.ensure(spec)

    def fence(self) -> None:
        """Fence whoever else publishes under this word, and end what it left open. Raises WorldError."""
        self._drop()
        self._producer = self._open(self._word)

    def commit(self, pages: tuple[Page, ...]) -> None:
        """Publish pages in one transaction.

        Raises NotPublishedError when it is not known whether it happened, or a record is too large: `fence` again and
        look. Raises WorldError for what another try does not fix.
        """
        assert self._producer is not None
        answer = self._producer.commit(Transaction(pages, ()))
        if not isinstance(answer, ProducerLost):
            self.commits += 1
            return
        self._drop()
        if answer.fenced:
            reason = f"another {self._word} of {self.pipeline.name} has begun, so this one ended"
            raise WorldError(reason, remedy=self._again)
        if answer.denied or any(not refusal.too_large for refusal in answer.refusals):
            reason = f"the {self._word} of {self.pipeline.name} was refused: {answer.reason}"
            raise WorldError(reason, remedy=self._again)
        raise NotPublishedError(answer, pages)

    def _open(self, suffix: str) -> LaneProducer:
        producer = make_producer(self.pipeline, suffix, limits=self.limits)
        answer = producer.open(OPEN_TIMEOUT_S)
        if isinstance(answer, ProducerLost):
            producer.close()
            reason = f"the {self._word} of {self.pipeline.name} cannot begin: {answer.reason}"
            raise WorldError(reason, remedy=self._again)
        return producer

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close()


def in_batches(sizes: Iterable[tuple[int, int]], count_max: int, bytes_max: int) -> Iterator[list[int]]:
    """Cut indices with their sizes in bytes into batches; one that is larger than `bytes_max` is a batch of its own."""
    batch: list[int] = []
    size_bytes = 0
    for index, size in sizes:
        if batch and (len(batch) == count_max or size_bytes + size > bytes_max):
            yield batch
            batch, size_bytes = [], 0
        batch.append(index)
        size_bytes += size
    if batch:
        yield batch
