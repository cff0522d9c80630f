"""Reads a source's streams as far as they are published, for a switch: until when for certain, and what since."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from tailrace.core.change import ViewType
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.handover import CLOCKS_DIFFER_MS, digest_of
from tailrace.core.pacing import Backoff
from tailrace.core.ports import LogPage, LogReader, ReadError, ReadFailure
from tailrace.core.shard import ListedShard, Position, ShardRef, is_after
from tailrace.core.shard_state import ShardState
from tailrace.core.source_policy import SourcePolicy
from tailrace.errors import WorldError
from tailrace.operations.surroundings import Surroundings

_FAILURES_MAX: Final = 20
_BACKOFF: Final = Backoff(200, 5_000)
_PASSING: Final = {ReadFailure.THROTTLED, ReadFailure.UNAVAILABLE}


class Unpublished(NamedTuple):
    """Where the next changes of a shard begin that are to be published."""

    shard: ShardRef
    position: Position


class Published(NamedTuple):
    """A published change."""

    identity: bytes
    """What only its repeats share; empty where nothing is repeated."""
    table: str
    digest: bytes | None
    """What its record in another source shares (`core.handover`); None: that source has no such table."""


class Noted(NamedTuple):
    """Where the changes of a shard begin that are not older than a time."""

    since_ms: int
    sequence: str
    """Of the first one that `Position.since_ms` does not skip."""


class PublishedChanges:
    """Looks into the streams of one source, of which so much is published. Safe to call from many threads at once."""

    def __init__(
        self,
        log: LogReader,
        policy: SourcePolicy,
        checkpoint_state: CheckpointState,
        around: Surroundings,
        noted: dict[ShardRef, Noted],
    ) -> None:
        """`log` tells repeats as well; `checkpoint_state` says what is published.

        `noted` is kept up to date, for others that look into the same source later.
        """
        self._log = log
        self._policy = policy
        self._checkpoint_state = checkpoint_state
        self._around = around
        self._noted = noted

    def unpublished(self, stream: str, listing: Collection[ListedShard]) -> list[Unpublished | int]:
        """Return where the next changes of a stream are, as far as `listing` shows its shards.

        Where children are not listed yet it is a time: since when there may be such, milliseconds since the epoch.
        """
        state, now_ms = self._checkpoint_state, self._around.now_ms()
        known = state.shards_of_stream(stream)
        parents_of = {ShardRef(stream, each.shard_id): _refs(stream, each.parent_ids) for each in listing}
        parents_of.update((shard, state.shards[shard].parents) for shard in known)
        parents = {parent for each in parents_of.values() for parent in each}
        found: list[Unpublished | int] = []
        for shard in sorted(parents_of):
            unended = [each for each in parents_of[shard] if each in parents_of and not state.ended(each)]
            if state.ended(shard):
                closed_ms = state.closed_after_ms(shard)
                if shard not in parents and now_ms - closed_ms < self._policy.retention_ms:
                    found.append(closed_ms)
            elif shard not in known and not unended:
                found.append(Unpublished(shard, Position("TRIM_HORIZON")))
            elif shard in known and (shard in state.checkpoints or not unended):
                found += self._next_of(shard, now_ms)
        return found

    def _next_of(self, shard: ShardRef, now_ms: int) -> list[Unpublished | int]:
        record, checkpoint = self._checkpoint_state.shards[shard], self._checkpoint_state.checkpoints.get(shard)
        if checkpoint is None and record.start == "END":
            return []
        if checkpoint is None and record.start == "LATEST":
            return [record.seen_ms]
        state = ShardState.resume(shard, record, checkpoint, source=self._policy, accepted=False)
        position = msgspec.structs.replace(state.position(), tails=())
        if state.has_lost_nothing(now_ms):
            position = Position("TRIM_HORIZON")
        return [Unpublished(shard, position)]

    def oldest_ms(self, unpublished: Unpublished | int) -> int | None:
        """Return since when changes of a shard may be unpublished, by their arrival; None: all are published.

        Raises WorldError, also if changes are lost.
        """
        if isinstance(unpublished, int):
            return unpublished
        empty_reads, first_ms = 0, self._around.now_ms()
        for asked_ms, page in self._pages(*unpublished):
            if page.records:
                return min(record.arrived_ms for record in page.records)
            if page.next_iterator is None:
                return None
            empty_reads = 0 if page.full else empty_reads + 1
            if empty_reads == 1:
                first_ms = asked_ms
            if empty_reads >= self._policy.caught_up_reads:
                break
        return first_ms

    def since(self, shard: ShardRef, from_ms: int, view_types: Mapping[str, ViewType]) -> list[Published]:
        """Return the published changes of a shard that were made since a time. Raises WorldError.

        `view_types` are those of the tables that are compared.
        """
        checkpoint = self._checkpoint_state.checkpoints.get(shard)
        if checkpoint is None or checkpoint.sequence is None:
            return []
        last_ms = checkpoint.created_ms if checkpoint.arrived_ms is None else checkpoint.arrived_ms
        if (last_ms or 0) < from_ms - CLOCKS_DIFFER_MS:
            return []
        since_ms = from_ms - CLOCKS_DIFFER_MS
        found, empty_reads, has_met = list[Published](), 0, False
        for _, page in self._pages(shard, self._beginning(shard, since_ms)):
            if page.records and not has_met:
                has_met = True
                self._noted[shard] = Noted(since_ms, page.records[0].record.origin.sequence)
            for each in page.records:
                if is_after(each.record.origin.sequence, checkpoint.sequence):
                    return found
                change = each.record.change
                if change is not None and not 0 < change.created_ms < from_ms:
                    view_type = view_types.get(change.table)
                    digest = digest_of(change, view_type) if view_type is not None else None
                    found.append(Published(each.identity, change.table, digest))
            if page.records and page.records[-1].record.origin.sequence == checkpoint.sequence:
                break
            empty_reads = 0 if page.records or page.full else empty_reads + 1
            if empty_reads >= self._policy.caught_up_reads:
                break
        return found

    def _beginning(self, shard: ShardRef, since_ms: int) -> Position:
        """Return where to read a shard that is needed since a time: DynamoDB Streams cannot seek one."""
        noted = self._noted.get(shard)
        if noted is None or noted.since_ms > since_ms:
            return Position("TRIM_HORIZON", since_ms=since_ms)
        return Position("AT_SEQUENCE_NUMBER", noted.sequence, since_ms=since_ms)

    def _pages(self, shard: ShardRef, position: Position) -> Iterator[tuple[int, LogPage]]:
        """Yield the pages of a shard, each with when it was asked for, to its end. Raises WorldError."""
        iterator, failures = None, 0
        while True:
            asked_ms = self._around.now_ms()
            try:
                page = self._log.read(shard, position, iterator)
            except ReadError as error:
                failures += 1
                if error.failure not in {*_PASSING, ReadFailure.EXPIRED} or failures > _FAILURES_MAX:
                    raise WorldError(error.message, hint=error.hint) from error
                iterator = None
                self._around.sleep(_BACKOFF.pause_ms(failures, 0.5) / 1000)
                continue
            failures = 0
            yield asked_ms, page
            iterator = page.next_iterator
            if iterator is None:
                return
            if page.records:
                last = page.records[-1].record.origin.sequence
                position = Position("AFTER_SEQUENCE_NUMBER", last, since_ms=position.since_ms)
            left_ms = self._policy.next_read_ms(asked_ms, page.size_bytes) - self._around.now_ms()
            if left_ms > 0:
                self._around.sleep(left_ms / 1000)


def _refs(stream: str, shard_ids: Collection[str]) -> tuple[ShardRef, ...]:
    return tuple(ShardRef(stream, each) for each in shard_ids)
