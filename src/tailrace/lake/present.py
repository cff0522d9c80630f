"""The present state of a table from its changes: the last change of each key counts. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.errors import WorldError

DELETED = "d"
"""`__op` of a change that removes the item."""


def latest(rows: pa.Table, keys: Sequence[str], table: str) -> pa.Table:
    """Return the last row of each key, of rows in the order of their changes. Raises WorldError if one has no key."""
    missing = next((key for key in keys if key not in rows.column_names or rows.column(key).null_count), None)
    if missing is not None or not keys:
        raise WorldError(
            f"changes of {table} have no {missing or 'key'}, by which they are merged",
            hint="keep the attributes of the key in `columns` of the lake, with a type that holds them",
        )
    grouped = _numbered(rows, keys).group_by(list(keys)).aggregate([("row", "max")])
    return rows.take(grouped.column("row_max").sort())


def present(rows: pa.Table) -> pa.Table:
    """Return the rows of items that are there."""
    return rows.filter(pc.not_equal(rows.column("__op"), DELETED))


def untouched(rows: pa.Table, changed: pa.Table, keys: Sequence[str]) -> pa.Array:
    """Return the indexes of the rows whose key none of the changed rows has, in their order."""
    others = changed.select(keys).cast(rows.select(keys).schema)
    kept = _numbered(rows, keys).join(others, keys=list(keys), join_type="left anti")
    return kept.column("row").combine_chunks().sort()


def _numbered(rows: pa.Table, keys: Sequence[str]) -> pa.Table:
    return rows.select(keys).append_column("row", pa.array(range(rows.num_rows), pa.int64()))
