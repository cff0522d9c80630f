"""Makes of a stream that repeats its changes, and gives them out of order, one that can be published."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from tailrace.core.change import Change
from tailrace.core.change_window import CHANGE_BYTES, WindowBudget
from tailrace.core.ports import (
    LogPage,
    LogReader,
    LogRecord,
    ReadError,
    ReadFailure,
    ShardReader,
    SourcePage,
    SourceRecord,
)
from tailrace.core.shard import Position, ShardRef
from tailrace.core.windowed_shard import WindowedShard, WindowOptions

logger = logging.getLogger("tailrace.sources")

_TOKEN: Final = re.compile("session:[0-9]+:[0-9]+")
"""An iterator of a session. No log's may look like it: one that does is refused, and the shard read again for ever."""
_IDLE_S: Final = 300
"""A session that was not read for so long is dropped: its shard may have gone to another worker."""
_ENDED_KEPT_S: Final = 60
"""How long the window of a shard that has ended is kept for its children."""
_ENDED_SHARE: Final = 4
"""The part of the memory of windows that those of ended shards may have besides."""
_READS_ON_S: Final = 0.5
"""How long a read goes on with the tails of further shards."""
_WARNING_INTERVAL_S: Final = 60


class _Session(msgspec.Struct):
    shard: WindowedShard
    token: str
    """The iterator that the next read must name."""
    read_s: float


