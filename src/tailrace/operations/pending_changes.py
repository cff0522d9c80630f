"""The changes in flight of a table: those that its stream holds and its topics do not hold yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from tailrace.config import Pipeline
from tailrace.core.checkpoint import ShardRecord
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.ports import ReadError, ReadFailure, Source, SourceRecord
from tailrace.core.shard import Position, ShardRef, is_after
from tailrace.core.shard_state import ShardState
from tailrace.core.tails import tails_of_ancestors
from tailrace.errors import WorldError
from tailrace.kafka import membership
from tailrace.kafka.checkpoint_topic import Follower, check_rescaled, topic_name
from tailrace.sources.shard_range import read_pages
from tailrace.wiring.table_choice import list_tables

_AT_ONCE: Final = 8
_PAUSE_S: Final = 0.1
"""Between two empty pages of a shard."""
_READ_TIMEOUT_S: Final = 30.0

Ends = Mapping[ShardRef, str]
"""The sequence number of the last change of each shard that has unpublished ones."""
Take = Callable[[ShardRef, Sequence[SourceRecord]], None]


class PendingChanges:
    """Reads the unpublished changes of one table again and again. A context manager; for one thread."""

    def __init__(self, pipeline: Pipeline, source: Source, table: str, lanes: int) -> None:
        self._pipeline = pipeline
        self._source = source
        self._table = table
        self._pause_s = max(_PAUSE_S, source.policy.read_interval_ms / 1000)
        self._follower = Follower(pipeline.kafka, pipeline.name, range(lanes), to_end=True)
        self.checkpoint_state = CheckpointState(lanes)

    def __enter__(self) -> PendingChanges:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the follower."""
        self._follower.close()

    def has_workers(self) -> bool:
        """Return whether a worker is a member of the pipeline's group."""
        return bool(membership.describe(self._pipeline.kafka, self._pipeline.name).members)

    def is_served(self) -> bool:
        """Return whether anybody publishes: a worker is a member of the group, or Lambda is the method."""
        if self.checkpoint_state.method == "worker":
            return self.has_workers()
        return self.checkpoint_state.method == "lambda"

    def await_delivery(self) -> None:
        """Return once every change made before this call has surely come into the stream."""
        time.sleep(self._source.policy.delivery_ms / 1000)

    def read(self, take: Take) -> Ends:
        """Hand every change that is not published yet to `take`, in several threads; return where they end.

        All changes that came into the stream before this call are published or among them. Raises ReadError and
        WorldError.
        """
        self._catch_up()
        is_served = self.is_served()
        waiting, ends = set(self._shards()), {}
        seen = set(waiting)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="stream") as pool:
            while waiting:
                read = pool.map(lambda shard: self._read_shard(shard, take, is_served=is_served), sorted(waiting))
                found = list(zip(sorted(waiting), read, strict=True))
                waiting = set()
                for shard, (end, children) in found:
                    if end is not None:
                        ends[shard] = end
                    waiting |= children - seen
                seen |= waiting
        return ends

    def wait_published(self, ends: Ends, timeout_s: float) -> bool:
        """Return whether everything up to `ends` is published, waiting for it. Raises WorldError."""
        return self._follower.read_until(
            lambda: all(self._is_published(shard, end) for shard, end in ends.items()),
            self.checkpoint_state.apply,
            timeout_s,
        )

    def _catch_up(self) -> None:
        """Read the checkpoint topic to its present end."""
        if not self._follower.read_until(
            lambda: self._follower.has_reached_end, self.checkpoint_state.apply, _READ_TIMEOUT_S
        ):
            raise WorldError(
                f"{topic_name(self._pipeline.name)} could not be read to its end within {_READ_TIMEOUT_S:.0f} s",
                hint="check that its partitions have leaders",
            )
        while followed := self._follower.poll(0):
            for each in followed:
                self.checkpoint_state.apply(*each)
        check_rescaled(self._pipeline.name, self.checkpoint_state)

    def _shards(self) -> Iterable[ShardRef]:
        """Return the shards that are not published to their ends, as far as they are known."""
        # Where streams carry several tables, every stream may bring changes of the table.
        is_shared = self._source.policy.carries_tables
        entries = list_tables(self._pipeline.source, self._source) if is_shared else [self._table]
        return (shard for entry in entries for shard in self._shards_of(entry))

    def _shards_of(self, entry: str) -> Iterable[ShardRef]:
        state = self.checkpoint_state
        current = self._source.table_stream(entry).stream
        streams = {*state.streams_of(entry), *([current] if current else [])}
        known = {shard for stream in streams for shard in state.shards_of_stream(stream)}
        known |= {shard for shard, checkpoint in state.checkpoints.items() if checkpoint.table == entry}
        parents = {parent for shard in known if (record := state.shards.get(shard)) for parent in record.parents}
        if current is not None:
            for listed in self._source.shards(current).shards:
                known.add(ShardRef(current, listed.shard_id))
                parents |= {ShardRef(current, parent_id) for parent_id in listed.parent_ids}
        for shard in [each for each in known - parents if each.stream == current and state.ended(each)]:
            # A listing is eventually consistent: a shard that has ended has children.
            known |= {ShardRef(shard.stream, each.shard_id) for each in self._source.children(shard)}
        return (shard for shard in known if not state.ended(shard) and not self._is_left_out(shard))

    def _is_left_out(self, shard: ShardRef) -> bool:
        record = self.checkpoint_state.shards.get(shard)
        return record is not None and record.start == "END"

    def _read_shard(self, shard: ShardRef, take: Take, *, is_served: bool) -> tuple[str | None, set[ShardRef]]:
        """Return where a shard's unpublished changes end, and its children if it was read to its end."""
        if is_served or not self._source.policy.window_ms:
            return self._read_from(self._position(shard), shard, take)
        # No checkpoint moves on behind repeats, so they must be told from changes here. That means reading the window
        # again, which takes long: only where there is something to tell.
        end, children = self._read_from(self._position(shard), shard, lambda _shard, _changes: None, only_first=True)
        if end is None:
            return None, children
        return self._read_from(self._position(shard, with_tails=True), shard, take)

    def _read_from(
        self, position: Position, shard: ShardRef, take: Take, *, only_first: bool = False
    ) -> tuple[str | None, set[ShardRef]]:
        last, bound, empty_pages = None, None, 0
        try:
            for page in read_pages(self._source, shard, position):
                if page.records:
                    changes = [each for each in page.records if each.skipped is None]
                    take(shard, [each for each in changes if each.origin.table == self._table])
                    if changes:
                        last = changes[-1].origin.sequence
                        if only_first:
                            return last, set()
                    empty_pages = 0
                    bound = bound or self._newest(shard)
                    if bound is not None and not is_after(bound, page.records[-1].origin.sequence):
                        return last, set()
                    continue
                empty_pages += not page.full  # it may hold changes back
                if page.next_iterator is not None and empty_pages == self._source.policy.caught_up_reads:
                    return last, set()
                time.sleep(self._pause_s)
            return last, {ShardRef(shard.stream, each.shard_id) for each in self._source.children(shard)}
        except ReadError as error:
            if error.failure in {ReadFailure.GONE, ReadFailure.TRIMMED}:
                return last, set()  # a gap: nothing of it is on its way
            raise

    def _newest(self, shard: ShardRef) -> str | None:
        """Return the sequence number of a change made behind this call; None when none comes.

        Without it, a shard that is written to all the time would be read for ever.
        """
        for number, page in enumerate(read_pages(self._source, shard, Position("LATEST")), 1):
            if page.records:
                return page.records[0].origin.sequence
            if number == self._source.policy.caught_up_reads:
                break
        return None

    def _position(self, shard: ShardRef, *, with_tails: bool = False) -> Position:
        state = self.checkpoint_state
        checkpoint = state.checkpoints.get(shard)
        # Lambda keeps no lineage.
        record = state.shards.get(shard) or ShardRecord(
            table=self._table, parents=(), start="TRIM_HORIZON", seen_ms=0, initial=False
        )
        resumed = ShardState.resume(shard, record, checkpoint, source=self._source.policy, accepted=True)
        if not with_tails:
            return msgspec.structs.replace(resumed.position(), tails=())
        resumed.tails = tails_of_ancestors(state, shard, self._source.policy.window_ms)
        return resumed.position()

    def _is_published(self, shard: ShardRef, end: str) -> bool:
        checkpoint = self.checkpoint_state.checkpoints.get(shard)
        if checkpoint is None:
            return False
        return checkpoint.state == "ended" or not is_after(end, checkpoint.sequence)
