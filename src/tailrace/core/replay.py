"""The course of a replay: which shards are read next, what of a page is published, when there is no more. Pure.

A shard's next page is read only once the page before is committed, and a shard only once all of its parents are: so a
replay keeps the order of items, and what is read at the end shows whether anything was changed before the last commit.
Of the shards that may be read, those that are least advanced come first, so that all move through the time together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from enum import StrEnum
from typing import Final

import msgspec

from tailrace.core.change import Origin
from tailrace.core.pacing import Backoff
from tailrace.core.ports import ReadFailure, SourcePage
from tailrace.core.shard import ListedShard, Position, ShardRef
from tailrace.core.source_policy import SourcePolicy

TIMES_GO_BACK_MS: Final = 60_000
"""Creation times are approximate: within a shard they go back by less than this."""
PAUSE_MS: Final = 200
"""Pause of an open shard after a page that was not full."""
QUIET_READS: Final = 20
"""So many empty pages in a row are the end of an open shard: in its middle one or some may come."""
FOLLOWED_READS: Final = 50
"""So many pages in a row that were not full show that a shard is read as fast as it is written."""
FAILURES_MAX: Final = 10
"""How often in a row a shard may fail to be read."""
_BACKOFF: Final = Backoff(200, 20_000)
_DENIED_PAUSE_MS: Final = 1_000

_TRIM_HORIZON: Final = Position("TRIM_HORIZON")


class Span(msgspec.Struct, frozen=True):
    """Which changes are replayed, by their creation times, both ends included."""

    from_ms: int | None
    """None: from the oldest change that the stream holds."""
    to_ms: int | None
    """None: until all shards are read to their ends of now."""


class Phase(StrEnum):
    """Where a shard is."""

    WAITING = "waiting"
    """Some of its parents are not published."""
    READING = "reading"
    ENDED = "ended"
    """Published to its end."""
    QUIET = "quiet"
    """It is open, and nothing has come since its last page was committed."""
    BUSY = "busy"
    """It is open, and written to all the time: read as far as it was written."""
    PAST = "past"
    """All that comes in it, and in its descendants, is later than the span."""
    GONE = "gone"
    """The stream no longer has it."""


_PUBLISHED: Final = {Phase.ENDED, Phase.GONE}


class ReplayShard(msgspec.Struct):
    """One shard of the stream, and how far it is."""

    ref: ShardRef
    parent_ids: tuple[str, ...]
    closed: bool
    phase: Phase = Phase.WAITING
    position: Position = _TRIM_HORIZON
    iterator: str | None = None
    floor_ms: int = 0
    """All of it that was created before is committed, but for times that go back."""
    ready_ms: int = 0
    empty_reads: int = 0
    partial_reads: int = 0
    """Empty pages, and pages that were not full, in a row."""
    failures: int = 0
    denied_since_ms: int | None = None


class Course:
    """All shards of one stream."""

    def __init__(self, stream: str, span: Span, policy: SourcePolicy, jitter: Callable[[], float]) -> None:
        """`jitter` draws from [0, 1)."""
        self.stream = stream
        self._span = span
        self._policy = policy
        self._jitter = jitter
        self.shards: dict[str, ReplayShard] = {}
        self.trimmed: set[str] = set()
        """Shards of which the stream trimmed changes while they were read."""
        self._gone_parents: set[str] = set()
        self.changed_ms = 0
        """When a shard was last found or read to its end."""

    # Shards

    def take_listing(self, listing: Iterable[ListedShard], now_ms: int) -> None:
        """Take in a listing; one may have holes, so what an earlier one showed stays."""
        closed = set[str]()
        for each in listing:
            if each.closed:
                closed.add(each.shard_id)
            if each.shard_id not in self.shards:
                ref = ShardRef(self.stream, each.shard_id)
                self.shards[each.shard_id] = ReplayShard(ref, each.parent_ids, each.closed)
                self.changed_ms = now_ms
        closed |= self._parents
        for name, known in self.shards.items():
            known.closed = known.closed or name in closed
            if known.closed and known.phase in {Phase.QUIET, Phase.BUSY}:
                known.phase = Phase.READING  # to its very end, before its children
                self.changed_ms = now_ms
        self._release()

    @property
    def unlisted_parents(self) -> set[str]:
        """Parents that no listing showed: they are gone, or were in its holes."""
        return self._parents - self.shards.keys() - self._gone_parents

    def forget_parents(self, gone: Collection[str]) -> None:
        """Take in that the stream surely no longer has these shards."""
        self._gone_parents.update(gone)
        self._release()

    @property
    def childless(self) -> list[str]:
        """Shards that ended and whose children no listing has shown yet."""
        parents = self._parents
        return [name for name, shard in self.shards.items() if shard.phase is Phase.ENDED and name not in parents]

    def is_read(self) -> bool:
        """Return whether nothing is left to read, as far as the shards are known."""
        return not any(shard.phase is Phase.READING for shard in self.shards.values())

    @property
    def missing(self) -> list[str]:
        """What the listings lack: shards that must be there, and shards whose children must be."""
        return sorted({*self.unlisted_parents, *self.childless})

    @property
    def _parents(self) -> set[str]:
        """The parents of all shards that are known."""
        return {parent for shard in self.shards.values() for parent in shard.parent_ids}

    def _release(self) -> None:
        """Let shards be read whose parents are all published."""
        is_new = True
        while is_new:
            is_new = False
            for shard in self.shards.values():
                if shard.phase is Phase.WAITING and (phase := self._phase_by_parents(shard)) is not Phase.WAITING:
                    shard.phase = phase
                    known = [self.shards[parent] for parent in shard.parent_ids if parent in self.shards]
                    shard.floor_ms = min((parent.floor_ms for parent in known), default=0)
                    is_new = True

    def _phase_by_parents(self, shard: ReplayShard) -> Phase:
        parents = [self.shards.get(parent) for parent in shard.parent_ids if parent not in self._gone_parents]
        if any(parent is not None and parent.phase is Phase.PAST for parent in parents):
            return Phase.PAST
        if all(parent is not None and parent.phase in _PUBLISHED for parent in parents):
            return Phase.READING
        return Phase.WAITING

    # Reading

    def next(self, now_ms: int, most: int) -> list[ReplayShard]:
        """Return the shards to read now, the least advanced first."""
        ready = [each for each in self.shards.values() if each.phase is Phase.READING and each.ready_ms <= now_ms]
        return sorted(ready, key=lambda shard: shard.floor_ms)[:most]

    def wake_ms(self) -> int | None:
        """Return when the next shard may be read; None when there is none."""
        reading = (shard.ready_ms for shard in self.shards.values() if shard.phase is Phase.READING)
        return min(reading, default=None)

    def wanted(self, page: SourcePage) -> SourcePage:
        """Return the page with only the changes of the span."""
        records = [record for record in page.records if self._is_wanted(record.origin)]
        return page if len(records) == len(page.records) else msgspec.structs.replace(page, records=records)

    def _is_wanted(self, origin: Origin) -> bool:
        from_ms, to_ms = self._span.from_ms, self._span.to_ms
        return (from_ms is None or self._policy.created_before_ms(origin.created_ms) > from_ms) and (
            to_ms is None or origin.created_ms <= to_ms
        )

    def take_page(self, shard: ReplayShard, page: SourcePage, now_ms: int) -> None:
        """Go on behind a page, as it was read, once what is wanted of it is committed."""
        shard.failures, shard.denied_since_ms = 0, None
        shard.iterator = page.next_iterator
        created = [record.origin.created_ms for record in page.records]
        if created:
            shard.position = Position("AFTER_SEQUENCE_NUMBER", page.records[-1].origin.sequence)
            shard.floor_ms = max(shard.floor_ms, *created)
        shard.empty_reads = 0 if created or page.full else shard.empty_reads + 1
        shard.partial_reads = 0 if page.full else shard.partial_reads + 1
        shard.ready_ms = now_ms if page.full or shard.closed else now_ms + PAUSE_MS
        to_ms = self._span.to_ms
        if page.next_iterator is None:
            shard.phase = Phase.ENDED
            self.changed_ms = now_ms
        elif to_ms is not None and created and min(created) > to_ms + TIMES_GO_BACK_MS:
            shard.phase = Phase.PAST
        elif shard.closed:
            return
        elif shard.empty_reads >= QUIET_READS:
            shard.phase = Phase.QUIET
        elif shard.partial_reads >= FOLLOWED_READS:
            shard.phase = Phase.BUSY
        if shard.phase in {Phase.ENDED, Phase.PAST}:
            self._release()

    def take_failure(self, shard: ReplayShard, failure: ReadFailure, now_ms: int) -> bool:
        """Decide what follows a read that failed; return whether there is any use in going on."""
        if failure is ReadFailure.EXPIRED and shard.iterator is not None:
            shard.iterator = None
        elif failure is ReadFailure.TRIMMED and shard.position != _TRIM_HORIZON:
            self.trimmed.add(shard.ref.shard_id)
            shard.position, shard.iterator = _TRIM_HORIZON, None
        elif failure in {ReadFailure.GONE, ReadFailure.TRIMMED}:
            since_ms = now_ms if shard.denied_since_ms is None else shard.denied_since_ms
            shard.denied_since_ms, shard.ready_ms = since_ms, now_ms + _DENIED_PAUSE_MS
            if now_ms - since_ms >= self._policy.gone_after_ms:
                shard.phase = Phase.GONE
                if shard.position != _TRIM_HORIZON:
                    self.trimmed.add(shard.ref.shard_id)
                self._release()
        else:
            shard.failures += 1
            shard.ready_ms = now_ms + _BACKOFF.pause_ms(shard.failures, self._jitter())
            return failure is not ReadFailure.DENIED and shard.failures < FAILURES_MAX
        return True

    # Where it is

    @property
    def busy(self) -> list[str]:
        """Shards that were written to all the time."""
        return [name for name, shard in self.shards.items() if shard.phase is Phase.BUSY]

    def resume_ms(self, begun_ms: int) -> int | None:
        """Return from when on a replay that goes on has to begin; None: at the beginning of this one.

        Everything before is committed. `begun_ms` is when this one began: where nothing is left, all before it is.
        """
        if not self.shards:
            return self._span.from_ms
        childless, unlisted = set(self.childless), self.unlisted_parents
        floors = [begun_ms if self._span.to_ms is None else min(begun_ms, self._span.to_ms)]
        for name, shard in self.shards.items():
            if shard.phase is Phase.READING or name in childless:
                floors.append(shard.floor_ms)
            elif shard.phase is Phase.WAITING and not unlisted.isdisjoint(shard.parent_ids):
                floors.append(0)
        first_ms, from_ms = min(floors) - TIMES_GO_BACK_MS, self._span.from_ms
        return from_ms if first_ms <= (from_ms or 0) else first_ms
