"""TimestampConverter, as Apache Kafka's does: times between text, numbers and Connect's types."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import msgspec

from tailrace.connect.data import DATE, TIME, TIMESTAMP, ConnectRecord, Field, Schema
from tailrace.connect.errors import DataError
from tailrace.connect.logical import milliseconds, moment
from tailrace.connect.options import Options
from tailrace.connect.transforms.java_dates import format_date, parse_date, require_pattern
from tailrace.connect.transforms.part import Part, mapping_of, replaced, schema_of, value_of

_TARGETS: Final = ("string", "unix", "Date", "Time", "Timestamp")
_MICROSECONDS: Final = {"seconds": 1_000_000, "milliseconds": 1_000, "microseconds": 1}
_PRECISIONS: Final = (*_MICROSECONDS, "nanoseconds")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SCHEMAS: Final = {
    "string": Schema("string", optional=True),
    "unix": Schema("int64", optional=True),
    "Date": Schema("int32", optional=True, name=DATE, version=1),
    "Time": Schema("int32", optional=True, name=TIME, version=1),
    "Timestamp": Schema("int64", optional=True, name=TIMESTAMP, version=1),
}


class TimestampConverter:
    """Converts one field, or the whole part."""

    def __init__(self, options: Options, part: Part) -> None:
        self._part = part
        self._field = options.given("field")
        self._target = options.choice("target.type", _TARGETS)
        self._format = options.given("format")
        self._precision = options.choice("unix.precision", _PRECISIONS, "milliseconds")
        options.flag("replace.null.with.default", True)
        if self._target == "string" and self._format is None:
            raise options.error("format", "is missing, which the target type string needs")
        if self._format is not None:
            require_pattern(options, "format", self._format)

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:
        """Return the record."""
        value, schema = value_of(record, self._part), schema_of(record, self._part)
        if value is None:
            return record
        if self._field is None:
            converted = self._converted(value)
            return replaced(record, self._part, None if schema is None else _SCHEMAS[self._target], converted)
        holder = dict(mapping_of(record, self._part, "TimestampConverter"))
        if holder.get(self._field) is not None:
            holder[self._field] = self._converted(holder[self._field])
        if schema is not None:
            fields = tuple(
                Field(each.name, _SCHEMAS[self._target]) if each.name == self._field else each for each in schema.fields
            )
            schema = msgspec.structs.replace(schema, fields=fields)
        return replaced(record, self._part, schema, holder)

    def _converted(self, value: Any) -> Any:
        at = self._moment(value)
        match self._target:
            case "string":
                return format_date(at, self._format or "")
            case "unix":
                return self._unix(at)
            case "Date":
                return at.date()
            case "Time":
                return at.time()
        return at

    def _moment(self, value: Any) -> datetime:
        match value:
            case datetime():
                return moment(milliseconds(value))
            case date():
                return datetime(value.year, value.month, value.day, tzinfo=UTC)
            case time():
                return datetime.combine(_EPOCH.date(), value, tzinfo=UTC)
            case bool():
                pass
            case int():
                return self._of_unix(value)
            case str():
                if self._format is None:
                    raise DataError("TimestampConverter needs `format` to read a text")
                return parse_date(value, self._format)
        raise DataError(f"TimestampConverter cannot read a {type(value).__name__} as a time")

    def _of_unix(self, number: int) -> datetime:
        microseconds = number // 1_000 if self._precision == "nanoseconds" else number * _MICROSECONDS[self._precision]
        try:
            return moment(0) + timedelta(milliseconds=microseconds // 1_000)
        except OverflowError:
            raise DataError(f"{number} {self._precision} since the epoch is no date") from None

    def _unix(self, at: datetime) -> int:
        ms = milliseconds(at)
        if self._precision == "nanoseconds":
            return ms * 1_000_000
        return ms * 1_000 // _MICROSECONDS[self._precision]
