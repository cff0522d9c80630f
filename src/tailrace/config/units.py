"""Durations (`100ms`, `1s`, `5m`) and sizes (`512KiB`, `8MiB`, `1MB`) as people write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from tailrace.config.problem import InvalidError, kind_of, quoted
from tailrace.moments import UNITS_MS

_BYTES = {
    "B": 1,
    "KB": 1_000,
    "MB": 1_000_000,
    "GB": 1_000_000_000,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}


@dataclass(frozen=True, eq=False)
class Quantity:
    """A pydantic annotation of an `int` that the file holds as text: a number and a unit, from `low` to `high`."""

    what: str
    units: dict[str, int]
    low: str
    high: str

    @property
    def pattern(self) -> str:
        """Return the regular expression of the text."""
        return f"^[0-9]{{1,12}}({'|'.join(self.units)})$"

    def parse(self, value: object) -> int:
        """Return the number of the smallest unit. Raises `InvalidError` with what to write."""
        remedy = f"write {self.what}, e.g. `{self.low}` or `{self.high}`"
        if not isinstance(value, str):
            wrong = "has no unit" if kind_of(value) == "a number" else f"must be {self.what}, not {kind_of(value)}"
            raise InvalidError(wrong, remedy)
        if not re.match(self.pattern, value):
            raise InvalidError(f"must be {self.what}, not {quoted(value)}", f"its units are {', '.join(self.units)}")
        number = self._number(value)
        if not self._number(self.low) <= number <= self._number(self.high):
            raise InvalidError(f"must be {self.low} to {self.high}, not {quoted(value)}")
        return number

    def text(self, number: int) -> str:
        """Write `number` in the largest unit that divides it."""
        units = sorted(self.units.items(), key=lambda unit: -unit[1])
        unit, factor = next((unit for unit in units if number % unit[1] == 0 and number), units[-1])
        return f"{number // factor}{unit}"

    def _number(self, text: str) -> int:
        digits = re.match("[0-9]+", text)
        assert digits
        return int(digits[0]) * self.units[text[digits.end() :]]

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(self.text)
        )

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "pattern": self.pattern}


def duration(low: str, high: str) -> Quantity:
    """Annotate an `int` of milliseconds."""
    return Quantity("a duration", UNITS_MS, low, high)


def size(low: str, high: str) -> Quantity:
    """Annotate an `int` of bytes."""
    return Quantity("a size", _BYTES, low, high)
