"""Page bytes to committed transaction with the worker's own parts: decode, convert, commit buffer, lane producer."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import cycle

from benchmarks.page_server import TABLE
from benchmarks.transcoders import Transcode
from tailrace.core.checkpoint import Checkpoint
from tailrace.core.commit_buffer import CommitBuffer
from tailrace.core.lane_messages import Committed, ProducerOpened, Transaction
from tailrace.core.page import Page
from tailrace.kafka.lane_producer import LaneProducer

BATCH_CHANGES = 5_000
BATCH_BYTES = 8 << 20
_ATTEMPTS = 5


class Publisher:
    """One lane's path, without threads around it."""

    def __init__(self, kafka: Mapping[str, str], checkpoint_topic: str) -> None:
        name = f"bench-{uuid.uuid4().hex[:8]}"
        self._make_producer = partial(
            LaneProducer,
            f"{name}.lane-0",
            1,
            pipeline=name,
            checkpoint_topic=checkpoint_topic,
            dead_letters_topic="bench.dead-letters",
            properties=kafka,
        )
        self._open()

    def commit(self, pages: Sequence[Page]) -> int:
        """Publish pages in one transaction, each with its checkpoint; give the number of changes."""
        commit_buffer = CommitBuffer(0)
        for page in pages:
            checkpoint = Checkpoint(
                table=TABLE,
                state="open",
                sequence=page.last_sequence,
                created_ms=page.last_created_ms,
                at_ms=0,
                open_ms=0,
            )
            commit_buffer.add_page(page, checkpoint, now_ms=0)
        self.publish(commit_buffer.cut(1 << 30, 1 << 40, 0))
        return sum(len(page.changes) for page in pages)

    def publish(self, transaction: Transaction) -> None:
        """Carry out one transaction; where the machine is so busy that the producer is lost, with the next one."""
        for _ in range(_ATTEMPTS):
            outcome = self._producer.commit(transaction)
            if isinstance(outcome, Committed):
                return
            self.close()
            self._open()
        raise AssertionError(outcome)

    def close(self) -> None:
        """Drop the producer."""
        self._producer.close()

    def _open(self) -> None:
        self._producer = self._make_producer()
        opened = self._producer.open(10)
        assert isinstance(opened, ProducerOpened), opened


class Carrier:
    """Carries ready-made page bodies: each step is one transaction of the default batch."""

    def __init__(self, publisher: Publisher, transcode: Transcode, bodies: Sequence[bytes]) -> None:
        self._publisher = publisher
        self._transcode = transcode
        self._bodies = cycle(bodies)

    def step(self) -> int:
        """Transcode pages until a bound of the batch is met, and commit them."""
        taken: list[Page] = []
        changes = size_bytes = 0
        while changes < BATCH_CHANGES and size_bytes < BATCH_BYTES:
            page = self._transcode(next(self._bodies))
            taken.append(page)
            changes += len(page.changes)
            size_bytes += page.size_bytes
        return self._publisher.commit(taken)
