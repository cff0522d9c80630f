"""Python values of items as Arrow arrays, exactly; what has no place in a column's type comes back as JSON text."""

from __future__ import annotations

import contextlib
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec
import pyarrow as pa

from tailrace.formats.number import canonical_text
from tailrace.lake.column_types import JSON_SUFFIX, ClashError, Column, Fields, Kind, exact

_PLAIN: Final = 10**15
"""Integers below it are plain JSON as Python writes them."""
_NONE: Final = type(None)
_NOT_OF_THE_TYPE: Final = (pa.ArrowException, TypeError, ValueError, OverflowError)
_encode: Final = msgspec.json.Encoder().encode

Names = Callable[[Fields, dict[str, Any]], dict[str, Any]]
"""Returns an object's values by column."""


def of_attributes(fields: Fields, value: dict[str, Any]) -> dict[str, Any]:
    """Return the values of an object of an item. Raises `ClashError`."""
    return fields.placed(value)


def of_columns(fields: Fields, value: dict[str, Any]) -> dict[str, Any]:
    """Return the values of an object that was read from a column, which may have been spelled differently."""
    return {fields.spelled(name): each for name, each in value.items()}


def json_text(value: Any) -> str:
    """Return a value as JSON: binary as base64, sets as arrays, numbers with all their digits."""
    return _encode(_plain(value)).decode()


def text(value: Any) -> str:
    """Return a value in a column of text: a string as it is, anything else as JSON."""
    if value.__class__ is int and -_PLAIN < value < _PLAIN:
        return str(value)
    return value if value.__class__ is str else json_text(value)


def struct_arrays(fields: Fields, objects: Sequence[dict[str, Any]], names: Names) -> list[pa.Array]:
    """Return the arrays of `fields.arrow()`; each object has its values by column. It may add columns for JSON."""
    arrays = []
    for name, column in fields.columns.items():
        array, misfits = array_of(column, [each.get(name) for each in objects], names)
        if misfits:
            column.has_json = True
        if array is not None:
            arrays.append(array)
        if column.has_json:
            others = [each.get(name + JSON_SUFFIX) for each in objects]
            for index, value in misfits.items():
                others[index] = json_text(_restored(value) if names is of_columns else value)
            arrays.append(pa.array(others, pa.string()))
    return arrays


def array_of(column: Column, values: list[Any], names: Names) -> tuple[pa.Array | None, dict[int, Any]]:
    """Return the values as an array, None for a column without a type yet; and by index those without a place in it."""
    if not column.is_decided:
        return None, {index: value for index, value in enumerate(values) if value is not None}
    if column.kind == "list":
        return _lists(column, values, names)
    if column.kind == "struct":
        return _structs(column, values, names)
    if column.kind not in _SCALARS:
        return _declared(column, values)
    classes, put = _SCALARS[column.kind]
    kinds = set(map(type, values)) - {_NONE}
    if kinds <= classes and not (column.is_fixed and column.kind == "number"):
        return _fitting(column, values, kinds, put), {}
    misfits = {
        index: each for index, each in enumerate(values) if each is not None and not _takes(column, each, classes)
    }
    kept = [None if each is None or index in misfits else put(each) for index, each in enumerate(values)]
    return pa.array(kept, column.type), misfits


def _fitting(column: Column, values: list[Any], kinds: set[type], put: Callable[[Any], Any]) -> pa.Array:
    """Return values of these types, all of which have a place in a column."""
    if column.kind != "text" or kinds <= {str}:
        with contextlib.suppress(pa.ArrowInvalid):  # zeros at the end of a number
            return pa.array(values, column.type)
    return pa.array([None if each is None else put(each) for each in values], column.type)


def _takes(column: Column, value: Any, classes: frozenset[type]) -> bool:
    """Return whether a value of one of these classes, and no other, has room in a column."""
    if value.__class__ not in classes:
        return False
    return not (column.is_fixed and isinstance(value, int | Decimal) and column.kind == "number") or column.holds(value)


