"""The enumerator's loop, run by the owner of lane 0: list tables and shards, publish what is new, take back what is
done.

Listings are limited (DescribeStream to 10 calls a second for the account), so the most urgent comes first: the children
of shards that have just ended, then streams that nobody has listed, then the others, those first that were not listed
for the longest.

It only does the I/O; what follows from a listing is decided in `core.discovery`, in the engine's thread.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar

import msgspec

from tailrace.core.checkpoint import PipelineKey, PipelineRecord, Start, TableRecord, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.discovery import (
    STREAM_OFF,
    TAGS_LOST,
    Reconciliation,
    end_handover,
    forget_outdated,
    lacks_children,
    lacks_roots,
    leave_out,
    leave_out_untagged,
    reconcile,
    reconcile_table,
    table_write,
)
from tailrace.core.handover import CLOCKS_DIFFER_MS
from tailrace.core.ports import Enumerator, ReadError, ReadFailure, StreamListing, TableStream
from tailrace.core.shard import ShardRef
from tailrace.core.source_policy import SourcePolicy
from tailrace.errors import UnreachableError, WorldError
from tailrace.process.host import Host

logger = logging.getLogger("tailrace.enumerator")

_T = TypeVar("_T")

CHILDREN_SHARE = 4
"""How many streams are searched for children between two other steps, when many shards have ended."""
ASK_POLL_S = 0.2
WAIT_S = 0.5
PUBLISH_POLL_S = 0.02
STREAM_STARTS_POLL_MS = 1000
"""Pause between two looks at a table whose stream was switched on."""
STREAM_STARTS_MS = 60_000
PUBLISH_WARNING_S = 30.0


class _Search(msgspec.Struct):
    """Looking for the children of an ended shard."""

    due_ms: int = 0
    tries: int = 0
    has_found: bool = False
    """One child is known; the search continues until it is confirmed that there is no other."""


class _StreamStart(msgspec.Struct):
    """Waiting for a stream that was switched on to become active."""

    due_ms: int
    until_ms: int
    """From then on it is read whatever the table's status: an index that is being built keeps that for hours."""


class Engine(Protocol):
    """What the enumerator needs of the worker."""

    @property
    def host(self) -> Host:
        """The process that it runs in."""
        ...

    def ask(self, question: Callable[[CheckpointState], _T]) -> Future[_T]:
        """Run `question` where the checkpoint state lives."""
        ...

    def publish(self, epoch: int, writes: tuple[Write, ...]) -> None:
        """Hand records to lane 0's next transaction."""
        ...