class WindowedReader(ShardReader):
    """Leaves repeats out, and flags, orders or drops late changes. Safe to call from many threads at once.

    A read without an iterator opens a session of its shard, which reads the tails again and then goes on from the
    position: what its window holds follows from the committed position alone. A session knows only the iterator that it
    returned last; any other is EXPIRED. When nothing is to be left out any more, it ends with an iterator of the log.
    """

    def __init__(
        self,
        log: LogReader,
        options: WindowOptions,
        *,
        window_bytes: int,
        gone_after_ms: int,
        flagged: Callable[[SourceRecord, ShardRef], SourceRecord],
        change_of: Callable[[SourceRecord, ShardRef], Change | None],
        is_wanted: Callable[[str], bool] = lambda _: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read nothing yet. `window_bytes` is the memory of the windows of all shards.

        An ancestor counts as gone when the source has denied it for `gone_after_ms`.
        `flagged` makes the late one of a shard's record; `change_of` returns its change, None if it is none;
        `is_wanted` tells whether a table is published.
        """
        self._log = log
        self._options = options
        self._budget = WindowBudget(window_bytes)
        self._flagged = flagged
        self._change_of = change_of
        self._is_wanted = is_wanted
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: OrderedDict[ShardRef, _Session] = OrderedDict()
        """The one that was not read for the longest time first."""
        self._ended: OrderedDict[ShardRef, _Session] = OrderedDict()
        """The one that ended first, first."""
        self._ended_changes_max = window_bytes // CHANGE_BYTES // _ENDED_SHARE
        self._opened = 0
        self._gone_after_ms = gone_after_ms
        self._denied_s: dict[ShardRef, float] = {}
        """Since when the source has denied an ancestor."""
        self._warned_s: float | None = None
        self._warned_of = 0

    @property
    def forgotten_early(self) -> int:
        """Return how many changes left the windows before their time, for want of memory."""
        return self._budget.forgotten_early

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> SourcePage:
        """Read the next page; without an iterator, begin with the tails. Raises `ReadError`.

        While tails are read, the pages are empty, with more behind them.
        """
        session = self._session(shard, position, iterator)
        began_s, answer, met = self._clock(), None, set[ShardRef]()
        # Each shard has limits of its own: the tails of several may be read without a pause.
        while answer is None or (
            self._clock() - began_s < _READS_ON_S
            and _is_of_tails(answer)
            and session.shard.next_read().shard not in met
        ):
            met.add(session.shard.next_read().shard)
            try:
                page = self._next_page(shard, session.shard)
            except ReadError:
                if answer is None:
                    raise
                break  # it is met again by the next read
            with self._lock:
                answer = self._taken(shard, session, page)
                self._warn()
        return answer

    def judged(self, shard: ShardRef, records: list[LogRecord]) -> SourcePage:
        """Return what is published of records, as far as they themselves show: what is before them is not read."""
        session = self._windowed(shard, Position("TRIM_HORIZON"))
        try:
            return session.took(LogPage(records, None, 0, full=False), round(self._clock() * 1000), "")
        finally:
            self._budget.remove(session.window)

    @staticmethod
    def returned(iterator: str) -> bool:
        """Return whether an iterator is one of a session; else it is one of the log itself."""
        return _TOKEN.fullmatch(iterator) is not None

    def _next_page(self, shard: ShardRef, session: WindowedShard) -> LogPage:
        """Read on, without the tails that the stream no longer has: skipping one says nothing of the shard."""
        while True:
            read = session.next_read()
            try:
                page = self._log.read(*read)
            except ReadError as error:
                if error.failure is ReadFailure.GONE and read.shard != shard and not self._is_gone(read.shard):
                    raise ReadError(error.message, ReadFailure.UNAVAILABLE, hint=error.hint) from error
                if not session.skips_tail(error.failure):
                    if error.failure is ReadFailure.EXPIRED:  # it would be asked with the same iterator again
                        with self._lock:
                            self._drop(shard)
                    raise
                logger.warning("changes of shard %s may be repeated by its children: %s", read.shard.shard_id, error)
            else:
                self._denied_s.pop(read.shard, None)
                return page

    def _taken(self, shard: ShardRef, session: _Session, page: LogPage) -> SourcePage:
        if self._sessions.get(shard) is not session:  # another read has opened a new one
            raise _expired(shard)
        name, _, number = session.token.rpartition(":")
        token = f"{name}:{int(number) + 1}"
        answer = session.shard.took(page, round(self._clock() * 1000), token)
        if answer.next_iterator is None:
            self._drop(shard)
            self._ended[shard] = session
            self._forget_ended()
        elif not session.shard.is_needed:
            self._drop(shard)
            return msgspec.structs.replace(answer, next_iterator=page.next_iterator)
        session.token = token
        return answer

    def _is_gone(self, ancestor: ShardRef) -> bool:
        """Return whether the source has denied an ancestor for so long that it is to be believed."""
        now_s = self._clock()
        return now_s - self._denied_s.setdefault(ancestor, now_s) >= self._gone_after_ms / 1000

    def _session(self, shard: ShardRef, position: Position, iterator: str | None) -> _Session:
        now_s = self._clock()
        with self._lock:
            self._drop_idle(now_s)
            found = self._sessions.get(shard)
            if iterator is None and found is not None and found.shard.is_at(position):
                session = found
            elif iterator is None:
                self._drop(shard)
                self._opened += 1
                session = _Session(self._windowed(shard, position), f"session:{self._opened}:0", now_s)
                self._forget_ended()
                session.shard.take_over({each: ended.shard for each, ended in self._ended.items()})
            elif found is not None and found.token == iterator:
                session = found
            else:
                raise _expired(shard)
            session.read_s = now_s
            self._sessions[shard] = session
            self._sessions.move_to_end(shard)
        return session

    def _windowed(self, shard: ShardRef, position: Position) -> WindowedShard:
        return WindowedShard(
            shard,
            position,
            self._options,
            self._budget,
            flagged=self._flagged,
            change_of=self._change_of,
            is_wanted=self._is_wanted,
        )

    def _drop_idle(self, now_s: float) -> None:
        while self._sessions:
            shard, session = next(iter(self._sessions.items()))
            if now_s - session.read_s <= _IDLE_S:
                return
            self._drop(shard)

    def _forget_ended(self) -> None:
        """Forget the windows of shards that ended long ago, or are too many."""
        now_s, changes = self._clock(), sum(each.shard.window.changes for each in self._ended.values())
        while self._ended:
            oldest = next(iter(self._ended.values()))
            if now_s - oldest.read_s <= _ENDED_KEPT_S and changes <= self._ended_changes_max:
                return
            changes -= oldest.shard.window.changes
            self._ended.popitem(last=False)

    def _drop(self, shard: ShardRef) -> None:
        if session := self._sessions.pop(shard, None):
            self._budget.remove(session.shard.window)

    def _warn(self) -> None:
        """Say, now and then, that repeats may be missed."""
        now_s, forgotten = self._clock(), self._budget.forgotten_early
        is_soon = self._warned_s is not None and now_s - self._warned_s < _WARNING_INTERVAL_S
        if forgotten == self._warned_of or is_soon:
            return
        detail = "the memory for windows is full: repeats of what is forgotten would be published"
        logger.warning("window cut short", extra={"count": forgotten - self._warned_of, "detail": detail})
        self._warned_s, self._warned_of = now_s, forgotten


def _is_of_tails(page: SourcePage) -> bool:
    return page.full and not page.records and page.next_iterator is not None


def _expired(shard: ShardRef) -> ReadError:
    return ReadError(f"shard {shard.shard_id} is to be read again from its position", ReadFailure.EXPIRED)
