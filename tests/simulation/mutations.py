"""Planted faults in the protocol, each of which the simulation must find."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import msgspec

import simulation.world
import tailrace.core.definition
import tailrace.core.discovery
import tailrace.core.page
from simulation.broker import Entry, Log
from simulation.clients import ModelProducer
from simulation.source import LOG, STREAMS, PushingReader
from simulation.workers import SimulatedWorker
from tailrace.convert.converter import Converter
from tailrace.core.checkpoint import Checkpoint, CheckpointKey, ShardKey, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.claiming import Claiming, ClaimState
from tailrace.core.commit_buffer import CommitBuffer
from tailrace.core.lane import Lane
from tailrace.core.lane_messages import (
    CloseProducer,
    Committed,
    OpenProducer,
    ProducerAnswer,
    ProducerCommand,
    ProducerLost,
    ProducerOpened,
    ReadFailed,
    Transaction,
)
from tailrace.core.lane_reads import LaneReads
from tailrace.core.lane_shards import LaneShards
from tailrace.core.lane_turn import Turn
from tailrace.core.memory_budget import MemoryBudget
from tailrace.core.page import Page
from tailrace.core.ports import ReadFailure, SourcePage
from tailrace.core.shard import ShardRef
from tailrace.core.shard_state import ShardState
from tailrace.kafka import lane_producer
from tailrace.kafka.client_watch import ClientWatch
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.kafka.producer_runner import ProducerRunner
from tailrace.kafka.topic_limits import TopicLimits
from tailrace.worker import enumerator


def hold_at_once(claiming: Claiming) -> bool:
    """Take a claim for held that does not show yet."""
    if claiming.state is ClaimState.CATCHING_UP:
        claiming.state = ClaimState.HELD
    return claiming.state is ClaimState.HELD


MUTATIONS: dict[str, Callable[[], AbstractContextManager[None]]] = {}
FOUND_IN: dict[str, str] = {
    "child_before_its_second_parents_end": LOG.name,
    "page_taken_for_one_of_its_tables": LOG.name,
    "read_whether_there_is_memory_or_not": LOG.name,
    "retention_of_another_source": LOG.name,
    "subscription_read_on_where_it_is_not": LOG.name,
}
"""The model source in which a mutation is looked for; `streams` for all others."""


def mutation(plant: Callable[[], Iterator[None]]) -> Callable[[], AbstractContextManager[None]]:
    """Keep a mutation under its name."""
    MUTATIONS[plant.__name__] = contextlib.contextmanager(plant)
    return MUTATIONS[plant.__name__]


def replace(name: str, target: object, attribute: str, replacement: object) -> None:
    """Keep a mutation that puts something else in the place of a function."""

    def plant() -> Iterator[None]:
        with patch.object(target, attribute, replacement):
            yield

    plant.__name__ = name
    mutation(plant)


# Claiming a lane

replace("claim_not_read_up_to", Claiming, "look", hold_at_once)
replace("stale_epoch_accepted", Lane, "_is_stale", lambda *_: False)


@mutation
def no_claim() -> Iterator[None]:
    """What the checkpoint state shows when the producer is open is taken for all there is."""

    def handle(claiming: Claiming, _answer: ProducerAnswer) -> None:
        claiming.state = ClaimState.CATCHING_UP

    with patch.object(Claiming, "handle", handle), patch.object(Claiming, "look", hold_at_once):
        yield


@mutation
def no_fence() -> Iterator[None]:
    """Each worker has a transactional id of its own."""
    original = SimulatedWorker.make_producer

    def make(worker: SimulatedWorker, own: Mapping[str, Any]) -> ModelProducer:
        return original(worker, {**own, "transactional.id": f"{own['transactional.id']} of {worker.host.name}"})

    with patch.object(SimulatedWorker, "make_producer", make):
        yield


@mutation
def enumerator_that_has_not_seen_all_lanes() -> Iterator[None]:
    def look(claiming: Claiming) -> bool:
        return claiming._shows(claiming._claim[0]) and hold_at_once(claiming)

    with patch.object(Claiming, "look", look):
        yield


replace("stopped_follower_kept", ClientWatch, "must_replace", lambda _: False)


# Transactions


@mutation
def checkpoint_outside_the_transaction() -> Iterator[None]:
    """The checkpoints follow in the next transaction."""
    original = CommitBuffer.cut

    def cut(commit_buffer: CommitBuffer, max_changes: int, max_bytes: int, now_ms: int) -> Transaction:
        transaction = original(commit_buffer, max_changes, max_bytes, now_ms)
        late = [write for write in transaction.writes if isinstance(write.record, Checkpoint)]
        if not transaction.pages or not late:
            return transaction
        commit_buffer.add_writes(tuple(late), now_ms)
        return Transaction(transaction.pages, tuple(write for write in transaction.writes if write not in late))

    with patch.object(CommitBuffer, "cut", cut):
        yield


@mutation
def page_split_across_commits() -> Iterator[None]:
    """The second half of a page comes in the next transaction, its checkpoint in the first."""
    original = CommitBuffer.cut

    def cut(commit_buffer: CommitBuffer, max_changes: int, max_bytes: int, now_ms: int) -> Transaction:
        transaction = original(commit_buffer, max_changes, max_bytes, now_ms)
        if not commit_buffer._under_way:
            return transaction
        entry = commit_buffer._under_way[-1]
        half = len(entry.page.records) // 2
        if half == 0:
            return transaction
        first = msgspec.structs.replace(entry.page, records=entry.page.records[:half])
        rest = msgspec.structs.replace(entry.page, records=entry.page.records[half:], set_aside={})
        commit_buffer._waiting.appendleft(entry._replace(page=rest))
        commit_buffer._count(rest, 1)
        commit_buffer._note_age(now_ms)
        return Transaction((*transaction.pages[:-1], first), transaction.writes)

    with patch.object(CommitBuffer, "cut", cut):
        yield


@mutation
def producer_used_again_after_an_unknown_outcome() -> Iterator[None]:
    original = ProducerRunner.carry_out

    def carry_out(runner: ProducerRunner, command: ProducerCommand, **timeouts: float) -> ProducerAnswer | None:
        if isinstance(command, CloseProducer):
            return None
        if isinstance(command, OpenProducer) and runner._producer is not None:
            runner._producer._epoch = command.epoch
            runner._producer._failures.clear()
            return ProducerOpened(command.epoch)
        answer = original(runner, command, **timeouts)
        if isinstance(answer, ProducerLost) and answer.fenced:
            runner._producer = None
        return answer

    with patch.object(ProducerRunner, "carry_out", carry_out):
        yield


replace("commit_that_was_sent_twice_trusted", lane_producer, "_BACKOFF_JITTER", -1_000)


@mutation
def unknown_outcome_taken_for_success() -> Iterator[None]:
    original = LaneProducer.commit

    def commit(producer: LaneProducer, transaction: Transaction, timeout_s: float) -> Committed | ProducerLost:
        answer = original(producer, transaction, timeout_s)
        if isinstance(answer, ProducerLost) and "TIMED_OUT" in answer.reason:
            return Committed(answer.epoch)
        return answer

    with patch.object(LaneProducer, "commit", commit):
        yield


@mutation
def uncommitted_records_seen() -> Iterator[None]:
    """The follower reads with read_uncommitted: a parent's end that is never committed, too."""

    def committed(log: Log, offset: int, most: int) -> tuple[list[Entry], int]:
        found = [entry for entry in log.entries if entry.offset >= offset][:most]
        return found, found[-1].offset + 1 if found else offset

    with patch.object(Log, "committed", committed):
        yield


