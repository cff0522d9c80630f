"""The `columns` of a lake: what is declared of the columns of its tables, by attribute."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from tailrace.config.fields import Flag, Part, Text
from tailrace.config.problem import InvalidError, quoted

_PLAIN: Final = ("string", "json", "boolean", "bigint", "double", "binary", "timestamp")
_PATTERN: Final = r"^(list\(|map\()*(string|json|boolean|bigint|double|binary|timestamp|decimal\(\d+, ?\d+\))\)*$"
_TYPES: Final = (
    "a type is string, json, boolean, bigint, double, binary, timestamp, decimal(p, s), list(TYPE) or map(TYPE)"
)
_RESERVED: Final = "a column's name does not begin with `__` nor end with `__json`, which are Tailrace's"


class ColumnType(NamedTuple):
    """A declared type."""

    name: str
    """`decimal`, `list`, `map`, or one without parameters."""
    precision: int = 0
    scale: int = 0
    of: ColumnType | None = None
    """The type of the elements of a list, of the values of a map."""


def parse_type(text: str) -> ColumnType:
    """Return the type that a text names. Raises `InvalidError`."""
    text = text.strip()
    if text in _PLAIN:
        return ColumnType(text)
    if match := re.fullmatch(r"(list|map)\((.+)\)", text):
        return ColumnType(match[1], of=parse_type(match[2]))
    if match := re.fullmatch(r"decimal\((\d+), ?(\d+)\)", text):
        precision, scale = int(match[1]), int(match[2])
        if not (1 <= precision <= 38 and scale <= precision):
            raise InvalidError(
                f"{quoted(text)} cannot be", "a decimal has 1 to 38 digits, and no more behind the point"
            )
        return ColumnType("decimal", precision, scale)
    raise InvalidError(f"{quoted(text)} is no type of a column", _TYPES)


def _type(value: str) -> str:
    parse_type(value)
    return value


def _column(value: str) -> str:
    if not value or value.startswith("__") or value.lower().endswith("__json"):
        raise InvalidError(f"{quoted(value)} cannot name a column", _RESERVED)
    return value


class ColumnOptions(Part):
    """What is declared of an attribute. Where the file says a text only, it is the type."""

    type: Annotated[Text, AfterValidator(_type)] | None = Field(
        default=None,
        pattern=_PATTERN,
        description="Type of the column. A value that is not of it makes its record a dead letter. Without it the type "
        "follows from the values.",
        examples=["decimal(12, 2)", "list(string)", "json"],
    )
    name: Annotated[Text, AfterValidator(_column)] | None = Field(
        default=None, description="Name of the column. Without it the attribute's own."
    )
    drop: Flag = Field(default=False, description="Leave the attribute out.")

    @model_validator(mode="after")
    def _says_something(self) -> ColumnOptions:
        if self.drop and (self.type or self.name):
            raise InvalidError(
                "drops the attribute, which then has no column", "leave out `type` and `name`, or `drop`"
            )
        return self

    @property
    def column_type(self) -> ColumnType | None:
        """The declared type."""
        return parse_type(self.type) if self.type else None


class _OrType:
    """A pydantic annotation: a text is the type alone."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string", "pattern": _PATTERN}, handler(schema)]}


def _as_type(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


ColumnChoice = Annotated[ColumnOptions, BeforeValidator(_as_type), _OrType()]
Columns = Mapping[str, ColumnOptions]
