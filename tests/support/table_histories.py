"""A table of a lake in simulated time: writers interleaved, frozen and killed at any call, and commits that go astray.

The tables are real ones in a folder. What they hold is read with the formats' own libraries, in any of their versions.
"""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple, Protocol
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Message
from deltalake import DeltaTable

from support.lake_rows import NothingSetAside
from support.lake_tables import BASE, Delta, Iceberg
from support.sink_histories import PLACES, World
from tailrace.config.lake import TableKind
from tailrace.errors import UnreachableError
from tailrace.kafka.watched_consumer import Place
from tailrace.lake import table_sink
from tailrace.lake.columns import Refused
from tailrace.lake.iceberg_current import IcebergCurrent
from tailrace.lake.iceberg_table import IcebergChanges
from tailrace.lake.table_sink import ChangeTable, ConflictError, TableSink
from tailrace.sinks.progress import Limits

Mishap = Literal["refused", "answer lost", "carried out twice", "late"]
MISHAPS: tuple[Mishap, ...] = ("refused", "answer lost", "carried out twice", "late")
VERSIONS = 4
"""So many versions of a table are looked at, besides the last."""
WIDENS_EVERY = 25
LIMITS = Limits(size_bytes=10, age_ms=5_000)
"""Of a batch; each commit takes some 50 ms."""
SCHEMA = pa.schema([*BASE, ("id", pa.string())])


def key_of(place: Place, offset: int) -> str:
    """Return the item that a record is of; an item is of one partition."""
    return f"{place.partition}-{offset * 7 % 5 // 2}"


def op_of(offset: int) -> str:
    """Return what a record does to its item."""
    return "d" if offset % 4 == 3 else "u"