# Order

replace("child_before_its_parents_end", CheckpointState, "may_begin", lambda *_: True)
replace(
    "child_before_its_second_parents_end",
    CheckpointState,
    "may_begin",
    lambda state, shard: (
        not state.shards[shard].parents or any(state.ended(parent) for parent in state.shards[shard].parents)
    ),
)
replace(
    "sequence_numbers_compared_as_text",
    tailrace.core.page,
    "is_after",
    lambda one, other: other is None or one > other,
)
replace("repeats_published", Page, "without_repeats", lambda page, _: page)
replace(
    "answers_to_given_up_reads_taken",
    LaneReads,
    "answered",
    lambda reads, answer: reads._under_way.discard(answer.ticket) or reads._shard_states.get(answer.shard),
)


@mutation
def checkpoint_state_trusted_instead_of_own_commits() -> Iterator[None]:
    original = LaneShards._restart

    def restart(shards: LaneShards, shard: ShardRef) -> ShardState:
        shards._publishing.committed = shards._checkpoint_state.checkpoints_of(shards._lane)
        return original(shards, shard)

    with patch.object(LaneShards, "_restart", restart):
        yield


# Reading


@mutation
def iterator_used_again_after_its_expiry() -> Iterator[None]:
    original = LaneShards.read_failed

    def read_failed(shards: LaneShards, event: ReadFailed, shard_state: ShardState, turn: Turn) -> None:
        if event.failure is ReadFailure.EXPIRED:
            event = msgspec.structs.replace(event, failure=ReadFailure.UNAVAILABLE)
        original(shards, event, shard_state, turn)

    with patch.object(LaneShards, "read_failed", read_failed):
        yield


replace("shard_taken_for_gone_at_the_first_denial", ShardState, "believed", lambda _, failure, _now_ms: failure)
replace("gap_ignored", ShardState, "forgives", lambda *_: True)
replace("gap_never_accepted", CheckpointState, "is_accepted", lambda *_: False)
replace("acceptance_for_good", ShardState, "_is_accepted", lambda shard_state, _: shard_state.accepted_ms > 0)
replace("head_never_looked_at", ShardState, "may_have_lost_its_head", lambda *_: False)