def _declared(column: Column, values: list[Any]) -> tuple[pa.Array, dict[int, Any]]:
    """Return values of a declared type: they were converted to it, unless it is declared no more."""
    with contextlib.suppress(*_NOT_OF_THE_TYPE):
        return pa.array(values, column.type), {}
    misfits = {}
    for index, value in enumerate(values):
        try:
            pa.array([value], column.type)
        except _NOT_OF_THE_TYPE:
            misfits[index] = value
    return pa.array([None if i in misfits else each for i, each in enumerate(values)], column.type), misfits


def _as_it_is(value: Any) -> Any:
    return value


def _number(value: int | Decimal) -> int | Decimal:
    """Return a number with no more digits than it needs, as a column has room for these only."""
    return exact(value) if isinstance(value, Decimal) else value


_SCALARS: Final[Mapping[Kind | None, tuple[frozenset[type], Callable[[Any], Any]]]] = {
    "text": (frozenset({str, int, Decimal, bool}), text),
    "number": (frozenset({int, Decimal}), _number),
    "boolean": (frozenset({bool}), _as_it_is),
    "binary": (frozenset({bytes}), _as_it_is),
}


def _lists(column: Column, values: list[Any], names: Names) -> tuple[pa.Array, dict[int, Any]]:
    misfits = {i: each for i, each in enumerate(values) if each is not None and each.__class__ not in {list, set}}
    kept = [None if i in misfits else sorted(v) if v.__class__ is set else v for i, v in enumerate(values)]
    flat = [(index, each) for index, value in enumerate(kept) if value is not None for each in value]
    elements, wrong = array_of(column.element, [each for _, each in flat], names)
    if wrong:
        for index in {flat[each][0] for each in wrong}:
            misfits[index] = values[index]
            kept[index] = None
        elements, _ = array_of(column.element, [e for value in kept if value is not None for e in value], names)
    offsets, end = [], 0
    for value in kept:
        offsets.append(None if value is None else end)
        end += 0 if value is None else len(value)
    offsets.append(end)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), elements, type=column.type), misfits


def _structs(column: Column, values: list[Any], names: Names) -> tuple[pa.Array, dict[int, Any]]:
    misfits = {}
    objects: list[dict[str, Any]] = []
    absent = []
    for index, value in enumerate(values):
        named: dict[str, Any] | None = None
        if value.__class__ is dict:
            try:
                named = names(column.fields, value)
            except ClashError:
                named = None
        if named is None and value is not None:
            misfits[index] = value
        absent.append(named is None)
        objects.append(named or {})
    arrays = struct_arrays(column.fields, objects, names)
    return pa.StructArray.from_arrays(arrays, fields=column.fields.arrow(), mask=pa.array(absent, pa.bool_())), misfits


def _restored(value: Any) -> Any:
    """Return a value that was read from a column as it was in the item; what was null or missing there is missing."""
    if isinstance(value, list):
        return [_restored(each) for each in value]
    if not isinstance(value, dict):
        return value
    restored: dict[str, Any] = {}
    for name, each in value.items():
        if each is not None and name.endswith(JSON_SUFFIX):
            restored[_attribute(name.removesuffix(JSON_SUFFIX))] = msgspec.Raw(each.encode())
        elif each is not None:
            restored[_attribute(name)] = _restored(each)
    return restored


def _attribute(name: str) -> str:
    """Return the attribute of a field."""
    return name[:-1] if name.lower().rstrip("_").endswith(JSON_SUFFIX) else name


def _plain(value: Any) -> Any:  # noqa: PLR0911 - one for each type
    match value:
        case bool():
            return value
        case int() | Decimal():
            return msgspec.Raw(canonical_text(str(value)).encode())
        case bytes():
            return b64encode(value).decode()
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case set():
            return [_plain(each) for each in sorted(value)]
        case list():
            return [_plain(each) for each in value]
    return value
