"""Change logs in tables whose format has commits of its own: rows and positions of partitions in one commit.

A commit is made against the state of the table from which the partition's position was read, and the format refuses it
if that state has changed. If others committed rows of other partitions, it is made again; if the partition itself has
moved, another writer has it. So a writer that lost its partition unawares is refused by the position that its batch
continues from, although nothing was done against it.
"""

from __future__ import annotations

import contextlib
import logging
import random
import secrets
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeVar

import pyarrow as pa
from confluent_kafka import Message

from tailrace.errors import UnreachableError, WorldError, excerpt
from tailrace.kafka.watched_consumer import Place
from tailrace.lake.fitting import fitted
from tailrace.lake.ledger import DataFile, Sums
from tailrace.lake.parquet_file import ParquetFile
from tailrace.lake.parquet_sink import AgreeingRows, SetAside
from tailrace.lake.temporary_folder import TemporaryFolder
from tailrace.sinks.contract import FencedError
from tailrace.sinks.progress import Position

logger = logging.getLogger("tailrace.lake")

CHUNK_BYTES: Final = 16 << 20
"""What the rows of a partition may take in memory; then they go to its files under way."""
MEMORY_BYTES: Final = 96 << 20
"""What they may take over all partitions; then the largest go to theirs."""
FILES_MAX: Final = 100
"""So many files under way a partition may have, one a part of the table; then its batch is committed."""
PATIENCE_S: Final = 300.0
"""How long a commit is tried while others commit, or while its outcome is unknown."""
BATCH_BITS: Final = 62
DECLARE: Final = "declare the column under `columns` with another type or name"
"""What to do where a table cannot take a column."""
_PAUSE_S: Final = (0.05, 5.0)
"""Between two attempts: the first pause, and the longest."""
_SHARE: Final = 0.2
"""What is expected of a row's size once it is stored."""


_Answer = TypeVar("_Answer")


class Mark(NamedTuple):
    """How far a table has a partition, and which batch brought it there."""

    next_offset: int
    topic_id: str
    batch: str
    """A random number, in hexadecimal."""
    last_ms: int = 0
    """The timestamp of the last record that the table has of it; 0: it has none."""
    committed_ms: int = 0
    """When the batch was committed."""
    lost: int = 0
    """So many offsets before the position were given up by an operator."""


class TableRows(AgreeingRows, Protocol):
    """Rows of a table that keeps the types of its columns."""

    keys: tuple[str, ...]
    """The columns of the item's key; empty before the first record."""

    def settle(self) -> None:
        """Decide the types of new columns for good, since the table gets them next."""
        ...


class ConflictError(Exception):
    """The table has changed since it was looked at: nothing of the commit is in it."""


class Causes(NamedTuple):
    """What the library of a format raises."""

    conflict: type[Exception]
    """Another commit was first."""
    refused: tuple[type[Exception], ...]
    """It can never be done so."""
    unreachable: tuple[type[Exception], ...]
    """It may be done later, or may be done already."""
    check: str
    """What to look at then."""


@contextlib.contextmanager
def telling(doing: str, causes: Causes, hint: str) -> Iterator[None]:
    """Raise ConflictError, WorldError with `hint`, or UnreachableError for what a format's library raises."""
    try:
        yield
    except causes.conflict as error:
        raise ConflictError from error
    except causes.refused as error:
        raise WorldError(f"{doing} failed: {excerpt(str(error))}", hint=hint) from error
    except causes.unreachable as error:
        raise UnreachableError(f"{doing} failed: {excerpt(str(error))}", hint=causes.check) from error