@mutation
def empty_page_taken_for_the_present_end() -> Iterator[None]:
    original = ShardState.took

    def took(shard_state: ShardState, *args: Any, **keywords: Any) -> None:
        shard_state.source = msgspec.structs.replace(shard_state.source, caught_up_reads=1)
        original(shard_state, *args, **keywords)

    with patch.object(ShardState, "took", took):
        yield


@mutation
def page_taken_for_one_of_its_tables() -> Iterator[None]:
    original = Converter.convert

    def convert(converter: Converter, shard: ShardRef, source: SourcePage, now_ns: int) -> Page:
        records = [
            msgspec.structs.replace(
                each, origin=msgspec.structs.replace(each.origin, table=source.records[0].origin.table)
            )
            for each in source.records
        ]
        return original(converter, shard, msgspec.structs.replace(source, records=records), now_ns)

    with patch.object(Converter, "convert", convert):
        yield


replace("subscription_read_on_where_it_is_not", PushingReader, "_has_moved", lambda *_: False)
replace(
    "retention_of_another_source",
    simulation.world,
    "_options",
    lambda _policy, _options=simulation.world._options, **options: _options(STREAMS.policy, **options),
)
replace("read_whether_there_is_memory_or_not", MemoryBudget, "fits", lambda *_: True)
replace("lane_that_forgets_to_wake_up", Lane, "_next_wake_ms", lambda *_: None)


@mutation
def sequence_forgotten_at_an_accepted_gap() -> Iterator[None]:
    original = LaneShards.read_failed

    def read_failed(shards: LaneShards, event: ReadFailed, shard_state: ShardState, turn: Turn) -> None:
        original(shards, event, shard_state, turn)
        if shard_state.trimmed:
            shard_state.sequence, shard_state.trimmed = None, False

    with patch.object(LaneShards, "read_failed", read_failed):
        yield


@mutation
def head_not_looked_at_when_a_page_comes() -> Iterator[None]:
    original = LaneShards.page_read

    def page_read(shards: LaneShards, page: Page, shard_state: ShardState, turn: Turn) -> None:
        with patch.object(ShardState, "may_have_lost_its_head", lambda *_: False):
            original(shards, page, shard_state, turn)

    with patch.object(LaneShards, "page_read", page_read):
        yield


replace("every_refused_record_taken_for_too_large", lane_producer._Failure, "size_bytes", 1 << 40)
replace("batches_never_smaller_after_a_refusal", TopicLimits, "refused", lambda *_: None)


@mutation
def refusals_forgotten_behind_a_failed_batch() -> Iterator[None]:
    """It waits past the first failure, and then only knows that the time ran out."""
    with (
        patch.object(LaneProducer, "_check_delivery", lambda _: None),
        patch.object(LaneProducer, "_refusals", lambda *_: ((), False)),
    ):
        yield


# Listing


@mutation
def latest_for_a_child() -> Iterator[None]:
    original = tailrace.core.discovery.reconcile

    def reconcile(*args: Any, **keywords: Any) -> tailrace.core.discovery.Reconciliation:
        found = original(*args, **keywords)
        writes = [
            msgspec.structs.replace(write, record=msgspec.structs.replace(write.record, start="LATEST"))
            if isinstance(write.key, ShardKey) and write.record is not None
            else write
            for write in found.writes
        ]
        return msgspec.structs.replace(found, writes=tuple(writes))

    with patch.object(enumerator, "reconcile", reconcile):
        yield


replace("hole_taken_for_the_truth", tailrace.core.discovery, "_hold_back", lambda *_: (set(), set()))
replace("late_shard_counted_from_now", tailrace.core.discovery, "_unread_since_ms", lambda *args: args[-1])
replace(
    "shard_closed_when_its_end_was_read",
    CheckpointState,
    "closed_after_ms",
    lambda checkpoint_state, ended: checkpoint_state.checkpoints[ended].at_ms,
)
replace(
    "tombstone_too_early",
    tailrace.core.discovery,
    "_is_done",
    lambda checkpoint_state, shard, **_: checkpoint_state.ended(shard),
)
replace("table_of_a_newer_file_left_out", tailrace.core.definition, "wants", lambda *_: False)


@mutation
def checkpoint_forgotten_before_its_lineage() -> Iterator[None]:
    """A lane drops the checkpoints of shards that have ended, whatever the enumerator says."""
    original = LaneShards.sync

    def sync(shards: LaneShards, turn: Turn) -> None:
        original(shards, turn)
        publishing = shards._publishing
        ended = [shard for shard, checkpoint in publishing.committed.items() if checkpoint.state == "ended"]
        if ended and not publishing.buffer.has_waiting:
            del publishing.committed[ended[0]]
            publishing.buffer.add_writes((Write(shards._lane, CheckpointKey(*ended[0]), None),), turn.now_ms)

    with patch.object(LaneShards, "sync", sync):
        yield
