"""What becomes of the batches that AWS Lambda brings until they can be converted. Here those of DynamoDB Streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Protocol, TypeVar

import msgspec

from tailrace.core.ports import SourcePage, SourceRecord
from tailrace.core.shard_publisher import ShardPublisher
from tailrace.sources.aws_lambda.event import Batch, read_event
from tailrace.sources.dynamodb.page_decoder import PageDecoder

_R = TypeVar("_R")


class Delivery(Protocol):
    """One batch, decoded."""

    batch: Batch
    sequences: Sequence[str]
    """The sequence numbers of its records, in the shard's order."""

    def pages(self, publisher: ShardPublisher, step: int, pause: Callable[[float], None]) -> Iterator[SourcePage]:
        """Return what is to be published, about `step` records at a time; asked for when the shard is claimed.

        `pause(seconds)` is called before whatever takes time; it raises when none is left. Raises `ReadError`.
        """
        ...


class Intake(Protocol):
    """Takes in the events of one kind of source."""

    def take(self, event: object) -> Delivery | None:
        """Read an event; None when it holds no records. Raises `WorldError` for one of another kind, `ReadError`."""
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


class StreamsIntake(Intake):
    """Takes in the events of DynamoDB Streams."""

    def __init__(self, decode: PageDecoder) -> None:
        self._decode = decode

    def take(self, event: object) -> Delivery | None:
        """Read an event, and decode its records."""
        batch = read_event(event)
        if batch is None:
            return None
        page = self._decode(batch.body, shard=batch.shard, table=batch.table, region=batch.region)
        return _StreamsDelivery(batch, page)

    def close(self) -> None:
        """Do nothing: there are none."""


class _StreamsDelivery(Delivery):
    def __init__(self, batch: Batch, page: SourcePage) -> None:
        self.batch = batch
        self._page = page
        once: dict[str, SourceRecord] = {}
        for record in page.records:  # a sequence number is one change of a shard
            once.setdefault(record.origin.sequence, record)
        self._records = list(once.values())
        self.sequences = list(once)

    def pages(self, publisher: ShardPublisher, step: int, pause: Callable[[float], None]) -> Iterator[SourcePage]:
        """Return the records; those that are published already are left out later."""
        del publisher, pause
        for records in pieces(self._records, step, lambda record: record.origin.sequence):
            yield msgspec.structs.replace(self._page, records=records)


def pieces(records: Sequence[_R], step: int, sequence: Callable[[_R], str]) -> Iterator[list[_R]]:
    """Cut records into pieces of `step` or more: those that share a sequence number stay together."""
    ends = [place for place, (one, next_) in enumerate(pairwise(records), 1) if sequence(one) != sequence(next_)]
    start = 0
    for end in (*ends, len(records)):
        if end - start >= step or end == len(records) > start:
            yield list(records[start:end])
            start = end
