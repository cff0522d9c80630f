"""The present state of tables in Parquet files: copies are written aside, and a step of a ledger switches to them.

    orders/_current/shop.orders/0/00000000000000004711-9f3c…-2-0.pq    items whose key's hash is even, after a merge
    _tailrace/current/shop.orders/0/00000000000000004711.json          the step: position, and the files of the state

Of each partition the state is a few files, each with the items of one part of the keys' hashes. A merge writes those
anew that hold a changed item, under names that nobody has had, then creates the step, which is named after the position
that it continues from. The last step is the pointer: state and position are one object, so a writer that dies has left
the old state, or the new one, and what it wrote aside is removed later. Of two that continue from one position one
creates the step. Where that step is gone, since steps are removed after a while, a later one is there: whoever creates
a step looks once more for a later one, and readers take the last.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
import zlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tailrace.errors import UnreachableError, WorldError
from tailrace.kafka.watched_consumer import Place
from tailrace.lake.agreed_types import AgreedTypes
from tailrace.lake.fitting import fitted, grown, read_changes, with_all_digits
from tailrace.lake.ledger import DataFile, Ledger, Step, Sums
from tailrace.lake.location import MaintainedLocation
from tailrace.lake.old_copies import folder_of, old_copies
from tailrace.lake.parquet_file import ParquetFile
from tailrace.lake.present import latest, present, untouched
from tailrace.lake.table_sink import ConflictError, Mark
from tailrace.lake.temporary_folder import TemporaryFolder
from tailrace.sinks.contract import FencedError

CHANGES_BYTES: Final = 32 << 20
"""So many bytes of changes, as they are stored, are merged at once, since they are in memory then."""
_ROWS: Final = 8_192
_GROUP_BYTES: Final = 16 << 20
"""What a row group takes in memory."""
_PARTS_MAX: Final = 1 << 16
_CLEANINGS: Final = 4
"""Within the time that old copies are kept, so often it is looked for those that may go."""
_NAME: Final = re.compile(r"-(\d+)-(\d+)\.pq$")


class _Part(NamedTuple):
    """The keys whose hash, modulo `of`, is `number`, and the file that has their items; None before the first."""

    of: int = 1
    number: int = 0
    file: DataFile | None = None


class ParquetCurrent:
    """A `ChangeTable` that holds the last change of each key that is not a delete."""

    is_apart = True

    def __init__(
        self,
        location: MaintainedLocation,
        ledger: Ledger,
        types: AgreedTypes,
        table: str,
        columns: pa.Schema,
        *,
        file_bytes: int,
        keep_ms: int,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """`columns` are those that a new table has; `types` and `ledger` are of present states alone.

        A copy that the present state does not need is kept for `keep_ms`, as readers may be at it.
        """
        self.name = f"{location.uri}/{table}/_current"
        self._location = location
        self._ledger = ledger
        self._types = types
        self._table = table
        self._columns = columns
        self._file_bytes = file_bytes
        self._keep_ms = keep_ms
        self._now_ms = now_ms
        self._schema = columns
        self._last: dict[Place, Step | None] = {}
        """Of the partitions that were asked for, as they were then."""
        self._cleaned_ms: dict[Place, int] = {}

    def find(self) -> bool:
        """Look at the columns."""
        self._schema = self._types.newest(self._table) or self._columns
        return True

    def look(self) -> None:
        """Look at the columns."""
        self.find()

    def sums(self) -> Sums:
        """Return what the partitions hold whose marks were asked for."""
        found = Sums()
        for step in self._last.values():
            found = found.and_(step.sums) if step is not None else found
        return found

    @property
    def schema(self) -> pa.Schema:
        """What all writers have agreed on."""
        return self._schema

    def mark(self, place: Place) -> Mark | None:
        """Return that of the partition's last step."""
        last = self._last[place] = self._ledger.last(place)
        if last is None:
            return None
        return Mark(last.end, last.topic_id, last.writer, last.last_ms or 0, last.committed_ms, last.sums.lost)

    def widen(self, columns: pa.Schema) -> None:
        """Agree on more columns."""
        self._schema = self._types.agree(self._table, grown(self._schema, with_all_digits(columns)))

    def split(self, rows: pa.Table) -> Iterator[tuple[Hashable, pa.Table]]:
        """Keep changes together."""
        yield None, rows

    def upload(self, file: Path, _part: Hashable) -> object:
        """Leave the file where it is: it is merged from there."""
        return file

    def commit(self, marks: Mapping[Place, Mark], files: Sequence[object], keys: Sequence[str]) -> None:
        """Write the files of the next state of one partition aside, then switch to it."""
        ((place, mark),) = marks.items()
        try:
            self._commit(place, mark, files, keys)
        except FencedError:
            raise ConflictError from None

    def _commit(self, place: Place, mark: Mark, files: Sequence[object], keys: Sequence[str]) -> None:
        """Commit a partition. Raises FencedError if another was first."""
        last = self._last[place]
        after = last.end if last is not None else 0
        stored = last.files if last is not None else ()
        if files:
            changed = latest(read_changes(files, self.schema, self.name), keys, self.name)
            with contextlib.closing(TemporaryFolder()) as temporary, temporary.telling():
                merge = _Merge(temporary.path, self.schema, self.name, keys, self._file_bytes)
                parts = self._merged(place, merge, changed, _parts(stored))
                stored = tuple(self._stored(place, after, each) for each in parts)
        step = Step(
            after=after,
            begin=after,
            end=mark.next_offset,
            topic_id=mark.topic_id,
            files=stored,
            schema=self.schema.serialize().to_pybytes(),
            last_ms=mark.last_ms or None,
            committed_ms=mark.committed_ms,
            writer=mark.batch,
            sums=Sums(lost=mark.lost).plus(stored),
        )
        self._ledger.add(place, step)
        self._require_last(place, step)
        self._clean(place)

    def _require_last(self, place: Place, step: Step | None) -> None:
        """Raise FencedError if another writer has gone on."""
        last = self._ledger.last(place)
        if (last and last.writer) != (step and step.writer):
            raise FencedError

    def _merged(
        self, place: Place, merge: _Merge, changed: pa.Table, parts: Sequence[_Part]
    ) -> Iterator[DataFile | _Written]:
        """Yield the files of the next state: those that remain, and those that were written."""
        hashes = _hashes(changed, merge.keys) if len(parts) > 1 else None
        for part in parts:
            own = changed if hashes is None else changed.filter(_is_in(hashes, part.of, part.number))
            if not own.num_rows and part.file is not None:
                yield part.file
                continue
            copy = merge.folder / "copy"
            if part.file is not None and not self._location.download(part.file.name, copy):
                self._require_last(place, self._last[place])
                raise WorldError(
                    f"{self._location.uri}/{part.file.name} is gone, which the present state needs",
                    hint="restore the file; or begin the table again, as docs/lake.md says",
                )
            yield from merge.run(part, copy if part.file is not None else None, own)

    def _stored(self, place: Place, after: int, each: DataFile | _Written) -> DataFile:
        """Upload a file that was written, and remove it here."""
        if isinstance(each, DataFile):
            return each
        name = f"{folder_of(self._table, place)}/{after:020}-{secrets.token_hex(8)}-{each.of}-{each.number}.pq"
        self._location.upload(name, each.file.path)
        each.file.drop()
        return DataFile(name, each.file.rows, each.file.size_bytes)

    def _clean(self, place: Place) -> None:
        """Remove old copies, now and then; what fails is done the next time."""
        now_ms = self._now_ms()
        if now_ms - self._cleaned_ms.get(place, 0) < self._keep_ms / _CLEANINGS:
            return
        self._cleaned_ms[place] = now_ms
        with contextlib.suppress(UnreachableError):
            found = old_copies(self._location, self._ledger, self._table, place, keep_ms=self._keep_ms, now_ms=now_ms)
            for name in found:
                self._location.remove(name)


