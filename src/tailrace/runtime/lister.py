"""The lister's loop, run by the owner of lane 0: list tables and shards, publish what is new, take back what is done.

It only does the I/O; what follows from a listing is decided in `core.discovery`, in the engine's thread.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar

import msgspec

from tailrace.core.checkpoint import PipelineKey, PipelineRecord, Start, TableRecord, Write
from tailrace.core.discovery import leave_out, reconcile, reconcile_table, table_write
from tailrace.core.ports import Lister, ReadError, ReadFailure, StreamListing, TableStream
from tailrace.core.shard import ShardRef
from tailrace.core.view import View
from tailrace.errors import WorldError

logger = logging.getLogger("tailrace.lister")

_T = TypeVar("_T")

CHILDREN_TRIES = 10
CHILDREN_PAUSE_S = 0.5
"""An ended shard's children may show late (DescribeStream is eventually consistent); the rounds find the rest."""
CHILDREN_CALLS_MAX = 5
"""For more shards of a stream that ended at once, the stream is listed whole (100 shards a call)."""
ASK_POLL_S = 0.2
PUBLISH_POLL_S = 0.02
PUBLISH_WARNING_S = 30.0


class Engine(Protocol):
    """What the lister needs of the worker."""

    def ask(self, question: Callable[[View], _T]) -> Future[_T]:
        """Run `question` where the view lives."""
        ...

    def publish(self, incarnation: int, writes: tuple[Write, ...]) -> None:
        """Hand records to lane 0's next transaction."""
        ...

    def now_ms(self) -> int:
        """Give the time, milliseconds since the epoch."""
        ...


