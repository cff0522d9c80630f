"""What is wrong with a lake that Apache Flink is to write: what a job of Flink cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tailrace.config.lake import Lake
from tailrace.config.lake_columns import ColumnType
from tailrace.config.problem import Finding, Path, quoted

_NO_CONNECTOR: Final = {
    "iceberg": "the newest runtime of Iceberg for Flink is for 2.1, and cannot be loaded in 2.3",
    "delta": "the connector of Delta Lake for Flink is for 1.x",
}
_NO_TYPE: Final = {"binary", "map", "timestamp"}
"""Types that no function of Flink SQL makes of JSON."""


def flink_findings(place: Path, lake: Lake, record_format: str) -> Iterator[Finding]:
    """Check a lake with `engine: flink`, of records of some format."""
    engine = (*place, "engine")
    if reason := _NO_CONNECTOR.get(lake.format):
        yield engine, f"cannot be flink with the format {lake.format}: {reason}", "set `format: parquet`"
    if record_format != "debezium":
        remedy = "set `format: debezium`, or leave `engine` out"
        yield engine, f"cannot be flink with records of the format {record_format}", remedy
    if lake.format == "parquet" and "current" in lake.tables:
        remedy = "keep `changes` alone, or leave `engine` out"
        yield engine, "cannot be flink with `current`, which only Tailrace merges", remedy
    for pattern, columns in lake.columns.items():
        for attribute, options in columns.items():
            if options.column_type and not _has_type(options.column_type):
                remedy = "declare it as json or string, or leave `engine` out"
                path = (*place, "columns", pattern, attribute)
                yield path, f"cannot be {options.type} in Flink, which has no function that reads it", remedy
    declared = {each.name or name for by in lake.columns.values() for name, each in by.items() if not each.drop}
    for by in lake.partitions:
        if by.unit is None and by.column not in declared:
            remedy = "declare it in `columns`, for every table"
            yield (*place, "partition_by"), f"has the column {quoted(by.column)}, which Flink must know before", remedy


def _has_type(declared: ColumnType) -> bool:
    if declared.of is not None:
        return declared.name == "list" and declared.of.of is None and _has_type(declared.of)
    return declared.name not in _NO_TYPE
