"""The present state of a table in Apache Iceberg: each batch of changes is merged by key, with its mark, in one commit.

Files that hold a changed key are replaced by files without it (copy on write), since pyiceberg writes no equality
deletes. Its own `upsert` is not used: it writes null lists inside structs as empty ones.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile
from pyiceberg.table import Transaction

from tailrace.kafka.watched_consumer import Place
from tailrace.lake.fitting import fitted, read_changes
from tailrace.lake.iceberg_table import MARKS, IcebergChanges
from tailrace.lake.present import latest, present, untouched
from tailrace.lake.table_sink import Mark


class IcebergCurrent(IcebergChanges):
    """A `ChangeTable` that holds the last change of each key that is not a delete."""

    def upload(self, file: Path, _part: Hashable) -> object:
        """Leave the file where it is: it is merged from there."""
        return file

    def commit(self, marks: Mapping[Place, Mark], files: Sequence[object], keys: Sequence[str]) -> None:
        """Commit a snapshot that has the changes, on top of the one that was looked at."""
        rows = latest(read_changes(files, self.schema, self.name), keys, self.name) if files else None
        with self._telling("merging into"):
            self._send(self._merged(marks, rows, keys))

    def _merged(self, marks: Mapping[Place, Mark], rows: pa.Table | None, keys: Sequence[str]) -> Transaction:
        encoded = self._encoded(marks)
        transaction = self._loaded.transaction()
        transaction.set_properties({MARKS: encoded})
        snapshot = transaction.update_snapshot(snapshot_properties={MARKS: encoded}).overwrite()
        if rows is not None:
            for task in self._loaded.scan().plan_files():
                kept = self._kept(task.file, rows, keys)
                if kept is not None:
                    snapshot.delete_data_file(task.file)
                    self._add(snapshot.append_data_file, kept)
            self._add(snapshot.append_data_file, present(rows))
        snapshot.commit()
        return transaction

    def _kept(self, file: DataFile, changed: pa.Table, keys: Sequence[str]) -> pa.Table | None:
        """Return what remains of a file; None when it has none of the changed keys."""
        stored = self._loaded.io.new_input(file.file_path)
        with stored.open() as stream:
            stored_keys = pq.read_table(stream, columns=list(keys))
        indexes = untouched(stored_keys, changed, keys)
        if len(indexes) == stored_keys.num_rows:
            return None
        with stored.open() as stream:
            return fitted(pq.read_table(stream), self.schema, self.name).take(indexes)

    def _add(self, append: Callable[[DataFile], object], rows: pa.Table) -> None:
        if rows.num_rows:
            with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
                pq.write_table(rows, file.name, compression="zstd")
                append(self._data_file(self._stored(Path(file.name), {}), self._loaded.spec()))