class ListerLoop:
    """Lists for one taking of lane 0, until `stop`."""

    def __init__(
        self,
        engine: Engine,
        lister: Lister,
        incarnation: int,
        *,
        table_names: Callable[[], list[str]],
        wanted: Callable[[str], bool],
        start: Start,
        interval_s: float,
        prepare_table: Callable[[TableStream], None],
    ) -> None:
        """Make it.

        `table_names` gives the tables to stream that there are, `wanted` tells whether the file wants a table;
        `prepare_table` makes a table's topic, and raises WorldError when the table cannot be served.
        """
        self._engine = engine
        self._lister = lister
        self._incarnation = incarnation
        self._table_names = table_names
        self._wanted = wanted
        self._start = start
        self._interval_s = interval_s
        self._prepare_table = prepare_table
        self._stopped = threading.Event()
        self._ended: SimpleQueue[ShardRef] = SimpleQueue()
        self._gone: set[ShardRef] = set()
        self._told: dict[str, str | None] = {}
        """What was last logged about each table."""

    def stop(self) -> None:
        """Stop soon; does not wait."""
        self._stopped.set()

    def shard_ended(self, shard: ShardRef) -> None:
        """Look for the children of a shard that ended without known ones."""
        self._ended.put(shard)

    def run(self) -> None:
        """List until stopped. Errors are logged, and tried again with the next round."""
        with contextlib.suppress(_StoppedError):
            while not self._stopped.is_set():
                self._try(self._round)
                self._try(self._wait)

    def _try(self, part: Callable[[], None]) -> None:
        """Do a part of the loop: whatever fails in it, the loop goes on, for nobody else lists."""
        try:
            part()
        except _StoppedError:
            raise
        except ReadError as error:
            logger.warning("listing failed, trying again in %.0f s: %s", self._interval_s, error)
        except Exception:
            logger.exception("listing failed; this is a defect of Tailrace")

    def _round(self) -> None:
        self._gone.clear()
        self._publish_birth()
        self._publish(self._ask(lambda view: leave_out(view, self._wanted, self._engine.now_ms())))
        known = self._ask(lambda view: {table for table in view.tables if self._wanted(table)})
        for table in sorted(known.union(self._listed_names())):
            if self._stopped.is_set():
                return
            try:
                self._list_table(table)
            except ReadError as error:
                logger.warning("listing table %s failed, trying again in %.0f s: %s", table, self._interval_s, error)
            self._look_for_children()

    def _listed_names(self) -> list[str]:
        """List the tables; when that fails the known ones are listed nevertheless."""
        try:
            return self._table_names()
        except ReadError as error:
            logger.warning("listing failed, trying again in %.0f s: %s", self._interval_s, error)
            return []

    def _list_table(self, table: str) -> None:
        record = self._describe(table)
        self._publish(self._ask(lambda view: table_write(view, table, record)))
        current = record.stream_arn if record.state == "streaming" else None
        for stream_arn in sorted(self._ask(lambda view: view.streams_of(table)) | ({current} if current else set())):
            listing = self._listing(stream_arn)
            self._reconcile(table, listing, whole=True, current=stream_arn == current)

    def _describe(self, table: str) -> TableRecord:
        try:
            found = self._lister.table_stream(table)
        except ReadError as error:
            if error.failure is not ReadFailure.GONE:
                raise
            found = None
        record = self._ask(lambda view: reconcile_table(view, found, table, self._engine.now_ms()))
        if record.state == "streaming" and found is not None:
            try:
                self._prepare_table(found)
            except WorldError as error:
                record = msgspec.structs.replace(record, state="failed", detail=str(error))
        self._tell(table, record)
        return record

    def _tell(self, table: str, record: TableRecord) -> None:
        """Log why a table is not streamed, once for each reason."""
        if record.detail is not None and self._told.get(table) != record.detail:
            logger.error("table %s is not streamed: %s", table, record.detail)
        self._told[table] = record.detail

    def _listing(self, stream_arn: str) -> StreamListing:
        """List a stream; one that no longer exists has no shards."""
        try:
            return self._lister.shards(stream_arn)
        except ReadError as error:
            if error.failure is not ReadFailure.GONE:
                raise
            return StreamListing(stream_arn, 0, ())

    def _reconcile(self, table: str, listing: StreamListing, *, whole: bool, current: bool) -> None:
        """Publish what a listing shows, asking first about the shards that it should show and does not."""
        asked: set[ShardRef] = set()
        while not self._stopped.is_set():
            result = self._ask(
                lambda view: reconcile(
                    view,
                    table,
                    listing,
                    whole=whole,
                    current=current,
                    start=_start_of(view, table, listing, self._start),
                    gone=self._gone,
                    now_ms=self._engine.now_ms(),
                )
            )
            open_questions = result.unknown - asked - self._gone
            if not open_questions:
                self._publish(result.writes)
                return
            for shard in open_questions:
                asked.add(shard)
                if not self._lister.exists(shard):
                    self._gone.add(shard)

    def _look_for_children(self, *ended: ShardRef) -> None:
        """Ask for the children of the shards that ended since, until each has some or the tries are used up."""
        childless = {*ended, *self._drain()}
        try:
            for _ in range(CHILDREN_TRIES):
                childless = self._ask(partial(_without_children, childless))
                if not childless:
                    return
                for stream_arn in {shard.stream_arn for shard in childless}:
                    self._list_children(stream_arn, {shard for shard in childless if shard.stream_arn == stream_arn})
                if self._stopped.wait(CHILDREN_PAUSE_S):
                    return
                childless |= self._drain()
        except ReadError as error:
            logger.warning("looking for child shards failed, the next round looks again: %s", error)

    def _drain(self) -> set[ShardRef]:
        shards = set()
        with contextlib.suppress(Empty):
            while True:
                shards.add(self._ended.get_nowait())
        return shards

    def _list_children(self, stream_arn: str, parents: set[ShardRef]) -> None:
        """List the children of some shards of a stream; of many, by listing the stream: that takes fewer calls."""
        table = self._ask(lambda view: next(view.shards[parent].table for parent in parents if parent in view.shards))
        if len(parents) > CHILDREN_CALLS_MAX:
            self._reconcile(table, self._listing(stream_arn), whole=True, current=True)
            return
        for parent in parents:
            children = self._lister.children(parent)
            if children:
                self._reconcile(table, StreamListing(stream_arn, 0, children), whole=False, current=True)

    def _wait(self) -> None:
        """Wait for the next round, looking for children meanwhile."""
        deadline_ms = self._engine.now_ms() + int(self._interval_s * 1000)
        while not self._stopped.is_set() and (left_ms := deadline_ms - self._engine.now_ms()) > 0:
            try:
                shard = self._ended.get(timeout=min(left_ms / 1000, 0.5))
            except Empty:
                continue
            self._look_for_children(shard)

    def _publish_birth(self) -> None:
        def birth(view: View) -> tuple[Write, ...]:
            if view.pipeline is not None:
                return ()
            record = PipelineRecord(lanes=view.lane_count, created_ms=self._engine.now_ms())
            return (Write(0, PipelineKey(), record),)

        self._publish(self._ask(birth))

    def _publish(self, writes: tuple[Write, ...]) -> None:
        """Publish, and wait until the view shows it: a listing must never be compared with an older view.

        That ends: what is not committed costs the lane, and with it this loop.
        """
        if not writes:
            return
        self._engine.publish(self._incarnation, writes)
        waited_s = 0.0
        while not self._stopped.wait(PUBLISH_POLL_S):
            if self._ask(lambda view: all(view.shows(write) for write in writes)):
                return
            waited_s += PUBLISH_POLL_S
            if waited_s > PUBLISH_WARNING_S:
                waited_s = 0.0
                logger.warning("what was listed does not show yet in the checkpoint topic; nothing is listed meanwhile")

    def _ask(self, question: Callable[[View], _T]) -> _T:
        answer = self._engine.ask(question)
        while not self._stopped.is_set():
            with contextlib.suppress(TimeoutError):
                return answer.result(timeout=ASK_POLL_S)
        raise _StoppedError


class _StoppedError(Exception):
    """The lane is lost or the worker stops: nobody answers any more."""


def _without_children(shards: set[ShardRef], view: View) -> set[ShardRef]:
    """Give those of `shards` that are known and have no known children."""
    return {shard for shard in shards if shard in view.shards and not view.children_of(shard)}


def _start_of(view: View, table: str, listing: StreamListing, start: Start) -> Start:
    """Say where a stream that nobody has listed before begins.

    `start` counts for the streams that were there when the pipeline was born. Later ones are read from their
    beginning: none of their changes is older than the pipeline.
    """
    born_ms = view.pipeline.created_ms if view.pipeline else 0
    is_later = bool(view.streams_of(table)) or (born_ms and listing.created_ms > born_ms)
    return "TRIM_HORIZON" if is_later else start
