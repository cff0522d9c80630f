"""Plain JSON objects as columns in one pass of pyarrow's reader: the quick way for items whose columns are known.

It takes only what `values` would put into the columns as they are, and says so of a block as a whole: an attribute or a
type that is new, a number that has no room, anything unusual is left to that slower way, which widens the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import msgspec
import pyarrow as pa
import pyarrow.json

from tailrace.lake.column_types import Column, Fields

_INT64_DIGITS: Final = 20
"""Integers of columns with room for so many digits are read as 64 bits; a longer one is left to the slower way."""


class PlainJson:
    """Reads what the columns can take at one time: make it again when they have changed."""

    def __init__(self, fields: Fields, dropped: Fields) -> None:
        """Begin for a table's columns; `dropped` are attributes that are left out."""
        self._fields = fields
        parsed = [*(_parsed_fields(fields) or []), *(_parsed_fields(dropped) or [])]
        self._is_possible = _attributes(fields) is not None and bool(parsed)
        self._options = pyarrow.json.ParseOptions(explicit_schema=pa.schema(parsed), unexpected_field_behavior="error")
        self._check: Callable[[bytes], Any] | None = None
        try:
            guard: Any = _guard(fields)
        except ValueError:  # msgspec takes no such names
            self._is_possible = False
        else:
            self._check = None if guard is None else msgspec.json.Decoder(guard).decode_lines

    def arrays(self, items: Sequence[bytes | msgspec.Raw]) -> list[pa.Array] | None:
        """Return the items as the arrays of `fields.arrow()`; None when there is anything for the slower way."""
        if not self._is_possible:
            return None
        lines = b"\n".join(items)
        if lines.count(b"\n") != len(items) - 1 or not _is_text(lines):
            return None
        try:
            if self._check is not None:
                self._check(lines)
            table = pyarrow.json.read_json(
                pa.BufferReader(lines),
                read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
                parse_options=self._options,
            )
        except (pa.ArrowException, msgspec.MsgspecError):
            return None
        if len(table) != len(items):
            return None
        return _shaped(self._fields, {name: table[name].combine_chunks() for name in table.column_names}, len(items))


def _is_text(content: bytes) -> bool:
    """Return whether it is UTF-8, which the reader does not look at."""
    try:
        return content.isascii() or bool(content.decode())
    except UnicodeDecodeError:
        return False


def _attributes(fields: Fields) -> dict[str, str] | None:
    """Return the attribute of each column that was seen in an item; None when several are one column."""
    attributes = {name: attribute for attribute, name in fields.names.items()}
    return attributes if len(attributes) == len(fields.names) else None


def _parsed_fields(fields: Fields) -> list[pa.Field] | None:
    attributes = _attributes(fields)
    if attributes is None:
        return None
    return [pa.field(attribute, _parsed_type(fields.columns[name])) for name, attribute in attributes.items()]


def _parsed_type(column: Column) -> pa.DataType:
    """Return what to read a column as: a type without values where it takes the slower way to put any."""
    if column.kind in {"boolean", "text"}:
        return column.type
    if column.kind == "number":
        return pa.int64() if _is_short(column) else column.type
    if column.kind == "list" and column.is_decided:
        of = _parsed_type(column.element)
        return pa.null() if pa.types.is_null(of) else pa.list_(of)
    if column.kind == "struct" and column.is_decided:
        return pa.struct(fields) if (fields := _parsed_fields(column.fields)) else pa.null()
    return pa.null()


def _is_short(column: Column) -> bool:
    return column.scale == 0 and column.digits == _INT64_DIGITS


def _shaped(fields: Fields, read: dict[str, pa.Array], rows: int) -> list[pa.Array]:
    """Return what was read, by attribute, as the arrays of `fields.arrow()`."""
    attributes = _attributes(fields) or {}
    arrays = []
    for name, column in fields.columns.items():
        if column.is_decided:
            arrays.append(_shape(column, read.get(attributes.get(name, "")), rows))
        if column.has_json:
            arrays.append(pa.nulls(rows, pa.string()))
    return arrays


def _shape(column: Column, array: pa.Array | None, rows: int) -> pa.Array:
    if array is None or pa.types.is_null(array.type):
        return pa.nulls(rows, column.type)
    if column.kind == "number" and _is_short(column):
        return array.cast(column.type)
    if column.kind == "list":
        elements = _shape(column.element, array.values, len(array.values))
        return pa.ListArray.from_arrays(array.offsets, elements, type=column.type, mask=_nulls(array))
    if column.kind == "struct":
        held = {field.name: array.field(index) for index, field in enumerate(array.type)}
        arrays = _shaped(column.fields, held, len(array))
        return pa.StructArray.from_arrays(arrays, fields=column.fields.arrow(), mask=_nulls(array))
    return array


def _nulls(array: pa.Array) -> pa.Array | None:
    return array.is_null() if array.null_count else None


def _guard(fields: Fields) -> Any:
    """Return a type of msgspec that holds numbers apart from strings and in their room, as the reader does not.

    None where there is nothing to hold apart.
    """
    attributes = _attributes(fields) or {}
    parts = [(attribute, _guarded(fields.columns[name])) for name, attribute in attributes.items()]
    kept = [(attribute, part) for attribute, part in parts if part is not None]
    if not kept:
        return None
    members = [(f"f{index}", part | None, None) for index, (_, part) in enumerate(kept)]
    names = {f"f{index}": attribute for index, (attribute, _) in enumerate(kept)}
    return msgspec.defstruct("Guard", members, rename=names, gc=False)


def _guarded(column: Column) -> Any:
    if column.kind == "number" and not _is_short(column):
        limit = float(10**column.digits)
        return Annotated[float, msgspec.Meta(gt=-limit, lt=limit)]
    if column.kind == "list":
        of: Any = _guarded(column.element)
        return None if of is None else list[of | None]
    if column.kind == "struct":
        return _guard(column.fields)
    return None