class EnumeratorLoop:
    """Lists for one taking of lane 0, until `stop`."""

    def __init__(
        self,
        engine: Engine,
        enumerator: Enumerator,
        epoch: int,
        *,
        policy: SourcePolicy,
        table_names: Callable[[], list[str]],
        other_tags: Callable[[str], Mapping[str, str] | None] | None = None,
        wanted: Callable[[str], bool],
        start: Start,
        since_ms: int | None = None,
        interval_s: float,
        prepare_table: Callable[[TableStream], None],
        enable_stream: Callable[[str], None] | None = None,
        publish_poll_s: float = PUBLISH_POLL_S,
    ) -> None:
        """Make it.

        `table_names` gives the tables to stream that there are, `wanted` tells whether the file wants a table by its
        name. `other_tags`, if the file asks for tags, returns those of a table that has others, None when it has them.
        `start` and `since_ms` say where streams begin that are older than the pipeline.
        `prepare_table` makes a table's topic, and raises WorldError when the table cannot be served, UnreachableError
        when it could not find out. `enable_stream` switches a table's stream on, or raises ReadError; without it,
        streams that are off stay off. `publish_poll_s` is the pause between two looks whether what was published shows.
        """
        self._engine = engine
        self._enumerator = enumerator
        self._policy = policy
        self._epoch = epoch
        self._table_names = table_names
        self._other_tags = other_tags
        self._wanted = wanted
        self._start = start
        self._since_ms = since_ms
        self._interval_s = interval_s
        self._prepare_table = prepare_table
        self._enable_stream = enable_stream
        self._publish_poll_s = publish_poll_s
        self._stopped = engine.host.event()
        self._ended: SimpleQueue[ShardRef] = engine.host.queue()
        self._searches: dict[ShardRef, _Search] = {}
        self._tables_due_ms = 0
        self._streams: deque[tuple[str, str]] = deque()
        """Tables with their streams that are still to be listed in this round."""
        self._listed_ms: dict[str, int] = {}
        self._began_ms = engine.host.now_ms()
        """All that earlier enumerators listed was known by then."""
        self._again_ms: dict[tuple[str, str], int] = {}
        """Tables with their streams that are to be listed again: others like what was found may show late."""
        self._unshown: list[Write] = []
        """What was handed to lane 0 and the checkpoint state does not show yet."""
        self._gone: set[ShardRef] = set()
        self._resting: set[str] = set()
        """Tables that were not chosen in this round, because of their tags."""
        self._doubted: set[str] = set()
        """Tables that run, and had other tags when they were last looked at."""
        self._starting: dict[str, _StreamStart] = {}
        """Tables whose streams were switched on and are not active yet."""
        self._told: dict[str, str | None] = {}
        """What was last logged about each table."""

    def stop(self) -> None:
        """Stop soon; does not wait."""
        self._stopped.set()

    def shard_ended(self, shard: ShardRef) -> None:
        """Look for the children of a shard that ended, until it is confirmed that all are known."""
        self._ended.put(shard)

    def run(self) -> None:
        """List until stopped. Errors are logged, and tried again."""
        with contextlib.suppress(_StoppedError):
            self._try(self._resume)
            while not self._stopped.is_set():
                self._try(self._step)
                for _ in range(CHILDREN_SHARE):
                    self._try(self._look_for_children)

    def _try(self, part: Callable[[], None]) -> None:
        """Do a part of the loop. Whatever fails in it, the loop continues: no other worker lists."""
        try:
            part()
        except _StoppedError:
            raise
        except (ReadError, UnreachableError) as error:
            logger.warning("listing failed, trying again in %.0f s: %s", self._interval_s, error)
        except Exception:
            logger.exception("listing failed; this is a defect of Tailrace")

    def _resume(self) -> None:
        """Resume the searches of the previous enumerator."""
        for shard in self._ask(_without_all_children):
            self._ended.put(shard)

    def _step(self) -> None:
        """Begin a round when it is time, else list the next stream of this one, else wait."""
        if self._engine.host.now_ms() >= self._tables_due_ms:
            try:
                self._look_at_tables()
            finally:  # counted from here, or many tables would leave no time to list their streams
                self._tables_due_ms = self._engine.host.now_ms() + int(self._interval_s * 1000)
        elif due := self._due_again():
            self._again_ms[due] = self._engine.host.now_ms() + self._policy.second_child_ms  # should it fail
            self._list_stream(*due)
        elif self._streams:
            self._list_stream(*self._streams.popleft())
        elif table := self._started_stream():
            self._look_at_table(table)
        else:
            self._wait()

    def _due_again(self) -> tuple[str, str] | None:
        """Return the table and the stream that is to be listed again now, if there is one."""
        first = min(self._again_ms, key=lambda each: self._again_ms[each], default=None)
        is_due = first is not None and self._again_ms[first] <= self._engine.host.now_ms()
        return first if is_due else None

    def _started_stream(self) -> str | None:
        """Return the table whose stream was switched on and is to be looked at now, if there is one."""
        table = min(self._starting, key=lambda each: self._starting[each].due_ms, default=None)
        is_due = table is not None and self._starting[table].due_ms <= self._engine.host.now_ms()
        return table if is_due else None

    def _look_at_tables(self) -> None:
        """Describe every table, list the streams that are new, and say which others to list in this round."""
        began_ms = self._engine.host.now_ms()
        self._await_shown()
        self._gone.clear()
        self._publish_birth()
        self._publish(
            self._ask(lambda checkpoint_state: leave_out(checkpoint_state, self._wanted, self._engine.host.now_ms()))
        )
        self._publish(
            self._ask(
                lambda checkpoint_state: forget_outdated(checkpoint_state, self._policy, self._engine.host.now_ms())
            )
        )
        self._publish(self._ask(end_handover))
        known = self._ask(lambda checkpoint_state: {table for table in checkpoint_state.tables if self._wanted(table)})
        listed = self._listed_names()
        self._resting.clear()
        for table in sorted(known.union(listed or ())):
            if self._stopped.is_set():
                return
            if self._is_chosen(table, listed):
                self._look_at_table(table)
            else:
                self._resting.add(table)
                self._starting.pop(table, None)
            self._try(self._look_for_children)
        streams = self._ask(partial(_streams, lambda table: self._wanted(table) and table not in self._resting))
        self._listed_ms = {stream: at_ms for stream, at_ms in self._listed_ms.items() if stream in streams}
        waiting = [stream for stream in streams if self._listed_ms.get(stream, -1) < began_ms]
        waiting.sort(key=lambda stream: self._listed_ms.get(stream, -1))
        self._streams = deque((streams[stream], stream) for stream in waiting)

    def _look_at_table(self, table: str) -> None:
        """Describe a table, and list its stream if that is new."""
        if table in self._starting:
            self._starting[table].due_ms = self._engine.host.now_ms() + STREAM_STARTS_POLL_MS
        try:
            record = self._describe(table)
            self._hand_over(self._ask(lambda checkpoint_state: table_write(checkpoint_state, table, record)))
            current = record.stream_arn
            before = self._ask(lambda checkpoint_state: sorted(checkpoint_state.streams_of(table)))
            if record.state == "streaming" and current is not None and current not in before:
                for stream in (*before, current):  # its shards wait for what is unfinished of the earlier streams
                    self._list_stream(table, stream)
        except (ReadError, UnreachableError) as error:
            logger.warning("listing table %s failed, trying again in %.0f s: %s", table, self._interval_s, error)

    def _list_stream(self, table: str, stream: str) -> None:
        """List a stream whole."""
        self._listed_ms[stream] = asked_ms = self._engine.host.now_ms()
        self._reconcile(table, self._listing(stream), asked_ms, whole=True)
        if self._ask(partial(_is_to_be_listed_again, table, stream)):
            self._again_ms[table, stream] = self._engine.host.now_ms() + self._policy.second_child_ms
        else:
            self._again_ms.pop((table, stream), None)

    def _listed_names(self) -> list[str] | None:
        """List the tables; None when that fails: the known ones are looked at anyway."""
        try:
            return self._table_names()
        except ReadError as error:
            logger.warning("listing failed, trying again in %.0f s: %s", self._interval_s, error)
            return None

    def _is_chosen(self, table: str, listed: list[str] | None) -> bool:
        """Return whether a table has the tags that the file asks for; one that runs and has lost them is stopped.

        While that is not known, what runs continues and nothing starts.
        """
        if self._other_tags is None:
            return True
        runs = self._ask(partial(_runs, table))
        if listed is None or (not runs and table not in listed):
            return runs
        try:
            tags = self._other_tags(table)
        except ReadError as error:
            if error.failure is not ReadFailure.GONE:
                logger.warning("the tags of table %s are not known, trying again: %s", table, error)
            return runs
        if tags is None:
            self._doubted.discard(table)
            return True
        return runs and not self._leave_out_untagged(table, tags)

    def _leave_out_untagged(self, table: str, tags: Mapping[str, str]) -> bool:
        """Stop a table that has had other tags in two rounds in a row; return whether it is stopped.

        Right after a change of other tags, DynamoDB may say that a table has none.
        """
        if table not in self._doubted:
            self._doubted.add(table)
            return False
        writes = self._ask(
            lambda checkpoint_state: leave_out_untagged(checkpoint_state, table, tags, self._engine.host.now_ms())
        )
        if not writes:
            return False
        self._publish(writes)
        self._doubted.discard(table)
        logger.info("table left out", extra={"table": table, "detail": TAGS_LOST})
        return True

    def _describe(self, table: str) -> TableRecord:
        try:
            found = self._enumerator.table_stream(table)
        except ReadError as error:
            if error.failure is not ReadFailure.GONE:
                raise
            found = None
        off_why = self._start_stream(found) if found is not None else None
        record = self._ask(
            lambda checkpoint_state: reconcile_table(
                checkpoint_state, found, table, self._engine.host.now_ms(), off_why=off_why
            )
        )
        if record.state == "streaming" and found is not None:
            try:
                self._prepare_table(found)
            except UnreachableError:
                raise
            except WorldError as error:
                record = msgspec.structs.replace(record, state="failed", detail=str(error))
        if table not in self._starting:
            self._tell(table, record)
        return record

    def _start_stream(self, found: TableStream) -> str | None:
        """Switch a table's stream on if it is off and the file wants it on; return why the table is not read yet."""
        table, now_ms = found.table, self._engine.host.now_ms()
        if self._enable_stream is None:
            return None
        start = self._starting.get(table)
        if start is not None and now_ms >= start.until_ms:
            del self._starting[table]
            start = None
        if found.stream is not None and (start is None or found.is_active):
            self._starting.pop(table, None)
            return None
        if start is None:
            if not found.is_active:
                return f"{STREAM_OFF}; it is switched on once the table is active"
            try:
                self._enable_stream(table)
            except ReadError as error:
                return f"{STREAM_OFF}, and switching it on failed; it is tried again: {error}"
            self._starting[table] = _StreamStart(now_ms + STREAM_STARTS_POLL_MS, now_ms + STREAM_STARTS_MS)
            logger.info("stream switched on", extra={"table": table})
        return "its stream is being switched on"

    def _tell(self, table: str, record: TableRecord) -> None:
        """Log why a table is not streamed, once for each reason."""
        if record.detail is not None and self._told.get(table) != record.detail:
            logger.error("table %s is not streamed: %s", table, record.detail)
        self._told[table] = record.detail

    def _listing(self, stream: str) -> StreamListing:
        """List a stream; one that no longer exists has no shards."""
        try:
            return self._enumerator.shards(stream)
        except ReadError as error:
            if error.failure is not ReadFailure.GONE:
                raise
            return StreamListing(stream, 0, ())

    def _reconcile(self, table: str, listing: StreamListing, asked_ms: int, *, whole: bool) -> None:
        """Publish what a listing shows, asking first about the shards that it should show and does not.

        Only once all of that is committed, what the listing confirms is published.
        """
        asked: set[ShardRef] = set()
        while not self._stopped.is_set():
            result = self._ask(partial(self._compared, table, listing, asked_ms, whole=whole))
            open_questions = result.unknown - asked - self._gone
            if not open_questions:
                if not result.writes:
                    return
                self._publish(result.writes)
            for shard in open_questions:
                asked.add(shard)
                if not self._enumerator.exists(shard):
                    self._gone.add(shard)

    def _compared(
        self, table: str, listing: StreamListing, asked_ms: int, checkpoint_state: CheckpointState, *, whole: bool
    ) -> Reconciliation:
        # By this clock alone: that of an earlier enumerator may be off.
        apart_ms = self._policy.second_child_ms
        is_later = _is_later(checkpoint_state, table, listing)
        start, since_ms = (self._start, self._since_ms) if not is_later else ("TRIM_HORIZON", None)
        handover = checkpoint_state.handovers.active
        if handover is not None and table not in handover.entries:
            handover = None
        if handover is not None:
            start, since_ms = "TRIM_HORIZON", handover.from_ms - CLOCKS_DIFFER_MS
        return reconcile(
            checkpoint_state,
            table,
            listing,
            whole=whole,
            current=_streamed(checkpoint_state, table) == listing.stream,
            start=start,
            since_ms=since_ms,
            gone=self._gone,
            complete_before_ms=asked_ms - apart_ms if asked_ms - self._began_ms > apart_ms else 0,
            now_ms=self._engine.host.now_ms(),
            source=self._policy,
            handover=handover.id if handover is not None else None,
        )

    def _look_for_children(self) -> None:
        """Ask for the children of ended shards whose time has come: those of one stream, the most urgent."""
        with contextlib.suppress(Empty):
            while True:
                self._note_ended(self._ended.get_nowait())
        now_ms = self._engine.host.now_ms()
        due = {shard: search for shard, search in self._searches.items() if search.due_ms <= now_ms}
        if not due:
            return
        first = min(due, key=lambda shard: (due[shard].has_found, due[shard].due_ms))
        shards = [shard for shard in due if shard.stream == first.stream]
        known = self._ask(partial(_have_children, shards))
        parents = [shard for shard in shards if self._is_to_be_asked(shard, known[shard], now_ms)]
        try:
            if parents:
                self._list_children(first.stream, parents)
        except ReadError as error:
            logger.warning("looking for child shards failed, trying again: %s", error)

    def _is_to_be_asked(self, shard: ShardRef, has_children: bool | None, now_ms: int) -> bool:
        """Return whether to ask for a shard's children now, and say when to look again, if at all."""
        search = self._searches[shard]
        if has_children is None or search.tries == self._policy.children_tries:
            del self._searches[shard]
            return has_children is not None
        if has_children and not search.has_found:
            self._searches[shard] = _Search(now_ms + self._policy.second_child_ms, has_found=True)
            return False
        pause_ms = self._policy.children_pause_ms * 2**search.tries
        search.due_ms = now_ms + (self._policy.second_child_ms if search.has_found else pause_ms)
        search.tries += 1
        return True

    def _note_ended(self, shard: ShardRef) -> None:
        self._searches.setdefault(shard, _Search())

    def _list_children(self, stream: str, parents: list[ShardRef]) -> None:
        """List the children of some shards of a stream; of many, by listing the stream."""
        table, known = self._ask(
            lambda checkpoint_state: (
                checkpoint_state.shards[parents[0]].table,
                len(checkpoint_state.shards_of_stream(stream)),
            )
        )
        if len(parents) > 1 + known // self._policy.shards_per_call:
            self._list_stream(table, stream)
            return
        for parent in parents:
            asked_ms = self._engine.host.now_ms()
            children = self._enumerator.children(parent)
            if children:
                self._reconcile(table, StreamListing(stream, 0, children), asked_ms, whole=False)

    def _wait(self) -> None:
        """Wait for a shard that ends, for the next look for children, or for the next round."""
        searches_ms = [search.due_ms for search in self._searches.values()]
        starts_ms = [start.due_ms for start in self._starting.values()]
        next_ms = min([self._tables_due_ms, *searches_ms, *starts_ms, *self._again_ms.values()])
        left_s = (next_ms - self._engine.host.now_ms()) / 1000
        with contextlib.suppress(Empty):
            self._note_ended(self._ended.get(timeout=min(max(left_s, 0.001), WAIT_S)))

    def _publish_birth(self) -> None:
        def birth(checkpoint_state: CheckpointState) -> tuple[Write, ...]:
            if checkpoint_state.pipeline is not None:
                return ()
            record = PipelineRecord(lanes=checkpoint_state.lane_count, created_ms=self._engine.host.now_ms())
            return (Write(0, PipelineKey(), record),)

        self._publish(self._ask(birth))

    def _publish(self, writes: tuple[Write, ...]) -> None:
        """Publish, and wait until the checkpoint state shows it: a listing must never be compared with an older
        checkpoint state."""
        self._hand_over(writes)
        self._await_shown()

    def _hand_over(self, writes: tuple[Write, ...]) -> None:
        if writes:
            self._engine.publish(self._epoch, writes)
            self._unshown += writes

    def _await_shown(self) -> None:
        """Return when the checkpoint state shows all that was handed over.

        That ends: what is not committed costs the lane, and with it this loop.
        """
        waited_s = 0.0
        while self._unshown:
            if self._ask(lambda checkpoint_state: all(checkpoint_state.shows(write) for write in self._unshown)):
                self._unshown = []
            elif self._stopped.wait(self._publish_poll_s):
                raise _StoppedError
            waited_s += self._publish_poll_s
            if waited_s > PUBLISH_WARNING_S:
                waited_s = 0.0
                logger.warning("what was listed does not show yet in the checkpoint topic; nothing is listed meanwhile")

    def _ask(self, question: Callable[[CheckpointState], _T]) -> _T:
        answer = self._engine.ask(question)
        while not self._stopped.is_set():
            with contextlib.suppress(TimeoutError):
                return answer.result(timeout=ASK_POLL_S)
        raise _StoppedError


