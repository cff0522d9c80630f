"""The declared columns of a table: their names and types, and values as these types."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final

import msgspec
import pyarrow as pa

from tailrace.config.lake_columns import ColumnOptions, ColumnType
from tailrace.errors import RecordError, excerpt
from tailrace.lake.column_types import exact, top_name
from tailrace.lake.values import json_text, text

Convert = Callable[[Any], Any]

_ARROW: Final[Mapping[str, pa.DataType]] = {
    "string": pa.string(),
    "json": pa.string(),
    "boolean": pa.bool_(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "binary": pa.binary(),
    "timestamp": pa.timestamp("us", "UTC"),
}
_KEPT_EXCERPT: Final = 80


class Declared:
    """What the file says of a table's columns."""

    def __init__(self, options: Mapping[str, ColumnOptions]) -> None:
        """`options` is by attribute."""
        self._names = {attribute: each.name for attribute, each in options.items() if each.name is not None}
        self._dropped = {attribute for attribute, each in options.items() if each.drop}
        kinds = {self.name_of(attribute): each.column_type for attribute, each in options.items() if each.column_type}
        self.types: dict[str, pa.DataType] = {name: arrow_type(each) for name, each in kinds.items()}
        """By column."""
        self._written = {self.name_of(attribute): each.type for attribute, each in options.items() if each.type}
        self._convert = {name: _converter(each) for name, each in kinds.items()}

    def name_of(self, attribute: str) -> str:
        """Return the name of an attribute's column."""
        return self._names.get(attribute) or top_name(attribute)

    def divided(self, attributes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the attributes that are kept, and those that are dropped."""
        if self._dropped.isdisjoint(attributes):
            return attributes, {}
        dropped = {name: attributes.pop(name) for name in self._dropped & attributes.keys()}
        return attributes, dropped

    def converted(self, named: dict[str, Any]) -> dict[str, Any]:
        """Return the values by column as what is declared. Raises `RecordError` for one that is not of its type."""
        for name, convert in self._convert.items():
            if (value := named.get(name)) is not None:
                try:
                    named[name] = convert(value)
                except (ValueError, ArithmeticError, TypeError, AttributeError, RecursionError):
                    shown = json_text(value)
                    if len(shown) > _KEPT_EXCERPT:
                        shown = shown[:_KEPT_EXCERPT] + "…"
                    raise RecordError(
                        f"column {excerpt(name)}: {excerpt(shown)} is no {self._written[name]}, as declared",
                        hint="correct what writes the item, or declare another type in `columns`, such as json",
                    ) from None
        return named


def arrow_type(declared: ColumnType) -> pa.DataType:
    """Return the Arrow type of a declared one."""
    if declared.of is not None:
        of = arrow_type(declared.of)
        return pa.list_(of) if declared.name == "list" else pa.map_(pa.string(), of)
    if declared.name == "decimal":
        return pa.decimal128(declared.precision, declared.scale)
    return _ARROW[declared.name]


def _converter(declared: ColumnType) -> Convert:
    """Return what makes a value of the type, or raises ValueError, ArithmeticError, TypeError or AttributeError."""
    if declared.of is not None:
        return partial(_list if declared.name == "list" else _map, _converter(declared.of))
    if declared.name == "decimal":
        return partial(_decimal, declared.precision, declared.scale)
    return _CONVERTERS[declared.name]


def _list(convert: Convert, value: Any) -> list[Any]:
    if value.__class__ not in {list, set}:
        raise TypeError
    members = sorted(value) if value.__class__ is set else value
    return [None if each is None else convert(each) for each in members]


def _map(convert: Convert, value: Any) -> list[tuple[str, Any]]:
    return [(name, None if each is None else convert(each)) for name, each in value.items()]


def _number(value: Any) -> Decimal:
    if value.__class__ not in {int, Decimal, str}:
        raise TypeError
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError
    return exact(number)


def _decimal(precision: int, scale: int, value: Any) -> Decimal:
    number = _number(value)
    if -int(number.as_tuple().exponent) > scale or (number and number.adjusted() >= precision - scale):
        raise ValueError
    return number


def _bigint(value: Any) -> int:
    number = _number(value)
    whole = int(number)
    if whole != number or not -(1 << 63) <= whole < 1 << 63:
        raise ValueError
    return whole


def _double(value: Any) -> float:
    result = float(_number(value))
    if result in {float("inf"), float("-inf")}:
        raise ValueError
    return result


def _boolean(value: Any) -> bool:
    if value.__class__ is not bool:
        raise TypeError
    return bool(value)


def _binary(value: Any) -> bytes:
    return value if value.__class__ is bytes else b64decode(value, validate=True)


def _timestamp(value: Any) -> datetime:
    moment = msgspec.convert(value, datetime)
    if moment.tzinfo is None:
        raise ValueError
    return moment


_CONVERTERS: Final[Mapping[str, Convert]] = {
    "string": text,
    "json": json_text,
    "boolean": _boolean,
    "bigint": _bigint,
    "double": _double,
    "binary": _binary,
    "timestamp": _timestamp,
}
