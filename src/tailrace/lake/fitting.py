"""Makes rows fit the columns that a table has, every value as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from tailrace.errors import WorldError

_Test = Callable[[pa.DataType], bool]

_DIGITS: Final = 38
_KINDS: Final[tuple[_Test, ...]] = (
    types.is_decimal,
    types.is_integer,
    types.is_floating,
    types.is_boolean,
    types.is_timestamp,
    types.is_date,
    lambda kind: types.is_string(kind) or types.is_large_string(kind),
    lambda kind: types.is_binary(kind) or types.is_large_binary(kind),
)
"""A value keeps its meaning among the types of a kind; a cast fails where it would lose a digit."""


def additions(table: pa.Schema, rows: pa.Schema) -> pa.Schema:
    """Return the columns that rows have beyond those of a table, and those with more members of structs or more digits.

    What both have keeps its type otherwise. Where rows have null only, they say nothing of a type: that is left out.
    """
    merged = grown(table, rows)
    return pa.schema(
        [field for field in merged if table.get_field_index(field.name) < 0 or table.field(field.name) != field]
    )


def grown(table: pa.Schema, rows: pa.Schema) -> pa.Schema:
    """Return the columns of a table with `additions`."""
    return pa.schema(_members(list(table), list(rows)))


def with_all_digits(schema: pa.Schema) -> pa.Schema:
    """Return a schema whose decimals have as many digits as there can be."""
    return pa.schema([field.with_type(_with_all_digits(field.type)) for field in schema])


def fitted(rows: pa.Table, schema: pa.Schema, table: str) -> pa.Table:
    """Return rows with the columns of `schema`, null where they have none.

    Raises:
        WorldError: a column of the rows is not among those of `table`, or has values that its type cannot hold.
    """
    unknown = (field for field in rows.schema if schema.get_field_index(field.name) < 0)
    missing = next((field.name for field in unknown if not types.is_null(field.type)), None)
    if missing is not None:
        raise WorldError(
            f"{table} has no column {missing}", hint="another program has removed or renamed it: restore it"
        )
    columns = [
        _column(rows.column(field.name), field, table)
        if field.name in rows.column_names
        else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def read_changes(files: Sequence[object], schema: pa.Schema, table: str) -> pa.Table:
    """Return the rows of files on this machine, one after the other. Raises WorldError as `fitted` does."""
    return pa.concat_tables(fitted(pq.read_table(file), schema, table) for file in files)


def _members(wide: list[pa.Field], narrow: list[pa.Field]) -> list[pa.Field]:
    others = {field.name: field.type for field in narrow}
    grown = [
        field.with_type(_grown(field.type, others[field.name])) if field.name in others else field for field in wide
    ]
    known = {field.name for field in wide}
    return grown + [field for field in narrow if field.name not in known and not types.is_null(field.type)]


def _grown(wide: pa.DataType, narrow: pa.DataType) -> pa.DataType:
    if types.is_struct(wide) and types.is_struct(narrow):
        return pa.struct(_members(list(wide), list(narrow)))
    if types.is_map(wide) and types.is_map(narrow):
        return pa.map_(wide.key_field, wide.item_field.with_type(_grown(wide.item_type, narrow.item_type)))
    if _is_list(wide) and _is_list(narrow):
        make = pa.large_list if types.is_large_list(wide) else pa.list_
        return make(wide.value_field.with_type(_grown(wide.value_type, narrow.value_type)))
    if types.is_decimal(wide) and types.is_decimal(narrow) and wide.scale == narrow.scale:
        return narrow if narrow.precision > wide.precision else wide
    return wide


def _with_all_digits(kind: pa.DataType) -> pa.DataType:
    if types.is_decimal(kind):
        return pa.decimal128(_DIGITS, kind.scale)
    if types.is_struct(kind):
        return pa.struct([field.with_type(_with_all_digits(field.type)) for field in kind])
    if types.is_map(kind):
        return pa.map_(kind.key_type, _with_all_digits(kind.item_type))
    return pa.list_(_with_all_digits(kind.value_type)) if _is_list(kind) else kind


def _column(values: pa.ChunkedArray, field: pa.Field, table: str) -> pa.ChunkedArray:
    if _holds(field.type, values.type):
        try:
            return values.cast(field.type)
        except pa.ArrowInvalid as error:
            reason = f": {error}"
    else:
        reason = ""
    raise WorldError(
        f"the column {field.name} of {table} is {field.type}, which cannot hold values of {values.type}{reason}",
        hint="columns of such a table keep their type: declare the type under `columns`, and begin a new table with it",
    )


def _holds(wide: pa.DataType, narrow: pa.DataType) -> bool:
    """Return whether values of one type keep their meaning in another, as far as they fit."""
    if types.is_null(narrow):
        return True
    if types.is_struct(wide) and types.is_struct(narrow):
        indexes = [wide.get_field_index(field.name) for field in narrow]
        return all(
            index >= 0 and _holds(wide.field(index).type, field.type)
            for index, field in zip(indexes, narrow, strict=True)
        )
    if types.is_map(wide) and types.is_map(narrow):
        return _holds(wide.key_type, narrow.key_type) and _holds(wide.item_type, narrow.item_type)
    if _is_list(wide) and _is_list(narrow):
        return _holds(wide.value_type, narrow.value_type)
    if types.is_decimal(wide) and types.is_integer(narrow):
        return True
    return any(kind(wide) and kind(narrow) for kind in _KINDS)


def _is_list(kind: pa.DataType) -> bool:
    return bool(types.is_list(kind) or types.is_large_list(kind))
