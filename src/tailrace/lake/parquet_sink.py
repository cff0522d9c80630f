"""The change log of tables as Parquet files, each change once: a sink whose positions are the steps of its ledger.

A batch is committed in two moves: a step of the ledger says which offsets go into which files, and the files follow. If
the writer dies between them, whoever claims the partition next reads just these offsets again, into columns of the same
types, and writes the files that are missing, before anything else. All files of a step have one schema: where a column
comes or widens, the step before it ends.
"""

from __future__ import annotations

import functools
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa
from confluent_kafka import Message

from tailrace.config.lake import PartitionBy
from tailrace.errors import WorldError
from tailrace.kafka.watched_consumer import Place
from tailrace.lake.agreed_types import AgreedTypes
from tailrace.lake.columns import Refused
from tailrace.lake.ledger import DataFile, Ledger, Step, Sums
from tailrace.lake.location import Location
from tailrace.lake.parquet_file import ParquetFile
from tailrace.lake.partitions import split
from tailrace.lake.temporary_folder import TemporaryFolder
from tailrace.sinks.contract import FencedError, commit_each
from tailrace.sinks.progress import Position

logger = logging.getLogger("tailrace.lake")

CHUNK_BYTES: Final = 8 << 20
"""What the rows of a partition may take in memory; then they go to its files under way."""
MEMORY_BYTES: Final = 64 << 20
"""What they may take over all partitions; then the largest go to theirs."""
FILES_MAX: Final = 100
"""So many files under way a partition may have, one a directory; then its batch is committed."""
_SHARE: Final = 0.2
"""What is expected of rows' size in memory once they are stored, before any are."""


