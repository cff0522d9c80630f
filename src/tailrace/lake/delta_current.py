"""The present state of a table in Delta Lake: each batch of changes is merged by key, with its mark, in one commit.

Delta rewrites the files that hold a changed key. Two merges at once exclude each other: the later one is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties

from tailrace.kafka.watched_consumer import Place
from tailrace.lake.delta_table import DeltaChanges, transactions
from tailrace.lake.fitting import read_changes
from tailrace.lake.present import DELETED, latest
from tailrace.lake.table_sink import Mark


class DeltaCurrent(DeltaChanges):
    """A `ChangeTable` that holds the last change of each key that is not a delete."""

    def __init__(self, uri: str, columns: pa.Schema, options: Callable[[], Mapping[str, str]] = dict) -> None:
        super().__init__(uri, columns, _nothing_to_store, options)

    def upload(self, file: Path, _part: Hashable) -> object:
        """Leave the file where it is: it is merged from there."""
        return file

    def commit(self, marks: Mapping[Place, Mark], files: Sequence[object], keys: Sequence[str]) -> None:
        """Merge the changes into the version that was looked at."""
        if files and self._merge(marks, latest(read_changes(files, self.schema, self.name), keys, self.name), keys):
            return
        super().commit(marks, (), keys)  # a merge that changes nothing commits nothing, not even the mark

    def _merge(self, marks: Mapping[Place, Mark], rows: pa.Table, keys: Sequence[str]) -> bool:
        # Not `when_matched_update_all`, which cannot read a name with a backtick.
        columns = {_quoted(name): f"changed.{_quoted(name)}" for name in rows.column_names}
        with self._telling("merging into"):
            done = (
                self._loaded.merge(
                    rows,
                    " AND ".join(f"present.{_quoted(key)} = changed.{_quoted(key)}" for key in keys),
                    source_alias="changed",
                    target_alias="present",
                    commit_properties=CommitProperties(app_transactions=transactions(marks)),
                )
                .when_matched_delete(f"changed.__op = '{DELETED}'")
                .when_matched_update(columns, f"changed.__op <> '{DELETED}'")
                .when_not_matched_insert(columns, f"changed.__op <> '{DELETED}'")
                .execute()
            )
        return bool(done["num_target_files_added"] or done["num_target_files_removed"])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _nothing_to_store(_name: str, file: Path) -> None:
    raise AssertionError(file)
