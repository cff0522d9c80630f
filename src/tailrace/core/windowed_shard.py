"""Reads one shard of a stream that repeats its changes: its tails first, then on from the position, without repeats."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from tailrace.core.change import Change
from tailrace.core.change_window import ChangeWindow, Verdict, WindowBudget
from tailrace.core.handover import Overlap
from tailrace.core.ports import LogPage, LogRecord, ReadFailure, SourcePage, SourceRecord
from tailrace.core.reordering import Reordering
from tailrace.core.shard import Position, ShardRef, Tail, is_after

Late = Literal["flag", "reorder", "drop"]
"""What becomes of a change that is older than one of its item that is published: `reorder` holds changes back to put
them in order, and flags those that come later still."""

_HELD_BYTES: Final = 4 << 20
"""Most that a shard holds back to put changes in order."""


class WindowOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says of repeats and late changes."""

    window_ms: int
    late: Late = "flag"
    late_wait_ms: int = 2_000


class LogRead(NamedTuple):
    """What to read next."""

    shard: ShardRef
    position: Position
    iterator: str | None


class WindowedShard:
    """One session of a shard, from a position on. A page that was answered is not forgotten: lost, it needs another
    session."""

    def __init__(
        self,
        shard: ShardRef,
        position: Position,
        options: WindowOptions,
        budget: WindowBudget,
        *,
        flagged: Callable[[SourceRecord, ShardRef], SourceRecord],
        change_of: Callable[[SourceRecord, ShardRef], Change | None],
        is_wanted: Callable[[str], bool],
    ) -> None:
        """Begin with the tails of `position`.

        `flagged` makes the late one of a shard's record; `change_of` returns its change, None if it is none;
        `is_wanted` tells whether a table is published.
        """
        self.window = ChangeWindow(options.window_ms, budget)
        self._shard = shard
        self._begins_at = position
        self._position = msgspec.structs.replace(position, tails=(), handover=None)
        self._holds = {shard, *(tail.shard for tail in position.tails)}
        """The shards of which the window holds the tails, once they are read."""
        self._tails = deque(position.tails)
        self._drops_late = options.late == "drop"
        self._reordering = Reordering(options.late_wait_ms, _HELD_BYTES) if options.late == "reorder" else None
        self._flagged = flagged
        self._change_of = change_of
        self._is_wanted = is_wanted
        self._overlap = Overlap(position.handover) if position.handover is not None else None
        """While changes may come that another source has published."""
        self._overlap_from: str | None = None
        """The first record of the shard itself in that time."""
        self._repeats = options.window_ms > 0
        self._iterator: str | None = None
        self._has_begun = False
        """A page of the shard itself was read."""
        self._sequence = position.sequence
        """All up to here was returned, or is published."""

    def take_over(self, ended: Mapping[ShardRef, WindowedShard]) -> None:
        """Take over what sessions that read ancestors to their ends hold, instead of reading their tails again.

        Call it before the first read. What they hold follows from the stream, whoever published it.
        """
        if self._overlap is not None:
            return  # what they left out has to be counted again
        windows: list[ChangeWindow] = []
        held = set[ShardRef]()
        for tail in reversed(self._tails):
            if tail.shard not in {self._shard, *held} and (session := ended.get(tail.shard)) is not None:
                windows.append(session.window)
                held |= session._holds
        self.window.take_over(windows)
        self._tails = deque(tail for tail in self._tails if tail.shard not in held)

    def is_at(self, position: Position) -> bool:
        """Return whether a new session at `position` would know no less: only the tails of ancestors were read."""
        return position == self._begins_at and not self._has_begun

    @property
    def is_needed(self) -> bool:
        """Whether reading on without it would publish what is to be left out."""
        return self._repeats or self._overlap is not None or bool(self._tails) or not self._has_begun

    def next_read(self) -> LogRead:
        """Return what to read next."""
        if not self._tails:
            return LogRead(self._shard, self._position, self._iterator)
        tail = self._tails[0]
        begins = Position("TRIM_HORIZON", since_ms=tail.since_ms)
        if tail.first is not None:
            begins = Position("AT_SEQUENCE_NUMBER", tail.first)
        return LogRead(tail.shard, begins, self._iterator)

    def skips_tail(self, failure: ReadFailure) -> bool:
        """Take in that a read failed; return whether reading goes on without the tail, or without a part of it.

        What a stream no longer has is older than all that it may repeat, so what is left of a tail is enough. GONE says
        so of an ancestor, once it is to be believed; of the shard itself it is for the lane to judge.
        """
        if not self._tails:
            return False
        tail = self._tails[0]
        match failure:
            case ReadFailure.TRIMMED if tail.first is not None:
                self._tails[0] = Tail(tail.shard, None)
            case ReadFailure.TRIMMED:
                self._tails.popleft()
            case ReadFailure.GONE if tail.shard != self._shard:
                self._tails.popleft()
            case _:
                return False
        self._iterator = None
        return True

    def took(self, page: LogPage, now_ms: int, token: str) -> SourcePage:
        """Take in what was read at `now_ms`; return what to publish of it, with `token` as its iterator.

        While tails are read it is an empty page with more to read behind it.
        """
        self._iterator = page.next_iterator
        records = page.records
        if self._tails and self._tails[0].shard != self._shard:
            self._see_again(records, None)
            if page.next_iterator is None:
                self._tails.popleft()
            return self._page([], page, token, goes_on=True)
        self._has_begun = True
        if self._overlap is not None and self._overlap_from is None and records:
            self._overlap_from = _sequence(records[0])
        if self._tails:
            published = [record for record in records if not is_after(_sequence(record), self._sequence)]
            self._see_again(published, _sequence(published[0]) if published else None)
            if len(published) == len(records) and page.next_iterator is not None and page.full:
                return self._page([], page, token, goes_on=True)
            tail = self._tails.popleft()
            is_trimmed = tail == Tail(self._shard, None)
            if is_trimmed and not published:  # so may the position be, which only a read from it shows
                self._iterator = None
                return self._page([], page, token, goes_on=True)
            records = records[len(published) :]
        is_closed = page.next_iterator is None
        if self._reordering is not None:
            for record in records:
                self._reordering.add(record, now_ms)
            records = self._reordering.released(now_ms, at_end=is_closed)
        return self._page(records, page, token, goes_on=page.full and not is_closed)

    def _page(self, records: list[LogRecord], page: LogPage, token: str, *, goes_on: bool) -> SourcePage:
        is_over = not self._tails and self._iterator is None and not goes_on
        held = len(self._reordering) if self._reordering is not None else 0
        sequences = [_sequence(record) for record in records[:1] + records[-1:]]
        if self._reordering is not None:
            sequences = sorted(map(_sequence, records), key=int)
        first, last = (sequences[0], sequences[-1]) if sequences else (None, None)
        window_from = self._overlap_from or self.window.first or self._sequence or first
        self._sequence = last or self._sequence
        return SourcePage(
            records=self._judged(records, first),
            next_iterator=None if is_over else token,
            size_bytes=page.size_bytes,
            full=goes_on or held > 0,
            window_from=window_from,
            arrived_ms=max((record.arrived_ms for record in records), default=None),
            last_sequence=last if self._reordering is not None else None,
        )

    def _judged(self, records: list[LogRecord], page_first: str | None) -> list[SourceRecord]:
        """Return what is published of each record."""
        tables = {record.record.origin.table for record in records}
        if unwanted := {table for table in tables if not self._is_wanted(table)}:
            wanted = [record for record in records if record.record.origin.table not in unwanted]
            published = iter(self._judged(wanted, page_first))
            return [
                msgspec.structs.replace(record.record, skipped="unwanted")
                if record.record.origin.table in unwanted
                else next(published)
                for record in records
            ]
        verdicts = self.window.see(records, page_first)
        if self._overlap is not None:
            return [self._compared(record, verdict) for record, verdict in zip(records, verdicts, strict=True)]
        return [
            record.record if verdict is Verdict.NEW else self._marked(record.record, verdict)
            for record, verdict in zip(records, verdicts, strict=True)
        ]

    def _compared(self, record: LogRecord, verdict: Verdict) -> SourceRecord:
        """Return what is published of a record of which the source before may have told."""
        if verdict is not Verdict.REPEAT and (overlap := self._overlap_with(record)) is not None:
            change = self._change_of(record.record, self._shard)
            if change is not None and overlap.leaves_out(change):
                return msgspec.structs.replace(record.record, skipped="switched")
            if change is not None and not self._repeats and overlap.is_late(change):
                verdict = Verdict.LATE
        return record.record if verdict is Verdict.NEW else self._marked(record.record, verdict)

    def _marked(self, record: SourceRecord, verdict: Verdict) -> SourceRecord:
        """Return what is published of a record that is not new."""
        if verdict is Verdict.REPEAT:
            return msgspec.structs.replace(record, skipped="repeat")
        if self._drops_late:
            return msgspec.structs.replace(record, skipped="late")
        return self._flagged(record, self._shard)

    def _see_again(self, records: list[LogRecord], page_first: str | None) -> None:
        """Take in records that are published, or left out, already."""
        verdicts = self.window.see(records, page_first)
        for record, verdict in zip(records, verdicts, strict=True) if self._overlap is not None else ():
            if verdict is not Verdict.REPEAT and (overlap := self._overlap_with(record)) is not None:
                change = self._change_of(record.record, self._shard)
                if change is not None:
                    overlap.leaves_out(change)

    def _overlap_with(self, record: LogRecord) -> Overlap | None:
        """Return the overlap as long as a record may be of its time."""
        if self._overlap is not None and record.arrived_ms > self._overlap.handover.until_ms:
            self._overlap = self._overlap_from = None
        return self._overlap


def _sequence(record: LogRecord) -> str:
    return record.record.origin.sequence