class ChangeTable(Protocol):
    """One table, as this process last looked at it. Every method raises WorldError, and UnreachableError."""

    name: str
    is_apart: bool
    """Whether each partition has commits of its own."""

    def find(self) -> bool:
        """Look at the table as it is now; return False when there is none."""
        ...

    def look(self) -> None:
        """Look at the table as it is now; make it if there is none."""
        ...

    def sums(self) -> Sums:
        """Return how much it holds."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """What its files must hold."""
        ...

    def mark(self, place: Place) -> Mark | None:
        """Return how far it has a partition."""
        ...

    def widen(self, columns: pa.Schema) -> None:
        """Add the columns, and parts of columns, that it lacks."""
        ...

    def split(self, rows: pa.Table) -> Iterator[tuple[Hashable, pa.Table]]:
        """Yield the rows of each part of the table, which go into a file of their own."""
        ...

    def upload(self, file: Path, part: Hashable) -> object:
        """Store a file that no commit has yet, and return what `commit` takes."""
        ...

    def commit(self, marks: Mapping[Place, Mark], files: Sequence[object], keys: Sequence[str]) -> None:
        """Add files and marks to the table in one commit, if it is as it was looked at; `keys` as of `TableRows`.

        Raises:
            ConflictError: it is not.
            UnreachableError: the outcome is unknown. It may be carried out later, if no other is first.
        """
        ...


class _Batch(NamedTuple):
    """What a commit brings of a partition."""

    mark: Mark
    files: Sequence[object]
    """As `ChangeTable.upload` returned them."""


class _Claimed:
    """A partition that this process writes to."""

    def __init__(self, rows: TableRows, table: ChangeTable, mark: Mark | None, topic_id: str) -> None:
        self.rows = rows
        self.table = table
        self.mark = mark
        self.topic_id = topic_id
        self.last_ms = mark.last_ms if mark is not None else 0
        self.lost = mark.lost if mark is not None else 0
        self.open: dict[Hashable, ParquetFile] = {}
        """By the part of the table."""
        self.closed: list[tuple[Hashable, ParquetFile]] = []
        """What is complete: columns came after it."""

    @property
    def files(self) -> list[tuple[Hashable, ParquetFile]]:
        return [*self.closed, *self.open.items()]

    def drop(self) -> None:
        for _, file in self.files:
            file.drop()
        self.open, self.closed = {}, []


class TableSink:
    """A sink. Any number of processes may write to the same tables. Close it: it has temporary files."""

    def __init__(
        self,
        tables: Callable[[str], ChangeTable],
        *,
        identity: str,
        make_rows: Callable[[str, pa.Schema], TableRows],
        set_aside: SetAside,
        file_bytes: int,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        sleep: Callable[[float], None] = time.sleep,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tables` returns the table of a topic, always the same for the same topic.

        `make_rows` makes the rows of a topic, whose columns the table has.
        """
        self.identity = identity
        self.written = Sums()
        """By this process."""
        self._tables = tables
        self._make_rows = make_rows
        self._set_aside = set_aside
        self._file_bytes = file_bytes
        self._now_ms = now_ms
        self._sleep = sleep
        self._now_s = now_s
        self._claimed: dict[Place, _Claimed] = {}
        self._temporary = TemporaryFolder()

    def close(self) -> None:
        """Remove the temporary files."""
        self.release(list(self._claimed))
        self._temporary.close()

    def claim(self, place: Place, topic_id: str) -> Position | None:
        """Return the table's position. Nobody needs to be fenced before: one alone continues from it."""
        self.release([place])
        table = self._tables(place.topic)
        table.look()
        mark = table.mark(place)
        self._claimed[place] = _Claimed(
            self._make_rows(place.topic, table.schema), table, mark, mark.topic_id if mark is not None else topic_id
        )
        return _position(mark)

    def position(self, place: Place) -> Position | None:
        """Return the table's position."""
        table = self._tables(place.topic)
        table.look()
        return _position(table.mark(place))

    def write(self, place: Place, records: Sequence[Message]) -> None:
        """Add rows, in memory and from there to files of this machine."""
        claimed = self._claimed[place]
        claimed.last_ms = records[-1].timestamp()[1]
        self._set_aside.add(claimed.rows.append(records))
        if claimed.rows.size_bytes >= CHUNK_BYTES:
            self._spill(place)
        while sum(each.rows.size_bytes for each in self._claimed.values()) > MEMORY_BYTES:
            self._spill(max(self._claimed, key=lambda each: self._claimed[each].rows.size_bytes))

    def is_full(self, place: Place) -> bool:
        """Return whether a file has its wanted size, or there are too many."""
        claimed = self._claimed[place]
        largest = max((file.size_bytes for _, file in claimed.files), default=0)
        return largest + claimed.rows.size_bytes * _SHARE >= self._file_bytes or len(claimed.files) > FILES_MAX

    def commit(self, ends: Mapping[Place, int]) -> set[Place]:
        """Store the files, then commit them until it is known how that ended: partitions of one table together.

        A commit that has about the wanted size of a file is large enough; the next one follows.
        """
        for place in ends:
            self._spill(place)
        self._set_aside.flush()
        committed: set[Place] = set()
        for group in self._groups(ends):
            committed |= self._commit({place: ends[place] for place in group})
        return ends.keys() - committed

    def commit_one(self, place: Place, next_offset: int) -> None:
        """Commit one partition. Raises FencedError."""
        if self.commit({place: next_offset}):
            raise FencedError

    def skip(self, place: Place, next_offset: int) -> None:
        """Move the position of a partition over offsets that are lost: with a commit that has no row."""
        claimed = self._claimed[place]
        claimed.lost += next_offset - (claimed.mark.next_offset if claimed.mark is not None else 0)
        self.commit_one(place, next_offset)

    def release(self, places: Iterable[Place]) -> None:
        """Drop the rows and files under way."""
        for place in places:
            if claimed := self._claimed.pop(place, None):
                claimed.drop()

    def _groups(self, places: Iterable[Place]) -> Iterator[list[Place]]:
        """Yield partitions that are committed together."""
        open_groups: dict[str, tuple[list[Place], int]] = {}
        for place in places:
            claimed = self._claimed[place]
            if claimed.table.is_apart:
                yield [place]
                continue
            size_bytes = sum(file.size_bytes for _, file in claimed.files)
            group, so_far = open_groups.get(claimed.table.name, ([], 0))
            if group and so_far + size_bytes > self._file_bytes:
                yield group
                group, so_far = [], 0
            open_groups[claimed.table.name] = [*group, place], so_far + size_bytes
        yield from (group for group, _ in open_groups.values())

    def _commit(self, ends: Mapping[Place, int]) -> set[Place]:
        """Commit partitions of one table; return those that are committed."""
        table, batch = self._claimed[next(iter(ends))].table, f"{secrets.randbits(BATCH_BITS):x}"
        batches = {place: self._batch(place, end, batch) for place, end in ends.items()}
        committed = self._carried_out(table, batches)
        for place in committed:
            claimed = self._claimed[place]
            claimed.mark = batches[place].mark
            stored = (DataFile(each.path.name, each.rows, each.size_bytes) for _, each in claimed.files)
            self.written = self.written.plus(tuple(stored))
            claimed.drop()
        return committed

    def _batch(self, place: Place, end: int, batch: str) -> _Batch:
        claimed = self._claimed[place]
        for _, file in claimed.files:
            file.close()
        upload = claimed.table.upload
        files = [self._tried(partial(upload, file.path, part)) for part, file in claimed.files]
        return _Batch(Mark(end, claimed.topic_id, batch, claimed.last_ms, self._now_ms(), claimed.lost), files)

    def _carried_out(self, table: ChangeTable, batches: Mapping[Place, _Batch]) -> set[Place]:
        """Commit batches until it is known how that ended; return the partitions that are committed.

        All that one attempt has is carried out together, so what the table has of one partition tells of all: the
        others, if they are not where the attempt brought them, have been moved on by another since.
        """
        until_s, pauses = self._now_s() + PATIENCE_S, _pauses()
        while True:
            try:
                table.look()
                found = {place: table.mark(place) for place in batches}
                if done := {place for place, batch in batches.items() if found[place] == batch.mark}:
                    return done  # by an earlier attempt, although its answer was lost
                mine = {place: each for place, each in batches.items() if found[place] == self._claimed[place].mark}
                if mine:
                    marks = {place: each.mark for place, each in mine.items()}
                    table.commit(marks, [file for each in mine.values() for file in each.files], self._keys(mine))
            except ConflictError as error:
                if self._now_s() >= until_s:
                    raise WorldError(
                        f"{min(batches)} could not be committed to {table.name} for {PATIENCE_S:.0f} s, since others "
                        "commit to it all the time",
                        hint="let fewer processes write to it, or set `file.age` longer",
                    ) from error
            except UnreachableError:
                if self._now_s() >= until_s:
                    raise
            else:
                return set(mine)
            self._sleep(next(pauses))

    def _keys(self, places: Iterable[Place]) -> Sequence[str]:
        """Return the columns of the key, which is the same in all partitions that had a record."""
        return next((keys for place in places if (keys := self._claimed[place].rows.keys)), ())

    def _tried(self, request: Callable[[], _Answer]) -> _Answer:
        """Return the answer to a request that may be made again, which is done while it cannot be reached."""
        until_s, pauses = self._now_s() + PATIENCE_S, _pauses()
        while True:
            try:
                return request()
            except UnreachableError:
                if self._now_s() >= until_s:
                    raise
            self._sleep(next(pauses))

    def _spill(self, place: Place) -> None:
        """Move rows from memory to the files under way."""
        claimed = self._claimed[place]
        if not claimed.rows.size_bytes:
            return
        claimed.rows.settle()
        self._tried(partial(claimed.table.widen, claimed.rows.schema))
        claimed.rows.adopt(claimed.table.schema)
        rows = claimed.rows.take()
        for sentence in claimed.rows.widened():
            logger.warning("column widened", extra={**place._asdict(), "detail": sentence})
        self._tried(partial(claimed.table.widen, rows.schema))  # what does not fit columns of others needs its own
        schema = claimed.table.schema
        rows = fitted(rows, schema, claimed.table.name)
        with self._temporary.telling():
            for part, own in claimed.table.split(rows):
                file = claimed.open.get(part)
                if file is not None and file.schema != schema:
                    claimed.closed.append((part, file))
                    file = None
                if file is None:
                    file = claimed.open[part] = ParquetFile(self._temporary.path, schema)
                file.append(own)


def _pauses() -> Iterator[float]:
    pause_s, longest_s = _PAUSE_S
    while True:
        yield pause_s * random.uniform(0.5, 1.0)
        pause_s = min(2 * pause_s, longest_s)


def _position(mark: Mark | None) -> Position | None:
    return Position(mark.next_offset, mark.topic_id) if mark is not None else None