class Rows(Protocol):
    """Rows of one partition under way in memory (`columns.TableColumns`)."""

    @property
    def size_bytes(self) -> int:
        """About what they take."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """The columns of the next table: those of the one before, or more and wider ones."""
        ...

    def append(self, messages: Sequence[Message]) -> Sequence[Refused]:
        """Add records; return those that make no row."""
        ...

    def take(self) -> pa.Table:
        """Return the rows, and begin again."""
        ...

    def widened(self) -> Sequence[str]:
        """Return a sentence for each column that was widened since the last call."""
        ...


class AgreeingRows(Rows, Protocol):
    """Rows of a table whose files have types of their own."""

    def adopt(self, agreed: pa.Schema) -> None:
        """Take over the columns that all writers of the table agreed on."""
        ...


class SetAside(Protocol):
    """What becomes of records that make no row."""

    def add(self, refused: Sequence[Refused]) -> None:
        """Set records aside. Raises WorldError."""
        ...

    def flush(self) -> None:
        """Return when all of them are safe. Raises WorldError."""
        ...


class _Claimed:
    """A partition that this process writes to."""

    def __init__(self, rows: AgreeingRows, topic_id: str, last: Step | None, missing: Sequence[str]) -> None:
        self.rows = rows
        self.topic_id = topic_id
        self.last = last
        self.missing = missing
        """The files of the last step that must be written first."""
        self.files: dict[str, ParquetFile] = {}
        """Those under way, by directory."""
        self.schema: pa.Schema | None = None
        """That of the files under way."""
        self.first_offset: int | None = None
        """That of the first record of the open batch."""
        self.first_in_memory: int | None = None
        """That of the first record since rows last went to files."""
        self.last_ms: int | None = None
        """The timestamp of the last record."""
        self.last_in_files_ms: int | None = None
        """That of the last one in the files under way."""
        self.share = _SHARE
        self.lost = 0
        """So many offsets of the open batch are lost."""
        self.is_fenced = False
        """Another writer has gone on; the next write or commit tells it."""

    @property
    def after(self) -> int:
        """The position that the open batch follows."""
        return self.last.end if self.last is not None else 0

    @property
    def largest_bytes(self) -> int:
        """The size of the largest file under way."""
        return max((each.size_bytes for each in self.files.values()), default=0)

    @property
    def stored_bytes(self) -> int:
        """The size of all files under way."""
        return sum(each.size_bytes for each in self.files.values())

    def drop(self) -> None:
        """Remove the files under way."""
        for each in self.files.values():
            each.drop()
        self.files = {}


class ParquetSink:
    """A sink. Any number of processes may write to one location. Close it: it has temporary files."""

    def __init__(
        self,
        location: Location,
        ledger: Ledger,
        *,
        identity: str,
        table_of: Callable[[str], str],
        make_rows: Callable[[str, pa.Schema | None], AgreeingRows],
        set_aside: SetAside,
        partition_by: Sequence[PartitionBy],
        file_bytes: int,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """`identity` is the lake's id, and `table_of` names the table of a topic.

        `make_rows` makes the rows of a topic, whose columns were last as the schema says.
        """
        self.identity = identity
        self.written = Sums()
        """By this process."""
        self._location = location
        self._ledger = ledger
        self._types = AgreedTypes(location)
        self._table_of = table_of
        self._make_rows = make_rows
        self._set_aside = set_aside
        self._partition_by = partition_by
        self._file_bytes = file_bytes
        self._now_ms = now_ms
        self._claimed: dict[Place, _Claimed] = {}
        self._temporary = TemporaryFolder()

    def close(self) -> None:
        """Remove the temporary files."""
        self.release(list(self._claimed))
        self._temporary.close()

    def claim(self, place: Place, topic_id: str) -> Position | None:
        """Return where the ledger ends. Nobody needs to be fenced before: the next step has room for one."""
        self.release([place])
        last = self._ledger.last(place)
        missing = self._ledger.missing(place, last) if last else []
        known = None if missing else self._types.newest(self._table_of(place.topic))
        rows = self._make_rows(place.topic, known or _schema_of(last))
        self._claimed[place] = _Claimed(rows, last.topic_id if last else topic_id, last, missing)
        return _position(last, missing)

    def position(self, place: Place) -> Position | None:
        """Return where the ledger ends."""
        last = self._ledger.last(place)
        return _position(last, self._ledger.missing(place, last) if last else [])

    def write(self, place: Place, records: Sequence[Message]) -> None:
        """Add rows, in memory and from there to files of this machine."""
        claimed = self._claimed[place]
        if claimed.is_fenced:
            raise FencedError
        if claimed.first_in_memory is None:
            claimed.first_in_memory = records[0].offset()
        if claimed.first_offset is None:
            claimed.first_offset = claimed.first_in_memory
        claimed.last_ms = records[-1].timestamp()[1]
        self._set_aside.add(claimed.rows.append(records))
        if claimed.rows.size_bytes >= CHUNK_BYTES:
            self._spill(place)
        if sum(each.rows.size_bytes for each in self._claimed.values()) > MEMORY_BYTES:
            self._spill(max(self._claimed, key=lambda each: self._claimed[each].rows.size_bytes))

    def is_full(self, place: Place) -> bool:
        """Return whether a file has its wanted size, or there are too many."""
        claimed = self._claimed[place]
        in_memory = claimed.rows.size_bytes
        if in_memory and claimed.largest_bytes + in_memory * claimed.share >= self._file_bytes:
            self._spill(place)  # what it takes is known only then
        return claimed.is_fenced or claimed.largest_bytes >= self._file_bytes or len(claimed.files) > FILES_MAX

    def commit(self, ends: Mapping[Place, int]) -> set[Place]:
        """Commit one partition after the other."""
        return commit_each(self.commit_one, ends)

    def commit_one(self, place: Place, next_offset: int) -> None:
        """Note the step, then create its files; or complete the step that was interrupted."""
        self._spill(place)
        if self._claimed[place].is_fenced:
            raise FencedError
        self._commit(place, next_offset)

    def skip(self, place: Place, next_offset: int) -> None:
        """Move the position of a partition over offsets that are lost: with a step that has no file.

        A step that was interrupted is completed with empty files; of its offsets, the sums do not say what is lost.
        """
        claimed = self._claimed[place]
        if claimed.missing:
            self._commit(place, claimed.after)
        if next_offset > claimed.after:
            claimed.lost = next_offset - claimed.after
            self._commit(place, next_offset)

    def release(self, places: Iterable[Place]) -> None:
        """Drop the rows and files under way."""
        for place in places:
            if claimed := self._claimed.pop(place, None):
                claimed.drop()

    def _spill(self, place: Place) -> None:
        """Move rows from memory to the files under way."""
        claimed = self._claimed[place]
        in_memory, first = claimed.rows.size_bytes, claimed.first_in_memory
        claimed.first_in_memory = None
        if not in_memory or first is None:
            return
        # An interrupted step is completed with the types that it noted, although others may have wider ones by now.
        if not claimed.missing or claimed.rows.schema != _schema_of(claimed.last):
            claimed.rows.adopt(self._types.agree(self._table_of(place.topic), claimed.rows.schema))
        table = claimed.rows.take()
        for sentence in claimed.rows.widened():
            logger.warning("column widened", extra={**place._asdict(), "detail": sentence})
        if claimed.schema is not None and not table.schema.equals(claimed.schema, check_metadata=True):
            if claimed.missing and claimed.last is not None:
                raise _changed(place, claimed.last, "its columns now have other types")
            try:
                self._commit(place, first)
            except FencedError:
                claimed.is_fenced = True
                return
            claimed.first_offset = first
        claimed.schema, claimed.last_in_files_ms = table.schema, claimed.last_ms
        before = claimed.stored_bytes
        with self._temporary.telling():
            for directory, rows in split(table, self._partition_by):
                if directory not in claimed.files:
                    claimed.files[directory] = ParquetFile(self._temporary.path, table.schema)
                claimed.files[directory].append(rows)
        claimed.share = (claimed.stored_bytes - before) / in_memory

    def _commit(self, place: Place, end: int) -> None:
        """Commit the files under way."""
        claimed = self._claimed[place]
        self._set_aside.flush()
        if claimed.missing and claimed.last is not None:
            self._complete(place, claimed, claimed.last)
        else:
            schema = claimed.rows.schema if claimed.schema is None else claimed.schema
            files = self._finish(place, claimed, claimed.after, end)
            step = self._step(claimed, files, schema, end)
            self._ledger.add(place, step)
            self._upload(place, step, files)
            claimed.last = step
        claimed.drop()
        claimed.missing, claimed.lost = (), 0
        claimed.schema = claimed.first_offset = claimed.last_in_files_ms = None

    def _step(self, claimed: _Claimed, files: Mapping[str, ParquetFile], schema: pa.Schema, end: int) -> Step:
        noted = tuple(DataFile(name, file.rows, file.size_bytes) for name, file in files.items())
        last = claimed.last
        return Step(
            after=claimed.after,
            begin=claimed.after if claimed.first_offset is None else claimed.first_offset,
            end=end,
            topic_id=claimed.topic_id,
            files=noted,
            schema=schema.serialize().to_pybytes(),
            last_ms=claimed.last_in_files_ms or claimed.last_ms or (last.last_ms if last else None),
            committed_ms=self._now_ms(),
            writer=uuid.uuid4().hex,
            sums=(last.sums if last else Sums()).plus(noted).and_(Sums(lost=claimed.lost)),
        )

    def _complete(self, place: Place, claimed: _Claimed, step: Step) -> None:
        """Write the missing files of a step from its records, read again."""
        files = self._finish(place, claimed, step.after, step.end)
        if unknown := files.keys() - {each.name for each in step.files}:
            raise _changed(place, step, f"its records now go into other files, such as {min(unknown)}")
        with self._temporary.telling():
            for name in claimed.missing:
                if name not in files:  # compaction removed its records before they were read again
                    files[name] = ParquetFile(self._temporary.path, claimed.rows.schema)
                    files[name].finish({})
        self._upload(place, step, {name: files[name] for name in claimed.missing})

    def _upload(self, place: Place, step: Step, files: Mapping[str, ParquetFile]) -> None:
        uploads = {name: functools.partial(_uploaded, self._location, file.path) for name, file in files.items()}
        self._ledger.complete(place, step, uploads)
        self.written = self.written.plus(tuple(each for each in step.files if each.name in files))

    def _finish(self, place: Place, claimed: _Claimed, after: int, end: int) -> dict[str, ParquetFile]:
        """Return the files under way, whole, by the names that they get."""
        told = {"topic": place.topic, "partition": str(place.partition), "after": str(after), "end": str(end)}
        with self._temporary.telling():
            for file in claimed.files.values():
                file.finish({f"tailrace.{name}": value for name, value in told.items()})
        return {self._name(place, directory, after, end): file for directory, file in claimed.files.items()}

    def _name(self, place: Place, directory: str, after: int, end: int) -> str:
        folder = f"{self._table_of(place.topic)}/changes"
        name = f"{place.topic}-{place.partition}-{after:020}-{end:020}.parquet"
        return "/".join(part for part in (folder, directory, name) if part)


def _position(last: Step | None, missing: Sequence[str]) -> Position | None:
    if last is None:
        return None
    return Position(last.begin, last.topic_id, last.end) if missing else Position(last.end, last.topic_id)


def _schema_of(last: Step | None) -> pa.Schema | None:
    return pa.ipc.read_schema(pa.py_buffer(last.schema)) if last is not None else None


def _changed(place: Place, step: Step, how: str) -> WorldError:
    """Return the error for an interrupted step that would be completed otherwise than it was begun."""
    return WorldError(
        f"{place} was written in part up to offset {step.end}, and {how}",
        hint="the pipeline file's `lake` was changed meanwhile: write the lake once with it as it was",
    )


def _uploaded(location: Location, path: Path, name: str) -> bool:
    return location.upload(name, path)
