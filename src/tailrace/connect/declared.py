"""Items as values of a schema that the user declared: what does not fit is refused by name, never changed."""

from __future__ import annotations

import math
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

from tailrace.connect.data import DATE, DECIMAL, TIME, TIMESTAMP, Schema, struct
from tailrace.connect.errors import DataError
from tailrace.connect.logical import moment

Undeclared = Literal["refuse", "ignore"]
"""What becomes of a change that has an attribute which the schema does not have: set aside, or written without it."""

_INTEGER_BITS: Final = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}
_TEXTS: Final[Mapping[str, Callable[[str], Any]]] = {
    TIMESTAMP: lambda text: _timestamp(datetime.fromisoformat(text)),
    DATE: date.fromisoformat,
    TIME: lambda text: _time(time.fromisoformat(text)),
}
_UNDERLYING: Final[Mapping[str, Callable[[int], Any]]] = {
    TIMESTAMP: moment,
    DATE: lambda days: moment(days * 86_400_000).date(),
    TIME: lambda ms: (datetime.min + timedelta(milliseconds=ms)).time(),
}


class Declared:
    """Makes values of one declared schema. Pure."""

    def __init__(self, schema: Schema, undeclared: Undeclared) -> None:
        """Take the schema of an item, a struct."""
        self.schema = schema
        self._ignores = undeclared == "ignore"

    def key(self, attributes: Mapping[str, Any], name: str) -> tuple[Schema, dict[str, Any]]:
        """Return the struct of key attributes, of the types that are declared for them, and its value.

        Raises `DataError`.
        """
        fields = {}
        for each in sorted(attributes):
            field = self.schema.field(each)
            if field is None:
                raise DataError(f"the key attribute {each} is not in the declared schema: add it there")
            fields[each] = field.schema
        schema = struct(name, fields)
        return schema, self._struct(schema, attributes, "")

    def item(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the value of an item in DynamoDB JSON. Raises `DataError`."""
        return self._struct(self.schema, attributes, "")

    def _struct(self, schema: Schema, attributes: Mapping[str, Any], path: str) -> dict[str, Any]:
        value = {}
        for field in schema.fields:
            inside = f"{path}.{field.name}" if path else field.name
            value[field.name] = self._nullable(field.schema, attributes.get(field.name), inside)
        if not self._ignores and (others := attributes.keys() - value.keys()):
            name = f"{path}.{min(others)}" if path else min(others)
            raise DataError(
                f"attribute {name} is not in the declared schema: add it there, remove it with a step of `transform`, "
                "or set `undeclared` to ignore"
            )
        return value

    def _nullable(self, schema: Schema, typed: Any, path: str) -> Any:
        if typed is None or (isinstance(typed, Mapping) and "NULL" in typed):
            if schema.optional:
                return None
            if schema.default is not None:
                return schema.default
            what = "is missing" if typed is None else "is null"
            raise DataError(f"attribute {path} {what}, and the declared schema requires it")
        if not isinstance(typed, Mapping) or len(typed) != 1:
            raise DataError(f"attribute {path}: it is not an object with one type and its value")
        [(tag, content)] = typed.items()
        try:
            return self._value(schema, tag, content, path)
        except (TypeError, ValueError, OverflowError, InvalidOperation) as error:
            if isinstance(error, DataError):
                raise
            raise _misfit(schema, tag, path) from None

    def _value(self, schema: Schema, tag: str, content: Any, path: str) -> Any:  # noqa: PLR0911 - one for each type
        match schema.type, tag:
            case "struct", "M":
                return self._struct(schema, content, path)
            case "map", "M" if schema.values is not None:
                values = schema.values
                return {name: self._nullable(values, each, f"{path}.{name}") for name, each in content.items()}
            case "array", "L" if schema.values is not None:
                return [self._nullable(schema.values, each, f"{path}[]") for each in content]
            case "array", "SS" | "NS" | "BS" if schema.values is not None:
                return sorted(self._value(schema.values, tag[0], each, f"{path}[]") for each in content)
            case "boolean", "BOOL" if isinstance(content, bool):
                return content
            case "bytes", "B" if schema.name is None:
                return a2b_base64(content, strict_mode=True)
            case _, "N":
                return _number(schema, content, path)
            case "string", "S" if isinstance(content, str):
                return content
            case _, "S" if (from_text := _TEXTS.get(schema.name or "")) is not None:
                return from_text(content)
        raise _misfit(schema, tag, path)


def _number(schema: Schema, text: str, path: str) -> Any:
    number = Decimal(text)
    if schema.name == DECIMAL:
        _require_fitting(schema, number, path)
        return number
    match schema.type:
        case "string":
            return format(number, "f")
        case "float32" | "float64":
            # A number that is declared as one of floating point may be rounded to it, but not to infinity.
            rounded = float(number)
            if math.isinf(rounded) or (schema.type == "float32" and abs(rounded) > _FLOAT32_MAX):
                raise _misfit(schema, "N", path)
            return rounded
    bits = _INTEGER_BITS.get(schema.type)
    if bits is None:
        raise _misfit(schema, "N", path)
    integer = int(number)
    if integer != number or not -(1 << bits - 1) <= integer < 1 << bits - 1:
        raise DataError(f"attribute {path}: the number {text} is no {schema.type}, as which the schema declares it")
    of_underlying = _UNDERLYING.get(schema.name or "")
    return integer if of_underlying is None else of_underlying(integer)


def _require_fitting(schema: Schema, number: Decimal, path: str) -> None:
    digits, exponent = number.normalize().as_tuple()[1:]
    if not isinstance(exponent, int):
        raise TypeError(number)
    if not number:
        return
    scale, precision = schema.scale, schema.precision
    if -exponent > scale or len(digits) + exponent > precision - scale:
        raise DataError(
            f"attribute {path}: the number {number} does not fit a decimal of {precision} digits, {scale} of them "
            "behind the point, as which the schema declares it"
        )


def _misfit(schema: Schema, tag: str, path: str) -> DataError:
    declared = schema.type if schema.name is None or schema.type == "struct" else schema.name.rpartition(".")[2]
    return DataError(f"attribute {path} is declared as {declared}, and this value of DynamoDB's type {tag} is none")


def _timestamp(at: datetime) -> datetime:
    _require_milliseconds(at.microsecond)
    return at.astimezone(UTC) if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _time(at: time) -> time:
    _require_milliseconds(at.microsecond)
    if at.tzinfo is not None:
        raise ValueError(at)
    return at


def _require_milliseconds(microseconds: int) -> None:
    if microseconds % 1000:
        raise ValueError(microseconds)


_FLOAT32_MAX: Final = 3.4028234663852886e38
