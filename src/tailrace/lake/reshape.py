"""Arrays as columns of wider types: what was built before a table's types widened."""

from __future__ import annotations

import pyarrow as pa

from tailrace.lake import values
from tailrace.lake.column_types import Fields


def to_fields(items: pa.StructArray | None, fields: Fields, rows: int) -> list[pa.Array]:
    """Return the fields of `items` as the arrays of `fields.arrow()`; it may add columns for JSON to `fields`."""
    held = {} if items is None else {field.name.lower(): items.field(i) for i, field in enumerate(items.type)}
    wanted = fields.arrow()
    try:
        return [to_type(held.get(field.name.lower()), field.type, rows) for field in wanted]
    except _CastError:
        pass
    # Some values no longer fit their column: build all of them again from Python values.
    objects = [values.of_columns(fields, each) for each in items.to_pylist()] if items is not None else [{}] * rows
    return values.struct_arrays(fields, objects, values.of_columns)


class _CastError(Exception):
    """The values are of another type."""


def to_type(array: pa.Array | None, wanted: pa.DataType, rows: int) -> pa.Array:
    """Return an array as one of a wider type; nulls for None."""
    if array is None:
        return pa.nulls(rows, wanted)
    if array.type == wanted:
        return array
    is_type = pa.types
    if is_type.is_struct(array.type) and is_type.is_struct(wanted):
        held = {field.name.lower(): array.field(i) for i, field in enumerate(array.type)}
        if not held.keys() <= {field.name.lower() for field in wanted}:
            raise _CastError
        arrays = [to_type(held.get(field.name.lower()), field.type, len(array)) for field in wanted]
        return pa.StructArray.from_arrays(arrays, fields=list(wanted), mask=array.is_null())
    if is_type.is_list(array.type) and is_type.is_list(wanted):
        elements = to_type(array.values, wanted.value_type, len(array.values))
        return pa.ListArray.from_arrays(array.offsets, elements, type=wanted, mask=array.is_null())
    if is_type.is_decimal(array.type) and is_type.is_decimal(wanted):
        try:
            return array.cast(wanted)
        except pa.ArrowInvalid:
            raise _CastError from None
    raise _CastError
