"""The `snapshot` and `on_gap` keys: whether a table's present items are read too, how fast, and after a gap again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import (
    AfterValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from tailrace.config.fields import Part, TablePattern, Text, as_written, untyped
from tailrace.config.problem import InvalidError, kind_of, not_one_of, quoted
from tailrace.config.source import is_pattern
from tailrace.config.transform import LANGUAGE
from tailrace.core.ports import TableFacts
from tailrace.transform.rows import row_condition

SnapshotMode = Literal["never", "initial", "when_needed"]
OnGapAction = Literal["fail", "resnapshot"]

ON_DEMAND_READ_UNITS: Final = 12_000
"""Read capacity units a second that any on-demand table serves at once.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html
"""
READ_UNITS_MAX: Final = 10_000_000
SEGMENTS_MAX: Final = 100_000
"""DynamoDB takes a million; each is a record that every worker holds."""
TABLES_MAX: Final = 10_000
_BYTES_A_SEGMENT: Final = 256_000_000
_SEGMENTS_OF_UNKNOWN_SIZE: Final = 4
_SEGMENTS_A_LANE: Final = 16


@dataclass(frozen=True)
class ReadCapacity:
    """How fast a table is read, over all workers: so many read capacity units a second, or a share of the table's."""

    units: int | None
    percent: int | None

    def of(self, facts: TableFacts) -> float:
        """Return the read capacity units a second for a table, at least 1."""
        if self.units is not None:
            return float(self.units)
        whole = facts.read_capacity or facts.warm_read_capacity or ON_DEMAND_READ_UNITS
        return max(1.0, whole * (self.percent or 0) / 100)

    def __str__(self) -> str:
        return f"{self.percent}%" if self.units is None else str(self.units)

    @property
    def written(self) -> int | str:
        """The value as the file holds it."""
        return str(self) if self.units is None else self.units

    @classmethod
    def parse(cls, value: object) -> ReadCapacity:
        """Return what a value of the file means. Raises `InvalidError`."""
        value = untyped(value)
        if isinstance(value, cls):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            if not 1 <= value <= READ_UNITS_MAX:
                raise InvalidError(f"must be 1 to {READ_UNITS_MAX} read capacity units a second, not {value}")
            return cls(value, None)
        if isinstance(value, str) and (match := re.fullmatch(r"([0-9]{1,3})%", value)):
            percent = int(match[1])
            if not 1 <= percent <= 100:
                raise InvalidError(f"must be 1% to 100% of the table's read capacity, not {quoted(value)}")
            return cls(None, percent)
        shown = quoted(value) if isinstance(value, str | float) else kind_of(value)
        raise InvalidError(
            f"must be read capacity units a second or a share of the table's, not {shown}", "write e.g. 500 or 50%"
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        serialization = core_schema.plain_serializer_function_ser_schema(lambda value: value.written)
        return core_schema.no_info_plain_validator_function(cls.parse, serialization=serialization)

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": READ_UNITS_MAX},
                {"type": "string", "pattern": "^([1-9][0-9]?|100)%$"},
            ]
        }


class _OrWord:
    """A pydantic annotation of a mapping: the file may write the value of its key `key` alone."""

    def __init__(self, key: str, words: tuple[str, ...]) -> None:
        self._key = key
        self._words = words

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._expanded, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string", "enum": list(self._words)}, handler(schema)]}

    def _expanded(self, value: object) -> object:
        if isinstance(value, Mapping | Part):
            return value
        if isinstance(value, str) and value in self._words:
            return {self._key: value}
        raise InvalidError(*not_one_of(self._words, value))


def _row_filter(value: str) -> str:
    try:
        row_condition(value)
    except ValueError as error:
        raise InvalidError(f"{quoted(value)}: {error}", LANGUAGE) from None
    return value


class _CountOr:
    """A pydantic annotation of a count that may be a word instead."""

    def __init__(self, word: str, most: int) -> None:
        self._word = word
        self._most = most

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"const": self._word}, {"type": "integer", "minimum": 1, "maximum": self._most}]}

    def _checked(self, value: object) -> object:
        value = untyped(value)
        is_count = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= self._most
        if value == self._word or is_count:
            return value
        shown = quoted(value) if isinstance(value, str | float | int) else kind_of(value)
        raise InvalidError(f"must be `{self._word}` or 1 to {self._most}, not {shown}")


Segments = Annotated[int | Literal["auto"], _CountOr("auto", SEGMENTS_MAX)]
ParallelTables = Annotated[int | Literal["all"], _CountOr("all", TABLES_MAX)]


class Snapshot(Part):
    """Whether and how the present items of tables are read, beside their changes."""

    mode: SnapshotMode = Field(
        default="never",
        description="Whether a table's present items are put into its topic: never, once when the table starts, or "
        "also again when changes of it were lost. A snapshot can be started by hand in any mode.",
    )
    read_capacity: ReadCapacity = Field(
        default=as_written("50%"),
        description="Read capacity units a second for each table over all workers, or a share of what the table has.",
    )
    segments: Segments = Field(
        default="auto", description="Parts into which a table is cut, that are read at the same time."
    )
    parallel_tables: ParallelTables = Field(
        default="all", description="Tables that are read at the same time; the others wait for their turn."
    )
    filter: Annotated[Text, AfterValidator(_row_filter)] | None = Field(
        default=None,
        description="JMESPath expression over a row; a row for which it is not true is not published.",
        examples=["item.status != 'draft'"],
    )

    def wanted_read_capacity(self, facts: TableFacts) -> float:
        """Return how many read capacity units a second all workers together may use of a table."""
        return self.read_capacity.of(facts)

    @property
    def tables_max(self) -> int | None:
        """How many tables are read at the same time; None: all."""
        return None if self.parallel_tables == "all" else self.parallel_tables

    def segment_count(self, facts: TableFacts, lanes: int) -> int:
        """Return into how many segments a table is cut: one for each 256 MB, unless the file says how many."""
        if self.segments != "auto":
            return self.segments
        if facts.size_bytes <= 0:
            return _SEGMENTS_OF_UNKNOWN_SIZE
        return min(max(1, -(-facts.size_bytes // _BYTES_A_SEGMENT)), _SEGMENTS_A_LANE * lanes)


class OnGap(Part):
    """What happens to a table some of whose changes were lost."""

    default: OnGapAction | None = Field(
        default=None,
        description="For tables that `tables` does not name. Without it `fail`, or `resnapshot` with "
        "`snapshot: when_needed`.",
    )
    tables: dict[TablePattern, OnGapAction] = Field(
        default={},
        description="By table, or by stream where streams carry several tables: names, and patterns in which `*` and "
        "`?` stand for other characters.",
        examples=[{"orders": "resnapshot", "users-*": "fail"}],
    )

    @property
    def resnapshots_any(self) -> bool:
        """Whether something is to be read again after a gap."""
        return "resnapshot" in {self.default, *self.tables.values()}

    def of(self, table: str) -> OnGapAction | None:
        """Return what is said of a table, or of a stream of several: under its own name, else by the first pattern,
        else as the default."""
        if table in self.tables and not is_pattern(table):
            return self.tables[table]
        patterns = (action for name, action in self.tables.items() if is_pattern(name) and fnmatchcase(table, name))
        return next(patterns, self.default)


SnapshotKey = Annotated[Snapshot, _OrWord("mode", get_args(SnapshotMode))]
OnGapKey = Annotated[OnGap, _OrWord("default", get_args(OnGapAction))]
