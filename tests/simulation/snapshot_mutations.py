"""Planted faults in snapshots, each of which the simulation must find."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any
from unittest.mock import patch

import msgspec
from confluent_kafka import IsolationLevel

import tailrace.snapshot.window
from simulation.clients import ModelProducer
from simulation.mutations import MUTATIONS, mutation, replace
from simulation.source import DELETED_WORD
from simulation.workers import SimulatedWorker
from tailrace.core import barrier
from tailrace.core.barrier import FOREVER_MS
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.lane_messages import Committed, ProducerLost, Transaction
from tailrace.core.snapshot_state import SnapshotState
from tailrace.core.source_policy import SourcePolicy
from tailrace.kafka import clients
from tailrace.kafka.lane_producer import Aborted
from tailrace.kafka.producer_runner import ProducerRunner
from tailrace.snapshot import coordinator
from tailrace.snapshot.chunk import Chunk
from tailrace.snapshot.segments import Failed, Segments
from tailrace.snapshot.window import Window

_others = set(MUTATIONS)

# The barrier

replace("no_barrier", barrier, "published_until_ms", lambda *_: FOREVER_MS)
replace("child_shards_unseen_by_the_barrier", barrier._Listing, "may_lack_children", lambda *_: False)
replace("second_child_unseen_by_the_barrier", barrier._Listing, "_is_complete", lambda *_: True)

# The stale check

replace("no_stale_check", Window, "changed", lambda *_: set())


@mutation
def stale_check_of_committed_records() -> Iterator[None]:
    """What is in an open transaction is not seen, and may be committed before the row."""
    offsets = clients.offsets

    def committed(client: Any, asked: Any, _isolation: Any = None) -> Any:
        return offsets(client, asked, IsolationLevel.READ_COMMITTED)

    own = {**tailrace.snapshot.window._OWN, "isolation.level": "read_committed"}
    with patch.object(tailrace.snapshot.window, "_OWN", own), patch.object(clients, "offsets", committed):
        yield


@mutation
def window_marked_after_the_read() -> Iterator[None]:
    """What changes between a row's read and its page's end is not seen."""
    original = Segments.take_in

    def take_in(segments: Segments, answer: Chunk | Failed) -> None:
        original(segments, answer)
        name = answer.segment
        if segments._chunks.get(name) is answer:
            mark = segments._mark(segments._tables[name.table], name)
            segments._chunks[name] = msgspec.structs.replace(answer, mark=mark)

    with patch.object(Segments, "take_in", take_in):
        yield


replace(
    "delete_resurrected",
    Window,
    "_is_change",
    lambda window, message, _original=Window._is_change: (
        _original(window, message) and not (message.value() or b"").endswith(DELETED_WORD)
    ),
)

# The transaction


@mutation
def cursor_outside_the_transaction() -> Iterator[None]:
    """The segment's record follows in the next transaction."""
    original = ProducerRunner.commit_if

    def commit_if(
        runner: ProducerRunner, epoch: int, transaction: Transaction, holds: Callable[[], bool]
    ) -> Committed | Aborted | ProducerLost:
        answer = original(runner, epoch, Transaction(transaction.pages, ()), holds) if transaction.pages else None
        if answer is not None and not isinstance(answer, Committed):
            return answer
        return original(runner, epoch, Transaction((), transaction.writes), lambda: True)

    with patch.object(ProducerRunner, "commit_if", commit_if):
        yield


# Claims, and snapshots one after the other


@mutation
def snapshot_lane_without_a_fence() -> Iterator[None]:
    original = SimulatedWorker.make_producer

    def make(worker: SimulatedWorker, own: Mapping[str, Any]) -> ModelProducer:
        name = own["transactional.id"]
        is_snapshots = name.endswith(".snapshot")
        return original(worker, {**own, "transactional.id": f"{name} of {worker.host.name}"} if is_snapshots else own)

    with patch.object(SimulatedWorker, "make_producer", make):
        yield


@mutation
def rows_of_two_snapshots() -> Iterator[None]:
    """What was read for a snapshot is published although another one has begun."""
    original = Segments.follow

    def follow(segments: Segments, checkpoint_state: CheckpointState, lanes: Collection[int]) -> None:
        for name, table in segments._tables.items():
            snapshot = checkpoint_state.snapshots.snapshots.get(name)
            if snapshot is not None and snapshot.source == "scan":
                table.snapshot = snapshot
        original(segments, checkpoint_state, lanes)

    with patch.object(Segments, "follow", follow):
        yield


replace(
    "result_before_the_segments_end",
    SnapshotState,
    "have_ended",
    lambda state, table, _original=SnapshotState.have_ended: (
        state.order_of(table) == "cancel" or _original(state, table)
    ),
)


@mutation
def rows_of_two_incarnations() -> Iterator[None]:
    """A snapshot goes on although its table was deleted, and made again."""
    original = barrier.published_until_ms

    def published_until_ms(checkpoint_state: CheckpointState, table: str, source: SourcePolicy, whole_ms: int) -> int:
        record = checkpoint_state.tables.get(table)
        is_missing = record is not None and record.state == "missing"
        return FOREVER_MS if is_missing else original(checkpoint_state, table, source, whole_ms)

    with (
        patch.object(barrier, "published_until_ms", published_until_ms),
        patch.object(barrier, "is_of_another_table", lambda *_: False),
        patch.object(coordinator, "is_of_another_table", lambda *_: False),
    ):
        yield


OF_SNAPSHOTS = MUTATIONS.keys() - _others
"""The names of these mutations: they are looked for in histories with snapshots."""
