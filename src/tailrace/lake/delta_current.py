"""The present state of a table in Delta Lake: each batch of changes is merged by key, with its mark, in one commit.

Delta rewrites the files that hold a changed key. Two merges at once exclude each other: the later one is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties

from tailrace.kafka.watched_consumer import Place
from tailrace.lake.delta_table import DeltaChanges
from tailrace.lake.fitting import fitted
from tailrace.lake.present import DELETED, latest
from tailrace.lake.table_sink import Mark


class DeltaCurrent(DeltaChanges):
    """A `ChangeTable` that holds the last change of each key that is not a delete."""

    def __init__(
        self,
        uri: str,
        columns: pa.Schema,
        keys: Sequence[str],
        options: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """`keys` are the columns of the item's key."""
        super().__init__(uri, columns, _nothing_to_store, options)
        self._keys = keys

    def upload(self, file: Path, _part: Hashable) -> object:
        """Leave the file where it is: it is merged from there."""
        return file

    def commit(self, place: Place, mark: Mark, files: Sequence[object]) -> None:
        """Merge the changes into the version that was looked at."""
        if files and self._merge(place, mark, files):
            return
        super().commit(place, mark, ())  # a merge that changes nothing commits nothing, not even the mark

    def _merge(self, place: Place, mark: Mark, files: Sequence[object]) -> bool:
        rows = pa.concat_tables(fitted(pq.read_table(file), self.schema, self.name) for file in files)
        with self._telling("merging into"):
            done = (
                self._loaded.merge(
                    latest(rows, self._keys),
                    " AND ".join(f'present."{key}" = changed."{key}"' for key in self._keys),
                    source_alias="changed",
                    target_alias="present",
                    commit_properties=CommitProperties(app_transactions=self._transactions(place, mark)),
                )
                .when_matched_delete(f"changed.__op = '{DELETED}'")
                .when_matched_update_all(f"changed.__op <> '{DELETED}'")
                .when_not_matched_insert_all(f"changed.__op <> '{DELETED}'")
                .execute()
            )
        return bool(done["num_target_files_added"] or done["num_target_files_removed"])


def _nothing_to_store(_name: str, file: Path) -> None:
    raise AssertionError(file)