class _StoppedError(Exception):
    """The lane is lost or the worker stops, so the engine no longer answers."""


def _without_all_children(checkpoint_state: CheckpointState) -> list[ShardRef]:
    """Return the shards of streams in use that ended, and of which children may still be unknown."""
    return [
        shard
        for shard, record in checkpoint_state.shards.items()
        if checkpoint_state.ended(shard)
        and lacks_children(checkpoint_state, shard)
        and _streamed(checkpoint_state, record.table) == shard.stream
    ]


def _runs(table: str, checkpoint_state: CheckpointState) -> bool:
    """Return whether a table is known and not left out."""
    record = checkpoint_state.tables.get(table)
    return record is not None and record.state != "left out"


def _have_children(shards: Iterable[ShardRef], checkpoint_state: CheckpointState) -> dict[ShardRef, bool | None]:
    """Return which of `shards` have known children; None: all are known, or the shard itself is not any more."""
    return {
        shard: bool(checkpoint_state.children_of(shard))
        if shard in checkpoint_state.shards and lacks_children(checkpoint_state, shard)
        else None
        for shard in shards
    }


def _is_to_be_listed_again(table: str, stream: str, checkpoint_state: CheckpointState) -> bool:
    """Return whether more of a stream in use may show in its next listing than is found by lineage."""
    return _streamed(checkpoint_state, table) == stream and lacks_roots(checkpoint_state, stream)


def _streamed(checkpoint_state: CheckpointState, table: str) -> str | None:
    """Return the stream that a table is read from, and that can still get new shards."""
    record = checkpoint_state.tables.get(table)
    return record.stream_arn if record is not None and record.state == "streaming" else None


def _streams(wanted: Callable[[str], bool], checkpoint_state: CheckpointState) -> dict[str, str]:
    """Return the streams that have known shards, and their tables."""
    return {
        stream: table
        for table in checkpoint_state.tables
        if wanted(table)
        for stream in sorted(checkpoint_state.streams_of(table))
    }


def _is_later(checkpoint_state: CheckpointState, table: str, listing: StreamListing) -> bool:
    """Return whether a stream is newer than the pipeline: `start` counts for those that were there at its birth.

    Later ones are read from their beginning: none of their changes is older than the pipeline.
    """
    born_ms = checkpoint_state.pipeline.created_ms if checkpoint_state.pipeline else 0
    return bool(checkpoint_state.streams_of(table)) or bool(born_ms and listing.created_ms > born_ms)