class _Written(NamedTuple):
    """A file of the next state on this machine."""

    of: int
    number: int
    file: ParquetFile


class _Merge:
    """Merges changes into files on this machine, a row group at a time."""

    def __init__(self, folder: Path, schema: pa.Schema, table: str, keys: Sequence[str], file_bytes: int) -> None:
        self.folder = folder
        self.keys = keys
        self._schema = schema
        self._table = table
        self._file_bytes = file_bytes

    def run(self, part: _Part, stored: Path | None, changed: pa.Table) -> Iterator[_Written]:
        """Yield the files that take the place of a part's: several, if one would be larger than wanted."""
        file = ParquetFile(self.folder, self._schema)
        for rows in self._groups(stored) if stored is not None else ():
            missing = next((key for key in self.keys if rows.column(key).null_count), None)
            if missing is not None:
                raise WorldError(
                    f"{self._table} holds items without {missing}, which is their key now",
                    hint="name the column of the key in `columns` of the lake as before",
                )
            _append(file, rows.take(untouched(rows, changed, self.keys)))
        _append(file, present(changed))
        file.close()
        yield from self._cut(_Written(part.of, part.number, file))

    def _groups(self, stored: Path) -> Iterator[pa.Table]:
        """Yield the rows of a file with the columns of now, as row groups should be."""
        held: list[pa.Table] = []
        with pq.ParquetFile(stored) as file:
            for batch in file.iter_batches(_ROWS):
                held.append(fitted(pa.Table.from_batches([batch]), self._schema, self._table))
                if sum(each.nbytes for each in held) >= _GROUP_BYTES:
                    yield pa.concat_tables(held)
                    held = []
        if held:
            yield pa.concat_tables(held)

    def _cut(self, written: _Written) -> Iterator[_Written]:
        """Yield a file, or if it is too large those of its halves."""
        of, number, file = written
        if file.size_bytes <= self._file_bytes or file.rows <= 1 or of >= _PARTS_MAX:
            yield written
            return
        halves = [_Written(2 * of, each, ParquetFile(self.folder, self._schema)) for each in (number, number + of)]
        for rows in self._groups(file.path):
            hashes = _hashes(rows, self.keys)
            for half in halves:
                _append(half.file, rows.filter(_is_in(hashes, half.of, half.number)))
        file.drop()
        for half in halves:
            half.file.close()
            yield from self._cut(half)


def _parts(files: Sequence[DataFile]) -> list[_Part]:
    """Return the parts of a state: their hashes are all that there are."""
    found = [(_NAME.search(each.name), each) for each in files]
    return [_Part(int(name[1]), int(name[2]), each) for name, each in found if name is not None] or [_Part()]


def _hashes(rows: pa.Table, keys: Sequence[str]) -> pa.Array:
    """Return a hash of each key, the same for ever: columns keep their types, and so values their text."""
    columns = [rows.column(key).to_pylist() for key in keys]
    return pa.array([zlib.crc32(repr(key).encode()) for key in zip(*columns, strict=True)], pa.uint32())


def _is_in(hashes: pa.Array, of: int, number: int) -> pa.Array:
    """Return which hashes are in a part; `of` is a power of two."""
    return pc.equal(pc.bit_wise_and(hashes, pa.scalar(of - 1, pa.uint32())), pa.scalar(number, pa.uint32()))


def _append(file: ParquetFile, rows: pa.Table) -> None:
    if rows.num_rows:
        file.append(rows)
