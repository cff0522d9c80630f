"""A table of Delta Lake: the marks of its partitions are application transactions, committed with the files they cover.

Delta refuses a commit if another one has meanwhile carried a transaction of the same application, and lets all others
pass. An application is a partition here. Its number is the next offset; more numbers are the batch and the topic's id.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tailrace.config.lake import PartitionBy
from tailrace.errors import WorldError
from tailrace.extras import brought_by
from tailrace.kafka.watched_consumer import Place
from tailrace.lake.fitting import additions, with_all_digits
from tailrace.lake.ledger import Sums
from tailrace.lake.partitions import NONE, split
from tailrace.lake.table_sink import DECLARE, Causes, ConflictError, Mark, telling

with brought_by("lake-delta"):
    from deltalake import CommitProperties, DeltaTable, Schema, Transaction
    from deltalake.exceptions import CommitFailedError, DeltaError, SchemaMismatchError, TableNotFoundError
    from deltalake.transaction import AddAction

_CAUSES: Final = Causes(
    conflict=CommitFailedError,
    refused=(SchemaMismatchError, ValueError, TypeError),
    unreachable=(DeltaError, OSError),
    check="check `lake.location`, the network and the rights; what is in the table is whole",
)
_NUMBER_BYTES: Final = 7
"""Of a text that is kept as numbers, which are signed and have 64 bits."""
_EXPIRY: Final = "delta.setTransactionRetentionDuration"


class DeltaChanges:
    """A `ChangeTable`."""

    is_apart = False

    def __init__(
        self,
        uri: str,
        columns: pa.Schema,
        store: Callable[[str, Path], object],
        options: Callable[[], Mapping[str, str]] = dict,
        partition_by: Sequence[PartitionBy] = (),
    ) -> None:
        """`columns` are those that a new table has from the beginning.

        `store` puts a file under a name into the table's folder; `options` are those of deltalake for that folder.
        """
        self.name = uri
        self._columns = columns
        self._store = store
        self._options = options
        self._partition_by = partition_by
        self._table: DeltaTable | None = None

    def find(self) -> bool:
        """Load the newest version of the log."""
        with self._telling("reading"):
            try:
                self._table = DeltaTable(self.name, storage_options=dict(self._options()))
            except TableNotFoundError:
                return False
        if _EXPIRY in self._table.metadata().configuration:
            raise WorldError(
                f"{self.name} forgets application transactions, which tell how far it has the topics",
                hint=f"remove its property {_EXPIRY}",
            )
        return True

    def look(self) -> None:
        """Load the newest version of the log; create the table if there is none."""
        while not self.find():
            with self._telling("creating"):
                self._create()

    def sums(self) -> Sums:
        """Return it from the log."""
        files = pa.table(self._loaded.get_add_actions(flatten=True))
        rows, size_bytes = (pc.sum(files.column(name)).as_py() or 0 for name in ("num_records", "size_bytes"))
        return Sums(files.num_rows, rows, size_bytes)

    def mark(self, place: Place) -> Mark | None:
        """Return it from the log."""
        application = _application(place)
        next_offset = self._loaded.transaction_version(application)
        if next_offset is None:
            return None
        topic_id = b""
        for index in count():
            number = self._loaded.transaction_version(f"{application}/topic-id-{index}")
            if number is None:
                break
            topic_id += number.to_bytes(_NUMBER_BYTES, "big").lstrip(b"\0")
        batch, last_ms, committed_ms, lost = (
            self._loaded.transaction_version(f"{application}/{name}") or 0
            for name in ("batch", "last-ms", "committed-ms", "lost")
        )
        return Mark(next_offset, topic_id.decode(), f"{batch:x}", last_ms, committed_ms, lost)

    @property
    def schema(self) -> pa.Schema:
        """The table's columns, without those of its parts."""
        parts = {each.directory for each in self._partition_by}
        return pa.schema([field for field in pa.schema(self._loaded.schema().to_arrow()) if field.name not in parts])

    def widen(self, columns: pa.Schema) -> None:
        """Add columns in a commit of their own: decimals with all digits, since Delta cannot widen them later."""
        while True:
            if not (new := additions(self.schema, with_all_digits(columns))):
                return
            with contextlib.suppress(ConflictError), self._telling("adding columns to", DECLARE):
                self._loaded.alter.add_columns(Schema.from_arrow(new).fields)
            self.look()

    def split(self, rows: pa.Table) -> Iterator[tuple[Hashable, pa.Table]]:
        """Yield the rows of each part, which is called as its directory would be."""
        yield from split(rows, self._partition_by)

    def upload(self, file: Path, part: Hashable) -> object:
        """Store the file under a name of its own in the table's folder."""
        name = f"{uuid.uuid4().hex}.parquet"
        self._store(name, file)
        stats = msgspec.json.encode({"numRecords": pq.read_metadata(file).num_rows}).decode()
        return AddAction(name, file.stat().st_size, _values(str(part)), time.time_ns() // 1_000_000, True, stats)

    def commit(self, marks: Mapping[Place, Mark], files: Sequence[object], _keys: Sequence[str]) -> None:
        """Commit the version after the one that was looked at, or after what others have committed since."""
        with self._telling("committing to"):
            self._loaded.create_write_transaction(
                [file for file in files if isinstance(file, AddAction)],
                "append",
                self._loaded.schema(),
                partition_by=[each.directory for each in self._partition_by],
                commit_properties=CommitProperties(app_transactions=transactions(marks)),
            )

    @property
    def _loaded(self) -> DeltaTable:
        assert self._table is not None
        return self._table

    def _create(self) -> None:
        parts = [each.directory for each in self._partition_by]
        schema = pa.schema([*self._columns, *(pa.field(name, pa.string()) for name in parts)])
        try:
            DeltaTable.create(
                self.name,
                schema,
                partition_by=parts,
                storage_options=dict(self._options()),
                commit_properties=CommitProperties(max_commit_retries=0),  # as version 0, or not at all
            )
        except DeltaError:
            if not self.find():  # another process was not first
                raise

    def _telling(self, doing: str, hint: str = _CAUSES.check) -> AbstractContextManager[None]:
        return telling(f"{doing} {self.name}", _CAUSES, hint)


def _values(directory: str) -> dict[str, str | None]:
    """Return the values of the columns that a part is known by."""
    pairs = (each.split("=", 1) for each in directory.split("/") if each)
    return {name: None if value == NONE else unquote(value) for name, value in pairs}


def _application(place: Place) -> str:
    return f"tailrace/{place.topic}/{place.partition}"


def transactions(marks: Mapping[Place, Mark]) -> list[Transaction]:
    """Return what a commit carries of partitions."""
    found: list[Transaction] = []
    for place, mark in marks.items():
        raw = mark.topic_id.encode()
        numbers = {
            "": mark.next_offset,
            "/batch": int(mark.batch, 16),
            "/last-ms": mark.last_ms,
            "/committed-ms": mark.committed_ms,
            "/lost": mark.lost,
            **{
                f"/topic-id-{index}": int.from_bytes(raw[begin : begin + _NUMBER_BYTES], "big")
                for index, begin in enumerate(range(0, len(raw), _NUMBER_BYTES))
            },
        }
        found += [Transaction(_application(place) + name, number) for name, number in numbers.items()]
    return found