class KeyedRows:
    """Rows that follow from where a record is; a column comes with each so many offsets."""

    def __init__(self, known: pa.Schema) -> None:
        self.keys: tuple[str, ...] = ("id",)
        self._rows: list[tuple[object, ...]] = []
        self._columns = 0
        self.adopt(known)

    @property
    def size_bytes(self) -> int:
        return 100 * len(self._rows)

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([*SCHEMA, *(pa.field(f"column{number}", pa.string()) for number in range(self._columns))])

    def settle(self) -> None:
        pass

    def adopt(self, agreed: pa.Schema) -> None:
        self._columns = max(self._columns, sum(name.startswith("column") for name in agreed.names))

    def append(self, messages: Sequence[Message]) -> list[Refused]:
        for each in messages:
            place, offset = Place(each.topic() or "", each.partition() or 0), each.offset() or 0
            self._rows.append((op_of(offset), each.timestamp()[1], *place, offset, key_of(place, offset)))
            self._columns = max(self._columns, offset // WIDENS_EVERY)
        return []

    def widened(self) -> list[str]:
        return []

    def take(self) -> pa.Table:
        arrays = [pa.array(each, field.type) for each, field in zip(zip(*self._rows, strict=True), SCHEMA, strict=True)]
        self._rows = []
        empty = [pa.nulls(len(arrays[0]), pa.string())] * self._columns
        return pa.table([*arrays, *empty], schema=self.schema)


class Version(NamedTuple):
    """What a table held at a moment."""

    files: list[list[tuple[Place, int]]]
    """The records that the rows of each file come from."""
    positions: Mapping[Place, int]


class Kind(Protocol):
    """A format."""

    def make(self, folder: Path, kind: TableKind) -> ChangeTable: ...

    def versions(self, folder: Path, kind: TableKind, random: Random) -> Iterator[Version]:
        """Yield some versions of a table, and the last."""
        ...


class IcebergVersions:
    """Tables of Iceberg, read with pyiceberg."""

    def make(self, folder: Path, kind: TableKind) -> ChangeTable:
        catalog = Iceberg().catalog(folder)
        make = IcebergChanges if kind == "changes" else IcebergCurrent
        return make(lambda: catalog, ("shop", f"orders_{kind}"), BASE, of="orders")

    def versions(self, folder: Path, kind: TableKind, random: Random) -> Iterator[Version]:
        table = Iceberg().catalog(folder).load_table(f"shop.orders_{kind}")
        snapshots = table.snapshots()
        for snapshot in [*random.sample(snapshots, min(VERSIONS, len(snapshots))), *snapshots[-1:]]:
            tasks = table.scan(snapshot_id=snapshot.snapshot_id).plan_files()
            assert snapshot.summary is not None
            marks = json.loads(snapshot.summary.additional_properties["tailrace.marks"])
            positions = {place: marks[f"t/{place.partition}"][0] for place in PLACES if f"t/{place.partition}" in marks}
            yield Version([_records(task.file.file_path.removeprefix("file://")) for task in tasks], positions)


class DeltaVersions:
    """Tables of Delta, read with deltalake."""

    def make(self, folder: Path, kind: TableKind) -> ChangeTable:
        return Delta().table(folder) if kind == "changes" else Delta().current(folder)

    def versions(self, folder: Path, kind: TableKind, random: Random) -> Iterator[Version]:
        uri = f"{folder}/orders_{kind}"
        last = DeltaTable(uri).version()
        for number in [*random.sample(range(last), min(VERSIONS, last)), last]:
            table = DeltaTable(uri, version=number)
            found = {place: table.transaction_version(f"tailrace/t/{place.partition}") for place in PLACES}
            positions = {place: offset for place, offset in found.items() if offset is not None}
            yield Version([_records(each) for each in table.file_uris()], positions)


def _records(file: str) -> list[tuple[Place, int]]:
    columns = pq.ParquetFile(file).read(["__topic", "__partition", "__offset"]).to_pydict().values()
    return [(Place(topic, partition), offset) for topic, partition, offset in zip(*columns, strict=True)]


class Astray:
    """A table as one process has it: the process may be frozen or killed at each call, and commits go astray."""

    def __init__(self, table: ChangeTable, history: TableHistory) -> None:
        self._table = table
        self._history = history

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def look(self) -> None:
        self._history.on_call()
        self._table.look()

    def widen(self, columns: pa.Schema) -> None:
        self._history.on_call()
        self._table.widen(columns)

    def upload(self, file: Path, part: Hashable) -> object:
        self._history.on_call()
        return self._table.upload(file, part)

    def commit(self, *arguments: Any) -> None:
        mishap = self._history.on_call(MISHAPS)
        if mishap == "refused":
            raise UnreachableError("slow down")
        if mishap == "late":
            self._history.late.append(self._apart(*arguments))
            raise UnreachableError("no answer")
        again = self._apart(*arguments) if mishap == "carried out twice" else None
        self._table.commit(*arguments)
        if again is not None:
            again()
        if mishap == "answer lost":
            raise UnreachableError("no answer")
        self._history.on_call()

    def _apart(self, *arguments: Any) -> Callable[[], None]:
        """Return what carries a commit out against what was looked at, whatever becomes of the sender's files."""
        kept = [self._history.keep(each) if isinstance(each, Path) else each for each in arguments[1]]
        looked_at: Any = copy.copy(self._table)
        held = looked_at._table  # which a commit would move on
        looked_at._table = (
            DeltaTable(self._table.name, held.version()) if isinstance(held, DeltaTable) else copy.copy(held)
        )
        return partial(looked_at.commit, arguments[0], kept, *arguments[2:])


class TableHistory:
    """A history of one table, and how its writers fared."""

    def __init__(self, seed: int, format_: Kind, kind: TableKind, folder: Path) -> None:
        self.late: list[Callable[[], None]] = []
        """Commits that arrive only after their senders gave them up."""
        self.met: set[Mishap] = set()
        self._format = format_
        self._kind: TableKind = kind
        self._folder = folder
        self._mishaps = Random(seed)
        self._sinks: list[TableSink] = []
        self._kept = 0
        self._world = World(seed, self._sink, LIMITS)

    def run(self) -> None:
        with patch.object(table_sink, "CHUNK_BYTES", 300):
            try:
                self._world.run()
            finally:
                for each in self._sinks:
                    each.close()
        while self.late:
            self._arrive()

    @property
    def fenced(self) -> int:
        return self._world.fenced

    def faults(self) -> list[str]:
        """Say what is wrong in versions of the table: it must be what its positions say, in the last to the end."""
        said: list[str] = []
        positions: Mapping[Place, int] = {}
        for files, positions in self._format.versions(self._folder, self._kind, self._mishaps):
            said += [f"out of order: {records}" for records in files if self._is_log and records != sorted(records)]
            for place in PLACES:
                found = sorted(offset for records in files for at, offset in records if at == place)
                said += (self._gaps if self._is_log else self._wrong)(place, found, positions.get(place, 0))
        for place in PLACES:
            if positions.get(place, 0) < self._log.ends[place]:
                said.append(f"{place}: ends before {self._log.ends[place]}")
        return said

    @property
    def _is_log(self) -> bool:
        return self._kind == "changes"

    @property
    def _log(self) -> Any:
        return self._world.log

    def _gaps(self, place: Place, found: list[int], position: int) -> list[str]:
        """Compare a change log with what was committed; what compaction took away may be there or not."""
        compacted = {offset for at, offset in self._log.compacted if at == place}
        expected = {offset for offset in self._log.records[place] if offset < position}
        if len(found) == len(set(found)) and {*found} - compacted == expected:
            return []
        return [f"{place}: {found} instead of {sorted(expected)} before {position}"]

    def _wrong(self, place: Place, found: list[int], position: int) -> list[str]:
        """Compare present items with what may have been their last change; the last that compaction left counts."""
        last: dict[str, set[int | None]] = {key_of(place, offset): {None} for offset in range(5)}
        compacted = {offset for at, offset in self._log.compacted if at == place}
        for offset in sorted(each for each in {*self._log.records[place], *compacted} if each < position):
            own = None if op_of(offset) == "d" else offset
            key = key_of(place, offset)
            last[key] = {*last[key], own} if offset in compacted else {own}
        held = {key_of(place, offset): offset for offset in found}
        if len(held) == len(found) and all(held.get(key) in may for key, may in last.items()):
            return []
        return [f"{place}: {held} instead of {last} before {position}"]

    def keep(self, file: Path) -> Path:
        """Return a copy of a file, which its writer will remove."""
        self._kept += 1
        return Path(shutil.copy(file, self._folder / f"kept-{self._kept}.parquet"))

    def on_call(self, mishaps: Sequence[Mishap] = ()) -> Mishap | None:
        """Freeze the caller, let what was late arrive, kill the caller; return what its call meets."""
        if not self._world.trouble(self._mishaps, self.late, self._arrive):
            return None
        met = self._mishaps.choice(mishaps) if mishaps and self._mishaps.random() < 0.4 else None
        self.met |= {met} if met else set()
        return met

    def _arrive(self) -> None:
        with contextlib.suppress(ConflictError):
            self.late.pop()()

    def _sink(self) -> TableSink:
        table = Astray(self._format.make(self._folder, self._kind), self)
        sink = TableSink(
            lambda _: table,
            identity="lake",
            make_rows=lambda _topic, known: KeyedRows(known),
            set_aside=NothingSetAside(),
            file_bytes=1 << 20,
            now_ms=lambda: self._world.now_ms,
            sleep=lambda _: self._world.others_go_on(),
            now_s=lambda: self._world.now_ms / 1_000,
        )
        self._sinks.append(sink)
        return sink


FORMATS: dict[str, Kind] = {"iceberg": IcebergVersions(), "delta": DeltaVersions()}
