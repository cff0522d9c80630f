"""The operator accepts a table's gaps: `tailrace accept-gap`. The lanes and the enumerator then go on by themselves."""

from __future__ import annotations

import time

import msgspec

from tailrace.config import LoadedPipeline
from tailrace.core.checkpoint import AcceptKey, GapAccepted, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.gaps import acceptance_of, next_stream_of, unread_too_long
from tailrace.core.source_policy import SourcePolicy
from tailrace.errors import WorldError
from tailrace.kafka import checkpoint_topic, operator_records
from tailrace.moments import utc
from tailrace.operations import preconditions
from tailrace.remedy import CheckAcceptance, ShowStatus
from tailrace.wiring.sources import policy_of


class Loss(msgspec.Struct, frozen=True):
    """One gap: what is lost, and where."""

    stream_arn: str
    shard: str | None
    """None when the whole stream was replaced by another."""
    sequence: str | None
    """The last sequence number that is published; what comes after it is lost."""
    detail: str
    words: str
    """What is lost, for people."""


class Gaps(msgspec.Struct, frozen=True):
    """A table's gaps as they were found, and the record that accepts exactly those."""

    table: str
    losses: tuple[Loss, ...]
    acceptance: GapAccepted


def find_gaps(loaded: LoadedPipeline, table: str) -> Gaps:
    """Read which gaps a table has. Raises WorldError when it has none, or the pipeline does not know it."""
    pipeline = loaded.pipeline
    checkpoint_state = checkpoint_topic.read_checkpoint_state(
        pipeline.kafka, pipeline.name, preconditions.count_lanes(pipeline)
    )
    return gaps_of(checkpoint_state, table, policy_of(pipeline), time.time_ns() // 1_000_000)


def gaps_of(checkpoint_state: CheckpointState, table: str, source: SourcePolicy, now_ms: int) -> Gaps:
    """Find the gaps of `table` that nobody accepted, and what is accepted with them. Raises WorldError without a gap.

    The acceptance names all of the table's gaps, since it takes the place of an earlier one.
    """
    preconditions.require_tables(checkpoint_state, [table])
    record, accepted = checkpoint_state.tables.get(table), checkpoint_state.accepted.get(table)
    next_stream = next_stream_of(checkpoint_state, table)
    losses: list[Loss] = []
    if record is not None and next_stream is not None and (accepted is None or accepted.stream_arn != next_stream):
        words = f"what was changed in table {table} between the end of the stream {record.stream_arn} and {next_stream}"
        if source.replaced_is_gone:
            words = f"what was not published of the stream {record.stream_arn} when {next_stream} replaced it"
        losses.append(Loss(record.stream_arn or "", None, None, record.detail or "", words))
    shards = checkpoint_state.gaps_of(table)
    for shard in shards:
        checkpoint = checkpoint_state.checkpoints[shard]
        if not checkpoint_state.is_accepted(shard, checkpoint):
            words = f"what was changed in shard {shard.shard_id} {_since(checkpoint.sequence, checkpoint.created_ms)}"
            losses.append(Loss(*shard, checkpoint.sequence, checkpoint.detail or "", words))
    acceptance = acceptance_of(checkpoint_state, table, now_ms)
    if acceptance is None:
        accepted_already = " that is not accepted already" if shards or next_stream else ""
        raise WorldError(f"table {table} has no gap{accepted_already}", remedy=ShowStatus())
    for shard, since_ms in unread_too_long(checkpoint_state, table, source, now_ms):
        words = f"what the stream may have trimmed of shard {shard.shard_id} unread"
        losses.append(
            Loss(*shard, None, f"not read since {utc(since_ms)}, longer than the stream keeps changes", words)
        )
    return Gaps(table, tuple(losses), acceptance)


def accept(loaded: LoadedPipeline, gaps: Gaps) -> None:
    """Write the acceptance. Raises WorldError when Kafka does not confirm it."""
    operator_records.write(
        loaded.pipeline.kafka,
        loaded.pipeline.name,
        [Write(0, AcceptKey(gaps.table), gaps.acceptance)],
        attempted=f"accepting the gap of table {gaps.table}",
        unconfirmed=CheckAcceptance(),
    )


def _since(sequence: str | None, created_ms: int | None) -> str:
    until = "up to the oldest change that its stream still has"
    if sequence is None:
        return f"from its first change {until}"
    if created_ms is None:
        return f"after sequence number {sequence} {until}"
    return f"after {utc(created_ms)} (sequence number {sequence}) {until}"
